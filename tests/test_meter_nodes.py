"""The meters' nodes, on a real server with a real file, and in one process."""

import av
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy_server import ServerError
from scenes import clicks, dot, shifted, voice
from support import ROOT

from nava_core.voice import Voice, load_voice_encoder

EVENTS = [0.42, 0.81, 1.30, 1.72, 2.25, 2.61]
SECONDS = 3.0


@pytest.fixture(scope="module")
def clip():
    return dot(EVENTS, SECONDS, width=64, height=48), clicks(EVENTS, SECONDS)


def audio(sound, rate=48000):
    return {"waveform": sound[None], "sample_rate": rate}


def write(path, frames, sound):
    """An mp4 as SaveVideo would write it."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("h264", 24, width=frames.shape[2], height=frames.shape[1], pix_fmt="yuv420p")
        track = file.add_stream("aac", 48000, layout="stereo")
        for frame in (frames * 255).round().to(torch.uint8).numpy():
            file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(sound.contiguous().numpy(), format="fltp", layout="stereo")
        samples.sample_rate = 48000
        file.mux(track.encode(samples))
        file.mux(track.encode())


def test_on_the_server(server, base, clip):
    """A saved video is measured and mended: its sound is 0.3 s late, and afterwards on time."""
    frames, sound = clip
    write(base / "input" / "late.mp4", frames, shifted(sound, 0.3))
    prompt = {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "late.mp4"}},
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "3": {"class_type": "NavaSyncMeter", "inputs": {"images": ["2", 0], "audio": ["2", 1], "fps": ["2", 2]}},
        "4": {"class_type": "NavaFixLag", "inputs": {"images": ["2", 0], "audio": ["2", 1], "fps": ["2", 2], "min_sharpness": 0.2}},
        "5": {"class_type": "NavaSyncMeter", "inputs": {"images": ["2", 0], "audio": ["4", 0], "fps": ["2", 2]}},
    }  # fmt: skip
    history = server.queue(prompt)
    text = {node: history["outputs"][node]["report"][0] for node in ("3", "4", "5")}
    assert "(sound late)" in text["3"], text
    assert text["4"].startswith("Moved by 0.3") and text["4"].endswith(" → 1.00."), text
    assert text["5"].startswith("F1 1.00"), text
    assert len(server.outputs(history, ".png")) == 2, "a meter shows its own plot"
    prompt = {k: v for k, v in prompt.items() if k in "123"}  # the host would run what remains valid
    prompt["3"]["inputs"]["fps"] = 0.0
    with pytest.raises(ServerError, match="fps"):
        server.queue(prompt)


def test_sync_meter(nava, clip):
    meter = nava("meters").NavaSyncMeter.execute
    frames, sound = clip
    score, lag, sharpness, plot, report = meter(frames, audio(sound), 24.0).args
    assert (score, abs(lag) < 0.03, sharpness > 0.2) == (1.0, True, True)
    assert plot.shape == (1, 256, 768, 3) and 0 <= plot.min() < plot.max() <= 1
    assert report.startswith("F1 1.00 · AV-Align 1.00")
    late = meter(frames, audio(shifted(sound, 0.2)), 24.0).args
    assert late[0] < 0.3 and not torch.equal(late[3], plot)
    still = meter(frames[:1].expand(72, -1, -1, -1), audio(sound * 0), 24.0).args
    assert still[:3] == (0.0, 0.0, 0.0)
    assert "F1 not measured" in still[4] and "there is only silence" in still[4]
    with pytest.raises(ValueError, match="NavaSyncMeter, audio: the sound is empty, it has no samples"):
        meter(frames, audio(sound[:, :0]), 24.0)


@pytest.mark.parametrize("seconds", [0.3, -0.25])
def test_lag_is_mended(nava, clip, seconds):
    frames, _ = clip
    wrong = clicks([e + seconds for e in EVENTS if e + seconds < SECONDS - 0.05], SECONDS)
    mended, moved, report = nava("meters").NavaFixLag.execute(frames, audio(wrong), 24.0, 0.2).args
    assert moved == pytest.approx(seconds, abs=0.03)
    assert mended["waveform"].shape == (1, 2, 144000) and mended["sample_rate"] == 48000
    assert report.endswith("→ 1.00.") or "→ 0.9" in report


def test_sound_is_left_alone(nava, clip):
    """On time, silent, a steady beat, and sound of something else: the very same object comes back."""
    fix = nava("meters").NavaFixLag.execute
    frames, sound = clip
    beat = [0.4 * (i + 1) for i in range(6)]
    for picture, heard, why in (
        (frames, sound, "within a frame"),
        (frames, sound * 0, "only silence"),
        (dot(beat, SECONDS, width=64, height=48), shifted(clicks(beat, SECONDS), 0.2), "not sharp enough"),
    ):
        given = audio(heard)
        result, moved, report = fix(picture, given, 24.0, 0.3).args
        assert result is given and moved == 0 and why in report, report


ADA, BEN = (210, (700, 1900)), (105, (420, 1100))
PROMPT = "Two faces. Ada says <S:Ada>yes<E> and Ben says <S>no<E>"


@pytest.fixture(scope="module")
def voices(nava):
    """(encoder, NAVA_VOICE of Ada and Ben, a dialogue Ada, Ben): NAVA-mini's own encoder, on synthetic voices."""
    with torch.inference_mode():
        network = load_voice_encoder(ROOT / "assets" / "mini" / "nava_mini_redimnet.pt")
        encoder = ModelPatcher(network, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
        known = [Voice(name, network(voice(*who, 2.0, seed=3), 16000)[0]) for name, who in (("Ada", ADA), ("", BEN))]
    pause = torch.zeros(1, 8000)
    said = torch.cat([pause, voice(*ADA, 0.8, seed=1), pause, voice(*BEN, 0.8, seed=2), pause], -1)
    return encoder, known, said


def test_voice_meter(nava, voices):
    encoder, (ada, ben), said = voices
    meter = nava("voice_meter").NavaVoiceMeter.execute
    given = {"voice_0": ada, "voice_1": ben}
    score, right, report = meter(audio(said, 16000), encoder, given, PROMPT).args
    assert score > 0.8 and right == 1 and report.count("and is nearest to it") == 2, report
    assert "1. 0.49 to 1.31 s: Ada 0." in report and "should be Ada" in report and "should be voice 2" in report
    timed = meter(audio(said, 16000), encoder, given, PROMPT, "0.5-1.3, 1.8-2.6").args
    assert timed[:2] == pytest.approx((score, 1), abs=0.05)

    turned = torch.cat([said[:, 20800:], said[:, :20800]], -1)  # Ben speaks first
    swapped = meter(audio(turned, 16000), encoder, given, PROMPT).args
    assert swapped[0] < score - 0.1 and swapped[1] == 0 and "but Ada is nearer" in swapped[2], swapped
    unknown = meter(audio(turned, 16000), encoder, given).args
    assert unknown[0] > 0.8 and unknown[1] == 1 and "should be" not in unknown[2]
    for heard in (said * 0, said[:, :20800]):
        nothing = meter(audio(heard, 16000), encoder, given, PROMPT).args
        assert nothing[:2] == (0, 0) and "fewer lines are heard" in nothing[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": "Rain."}, "prompt: nobody speaks in it"),
        ({"prompt": "<S:Cleo>yes<E>"}, "<S:Cleo> names a voice that is not connected"),
        ({"prompt": "<S>yes"}, "prompt: a spoken line is never closed"),
        ({"spans": "1-0.5"}, "spans: '1-0.5' is no span"),
        ({"spans": "soon"}, "spans: 'soon' is no span"),
        ({"spans": "9-10"}, "the span 9 to 10 s is not within the sound"),
        ({"prompt": PROMPT, "spans": "0-1"}, "1 spans and 2 spoken lines"),
        ({"voices": {"voice_0": None}}, "voices: none is connected"),
    ],
)
def test_voice_meter_says_what_is_wrong(nava, voices, given, message):
    encoder, (ada, ben), said = voices
    given = {"voices": {"voice_0": ada, "voice_1": ben}} | given
    with pytest.raises(ValueError, match=message):
        nava("voice_meter").NavaVoiceMeter.execute(audio(said, 16000), encoder, **given)
