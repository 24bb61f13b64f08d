"""A recording or a video put into a LATENT: where it lies, how long it gets, what is said of it."""

import math
import subprocess

import pytest
import torch

RATE = 44100


def latent_of(nava, mode="audio + video", seconds=1.0):
    return nava("latent").NavaEmptyLatent.execute(mode, 64, 64, seconds, 1)[0]


def clicks(at, seconds=2.0, rate=RATE, channels=1):
    """Noise bursts of 10 ms at these seconds, over a quiet hiss."""
    g = torch.Generator().manual_seed(3)
    waveform = torch.randn(1, channels, round(seconds * rate), generator=g) * 1e-3
    for second in at:
        begin = round(second * rate)
        waveform[..., begin : begin + rate // 100] += torch.randn(1, channels, rate // 100, generator=g).clamp(
            -0.9, 0.9
        )
    return {"waveform": waveform, "sample_rate": rate}


def put(nava, files, audio, latent, length="as the sound", start=0.0):
    return nava("put").NavaSoundToLatent.execute(audio, files["audio_vae"], latent, length, start)


def test_sound_lies_where_it_is_heard(nava, files):
    """A click at second s changes the steps from 25 s on, at any length and rate: the host's own encoding cuts the ends off."""
    encode = nava("put").encode_sound
    for rate, seconds, at in ((44100, 1.99, 1.0), (16000, 1.23, 0.6), (48000, 1.71, 1.2)):
        quiet, click = (clicks(a, seconds, rate, 2)["waveform"] for a in ([], [at]))
        steps = math.ceil(seconds * 25)
        a, b = (encode(w, rate, steps, files["audio_vae"]) for w in (quiet, click))
        assert a.shape == (1, 8, steps, 16)
        change = (a - b).abs().mean((0, 1, 3))
        first = int((change > 0.2 * change.max()).nonzero().min())
        print(f"click at {at} s ({rate} Hz): first changed step {first}, {first / 25:.2f} s")
        assert abs(first - at * 25) <= 1.5


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_length_of_the_sound_or_of_the_latent(nava, files, channels):
    audio = clicks([0.5], 1.3, channels=channels)
    out, seconds = put(nava, files, audio, latent_of(nava)).args
    video, sound = out["samples"].unbind()
    assert seconds == pytest.approx(33 / 24) and video.shape[2] == 9 and sound.shape == (1, 8, 35, 16)
    assert "noise_mask" not in out
    out, seconds = put(nava, files, audio, latent_of(nava), "as the latent").args
    video, sound = out["samples"].unbind()
    assert seconds == pytest.approx(25 / 24) and video.shape[2] == 7 and sound.shape == (1, 8, 27, 16)
    out, seconds = put(nava, files, audio, latent_of(nava, "audio", 3.0), "as the latent").args
    assert out["samples"].unbind()[0].shape == (1, 8, round(25 * 73 / 24 + 0.49), 16) and seconds > 3


def test_first_frame_and_sound_in_either_order(nava, files):
    """A first frame stays, whatever the length becomes."""
    first = nava("first_frame").NavaFirstFrame
    picture, audio = torch.rand(1, 64, 64, 3), clicks([0.5], 1.3)
    a = put(nava, files, audio, first.execute(picture, files["video_vae"], latent_of(nava), "as the latent")[0])[0]
    b = first.execute(picture, files["video_vae"], put(nava, files, audio, latent_of(nava))[0], "as the latent")[0]
    for x, y in zip(
        (*a["samples"].unbind(), *a["noise_mask"].unbind()),
        (*b["samples"].unbind(), *b["noise_mask"].unbind()),
        strict=True,
    ):
        assert torch.equal(x, y)
    assert all(getattr(x["samples"], nava("masks").KEEPS_FIRST_FRAME) for x in (a, b))


def test_what_is_heard_is_said(nava, files):
    loud = clicks([0.5], 1.3)
    loud["waveform"] = (loud["waveform"] * 40).clamp(-1, 1)
    said = put(nava, files, loud, latent_of(nava)).ui
    assert "LUFS" in said["text"][0] and "clipped" in said["text"][0], "a warning"
    assert said["report"][0].split("\n") == [said["text"][0], "1.30 s of sound in a clip of 1.38 s"]
    quiet = put(nava, files, clicks([0.5], 1.3), latent_of(nava)).ui
    assert quiet["text"] == [] and "clipped" not in quiet["report"][0], "nothing is wrong: a line on the node alone"


def test_recordings_that_are_none(nava, files):
    silent = {"waveform": torch.zeros(1, 2, RATE), "sample_rate": RATE}
    with pytest.raises(ValueError, match="NavaSoundToLatent, audio: the recording is silent"):
        put(nava, files, silent, latent_of(nava))
    with pytest.raises(ValueError, match=r"NavaSoundToLatent, start: 5 s lies beyond the recording's end at 2.00 s"):
        put(nava, files, clicks([1]), latent_of(nava), start=5.0)
    with pytest.raises(ValueError, match="NaN"):
        put(nava, files, {**silent, "waveform": torch.full((1, 2, RATE), math.nan)}, latent_of(nava))
    with pytest.raises(ValueError, match="it has no sound"):
        put(nava, files, clicks([1]), latent_of(nava, "video"))
    with pytest.raises(ValueError, match=r"audio_vae.*swapped"):
        nava("put").NavaSoundToLatent.execute(clicks([1]), files["video_vae"], latent_of(nava), "as the sound", 0.0)


def test_a_video_of_any_rate_and_size(nava, files):
    """Numbered frames: at 24 frames a second each moment shows the frame that it showed before."""
    frames_at = nava("put").frames_at
    assert frames_at(5, 24.0) == [0, 1, 2, 3, 4]
    assert frames_at(6, 48.0) == [1, 3, 5]
    assert frames_at(3, 12.0) == [0, 0, 1, 1, 2, 2]
    assert frames_at(1, 24.0) == [0] and frames_at(30, 30.0)[-1] == 29 and len(frames_at(30, 30.0)) == 24
    put_in = nava("put").NavaPictureToLatent
    images = torch.rand(12, 70, 100, 4)
    out, frames, seconds = put_in.execute(images, files["video_vae"], 12.0, "as the picture").args
    video, sound = out["samples"].unbind()
    assert frames == 25 and seconds == pytest.approx(25 / 24), "24 frames, filled up to whole groups of four"
    assert video.shape == (1, 48, 7, 4, 6) and sound.shape == (1, 8, 27, 16) and not sound.any()
    with pytest.raises(ValueError, match="no picture in it"):
        put_in.execute(images[:0], files["video_vae"], 24.0, "as the picture")
    held = nava("hold").NavaHold.execute(out, "picture", "", "soft", 1.0)[0]
    assert (held["noise_mask"].unbind()[0] == -1).all() and (held["noise_mask"].unbind()[1] == 1).all()


def test_a_video_is_taken_by_its_time_stamps(nava, files, tmp_path):
    """Frames of variable rate show at 24 a second what plays then, and sound that begins later begins later."""
    from comfy_api.latest._input_impl import VideoFromFile

    source, file = "color=c=black:s=64x64:r=120:d=2.4,drawbox=x=0:y=0:w=64:h=64:color=white:t=fill", tmp_path / "a.mp4"
    flash = f"{source}:enable='between(t,0.5,0.62)',select='if(lt(t,1),not(mod(n,4)),not(mod(n,15)))'"
    tone = ["-itsoffset", "0.4", "-f", "lavfi", "-i", "sine=440:d=1"]
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", flash, *tone, "-vsync", "vfr", "-pix_fmt", "yuv420p", file]
    subprocess.run(list(map(str, command)), check=True)
    read = nava("video")
    frames, fps = read.frames_of(VideoFromFile(str(file)), "x")
    light = frames.mean((1, 2, 3))
    assert fps == 24 and abs(int((light > 0.5).nonzero()[0]) / 24 - 0.5) < 0.03
    audio = read.audio_of(VideoFromFile(str(file)), "x")
    first = int((audio["waveform"][0, 0].abs() > 0.01).nonzero()[0]) / audio["sample_rate"]
    assert abs(first - 0.4) < 0.03
    cut = read.frames_of(VideoFromFile(str(file), start_time=0.5, duration=1.0), "x")[0]
    assert len(cut) == 24 and cut[1].mean() > 0.5
    picture = nava("put").NavaPictureToLatent
    out, count, _ = picture.execute(
        video=VideoFromFile(str(file)), video_vae=files["video_vae"], size="as the picture"
    ).args
    assert count >= 57 and out["samples"].unbind()[0].shape[-2:] == (4, 4)
    with pytest.raises(ValueError, match="connected too"):
        picture.execute(frames, files["video_vae"], video=VideoFromFile(str(file)))


@pytest.mark.parametrize("audio", [None, {"waveform": torch.zeros(1, 2, 0), "sample_rate": RATE}])
def test_no_sound_is_said_in_a_sentence(nava, files, audio):
    with pytest.raises(ValueError, match=r"NavaSoundToLatent, audio: th(ere is no sound|e sound is empty)"):
        put(nava, files, audio, latent_of(nava))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_clips_of_other_channels_are_joined(nava, channels):
    one, two = torch.rand(5, 16, 16, channels), torch.rand(4, 16, 16, 3)
    assert nava("join").NavaJoin.execute(one, two, 1, 24.0).args[0].shape == (8, 16, 16, 3)
    assert nava("join").NavaJoin.execute(two, one, 1, 24.0).args[0].shape == (8, 16, 16, 3)
