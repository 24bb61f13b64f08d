"""The editor's questions, over HTTP, without the rest of a server."""

import asyncio
import json
import time

import av
import clips
import numpy as np
import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from support import one_loop

from nava_core.estimate import estimated_tokens
from nava_core.meters.synchrony import synchrony


def answers(nava, *questions):
    """(status, JSON or text) of each (path, bytes or object), all asked at once."""

    async def ask():
        routes = web.RouteTableDef()
        for module in ("routes", "curves"):
            nava(module).register(routes)
        app = web.Application()
        app.add_routes(routes)
        async with TestClient(TestServer(app)) as client:

            async def one(path, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                async with client.post(path, data=data) as answer:
                    text = await answer.text()
                    return answer.status, json.loads(text) if answer.status == 200 else text

            return await asyncio.gather(*(one(*question) for question in questions))

    return asyncio.run(ask())


def test_hostile_bodies_are_refused(nava):
    bodies = (b"[" * 60_000, b'{"prompt":' + b"[" * 60_000, b"\xff", b"9" * 60_000, b"[1]")
    assert [status for status, _ in answers(nava, *(("/nava/prompt", body) for body in bodies))] == [400] * len(bodies)


def test_hostile_texts_are_answered_quickly(nava):
    scripts = [" " * 60_000, "a" + " " * 60_000 + "b", "\t" * 30_000, "a\u3000" * 8_000, "(" * 60_000]
    start = time.process_time()
    found = [
        answers(nava, ("/nava/prompt", {"dialogue": {"scene": "", "script": s, "sounds": ""}}))[0] for s in scripts
    ]
    taken = time.process_time() - start
    print(taken)
    assert [status for status, _ in found] == [200] * len(scripts) and taken < 60 * one_loop()
    faulty = found[1][1]
    assert "row 1" in faulty["problems"][0] and faulty["tokens"] is None, "no count for what is no prompt"
    ((status, report),) = answers(nava, ("/nava/prompt", {"prompt": "\ud800 &#" + "9" * 5000 + ";"}))
    assert status == 200 and report["tokens"] > 0


def test_floods_are_refused_and_pass(nava):
    flood = [("/nava/prompt", {"prompt": "汉\n" * 7_000})] * 40
    nava("routes")._aside.pool.submit(time.sleep, 0.5)  # all come while one is being read
    statuses = {status for status, _ in answers(nava, *flood)}
    assert 503 in statuses and statuses <= {200, 503}
    assert answers(nava, ("/nava/prompt", {"prompt": "still there"}))[0][0] == 200


def test_what_the_panels_say(nava):
    ((_, report),) = answers(nava, ("/nava/prompt", {"prompt": 'A man says "come here". <S><E>'}))
    assert "quotation marks" in report["hints"][0] and "spoken line 1 is empty" in report["warnings"][0]
    size = {"mode": "audio + video", "width": 1280, "height": 704, "seconds": 6}
    (_, one), (_, two), (_, small), (status, _) = answers(
        nava,
        ("/nava/size", size),
        ("/nava/size", size | {"batch_size": 2}),
        ("/nava/size", size | {"width": 320, "height": 192}),
        ("/nava/size", size | {"batch_size": "a"}),
    )
    assert abs(two["gigabytes"] / one["gigabytes"] - 2) < 0.05 and not one["hints"] and one["memory"] == "1.0 GB"
    assert small["memory"].endswith(" MB") and "far from" in small["hints"][0]
    assert status == 400


def test_tokens_are_estimated_by_script():
    """Without the encoder's pieces: about 1.3 tokens an English word and two for three Chinese characters."""
    english = "A woman walks slowly through a quiet kitchen in the morning light while rain falls outside the window."
    chinese = "一位女士在清晨的阳光里慢慢走过安静的厨房窗外下着雨"
    assert len(english.split()) < estimated_tokens(english) < 1.5 * len(english.split())
    assert 0.55 * len(chinese) < estimated_tokens(chinese) < 0.8 * len(chinese)


# The curves of a saved clip.


@pytest.fixture
def saved(tmp_path):
    """ComfyUI's output and temp folders, empty, beside a folder that is neither."""
    import folder_paths

    before = folder_paths.get_output_directory(), folder_paths.get_temp_directory()
    for name in ("output", "temp", "output_of_others"):
        (tmp_path / name / "sub").mkdir(parents=True)
    folder_paths.set_output_directory(str(tmp_path / "output"))
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path
    folder_paths.set_output_directory(before[0])
    folder_paths.set_temp_directory(before[1])


def curves(nava, *files):
    """(status, answer) for each (filename, subfolder, type)."""
    named = [dict(zip(("filename", "subfolder", "type"), file, strict=True)) for file in files]
    return answers(nava, *(("/nava/curves", body) for body in named))


def knocks(seconds: float, rate: int = 48000) -> torch.Tensor:
    """`[2, N]`: a knock every 0.4 s."""
    t = torch.arange(round(seconds * rate)) / rate
    return (torch.exp(-(t % 0.4) * 40) * torch.sin(2 * torch.pi * 300 * t) * 0.5).expand(2, -1)


def save_clip(path, seconds=2.0, size=(320, 192), picture=True, sound=True):
    """A bar that turns back every 0.4 s, with a knock at each turn."""
    with av.open(str(path), "w") as file:
        if picture:
            video = file.add_stream("libx264", 24, width=size[0], height=size[1], pix_fmt="yuv420p")
        if sound:
            audio = file.add_stream("aac" if path.suffix == ".mp4" else "flac", 48000, layout="stereo")
        for i in range(round(seconds * 24)) if picture else ():
            frame = np.zeros((size[1], size[0], 3), np.uint8)
            x = round(abs(i / 24 % 0.8 - 0.4) / 0.4 * (size[0] - 60))
            frame[:, x : x + 60] = 255
            file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if picture:
            file.mux(video.encode())
        if sound:
            frame = av.AudioFrame.from_ndarray(knocks(seconds).contiguous().numpy(), format="fltp", layout="stereo")
            frame.rate = 48000
            for part in av.AudioResampler(
                audio.format, "stereo", 48000, audio.codec_context.frame_size or 4096
            ).resample(frame):
                file.mux(audio.encode(part))
            file.mux(audio.encode())


def test_curves_are_those_of_the_meters(nava, saved):
    save_clip(saved / "output" / "sub" / "both.mp4")
    ((status, found),) = curves(nava, ("both.mp4", "sub", "output"))
    frames, fps, waveform, rate = clips.opened(saved / "output" / "sub" / "both.mp4")
    measured = synchrony(frames, fps, waveform, rate)
    assert status == 200 and found["missing"] is None and not found["cut"]
    assert found["f1"] == measured.f1 > 0.5 and found["lag"] == measured.lag
    assert found["sounds"] == measured.sounds and found["pictures"] == measured.pictures
    assert found["pairs"] == [list(pair) for pair in measured.pairs]
    for name in ("onset_curve", "event_curve"):
        assert found[name] == pytest.approx(getattr(measured, name).tolist(), abs=1e-4), name


def test_curves_of_half_a_clip_say_what_is_missing(nava, saved):
    save_clip(saved / "temp" / "mute.mp4", sound=False)
    save_clip(saved / "temp" / "blind.flac", picture=False)
    (_, mute), (_, blind) = curves(nava, ("mute.mp4", "", "temp"), ("blind.flac", "", "temp"))
    assert (mute["missing"], blind["missing"]) == ("sound", "picture")
    assert len(mute["pictures"]) >= 3 and not mute["sounds"] and not mute["onset_curve"]
    assert len(blind["sounds"]) >= 4 and not blind["pictures"] and not blind["event_curve"]
    assert mute["f1"] is None is blind["f1"]


def test_curves_of_a_long_clip_are_those_of_its_beginning(nava, saved, monkeypatch):
    monkeypatch.setattr(nava("clip_file"), "MOST_SECONDS", 1.0)
    save_clip(saved / "output" / "long.flac", picture=False)
    save_clip(saved / "output" / "long.mp4", size=(64, 32))
    (_, sound), (_, both) = curves(nava, ("long.flac", "", "output"), ("long.mp4", "", "output"))
    monkeypatch.setattr(nava("clip_file"), "MOST_FRAMES", 12)
    ((_, few),) = curves(nava, ("long.mp4", "", "output"))
    assert [(found["cut"], found["seconds"]) for found in (sound, both, few)] == [(True, 1), (True, 1), (True, 0.5)]


def test_curves_are_of_saved_clips_alone(nava, saved):
    save_clip(saved / "output_of_others" / "theirs.mp4", seconds=0.5, size=(64, 32))
    path = str(saved / "output_of_others")
    refused = curves(
        nava,
        ("theirs.mp4", "../output_of_others", "output"),
        ("theirs.mp4", path, "output"),
        ("theirs.mp4", "sub/../../output_of_others", "temp"),
        ("../output_of_others/theirs.mp4", "", "output"),
        (f"{path}/theirs.mp4", "", "output"),
        ("..", "", "output"),
        ("theirs.mp4", "a\0b", "output"),
        ("theirs.mp4", "", "input"),
        (["theirs.mp4"], "", "output"),
        ("theirs.mp4", None, "output"),
        ("gone.mp4", "", "output"),
        ("sub", "", "output"),
    )
    assert [status for status, _ in refused] == [403, 403, 403, 400, 400, 404, 400, 400, 400, 400, 404, 404]


def test_what_is_no_media_has_no_curves(nava, saved):
    output = saved / "output"
    save_clip(saved / "whole.mp4", seconds=0.5, size=(64, 32))
    contents = {
        "words.mp4": b"these are words" * 100,
        "empty.wav": b"",
        "broken.mp4": (saved / "whole.mp4").read_bytes()[:900],
        # FFmpeg would play another file by it, if it were left to guess
        "list.mp4": f"#EXTM3U\n#EXTINF:1,\n{saved / 'whole.mp4'}\n".encode(),
        "words.txt": b"no player plays this",
    }
    for name, content in contents.items():
        (output / name).write_bytes(content)
    ours = curves(nava, *((name, "", "output") for name in list(contents)[:3]))
    ours += curves(nava, *((name, "", "output") for name in list(contents)[3:]))  # no more than four at once
    for name, (status, text) in zip(contents, ours, strict=True):
        assert (status, text) == (422, "this file is no clip that can be read"), name
