"""From a folder of clips to a LoRA: encoding by the host's own parts, training on a frozen bf16 or fp8 model."""

import json
import signal
import sys
import time

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import ROOT

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # behind the host's own `nodes`

from training import encode
from training.base import RowLinear, load_base
from training.samples import read_shard


def write_clip(path, frames, fps, rate=16000, channels="stereo"):
    """Frames of even brightness, each brighter than the last, with a tone that rises in loudness."""
    with av.open(str(path), "w") as media:
        picture = media.add_stream("libx264", rate=fps, options={"crf": "10"})
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        sound = media.add_stream("aac", rate=rate, layout=channels)
        for i in range(frames):
            image = np.full((64, 96, 3), 20 + i * 200 // frames, np.uint8)
            media.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        media.mux(picture.encode())
        count = frames * rate // fps
        wave = np.sin(np.arange(count) * 0.3) * np.linspace(0.1, 0.9, count)
        wave = np.repeat(wave[None].astype("f4"), 2 if channels == "stereo" else 1, 0)
        audio = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=channels)
        audio.sample_rate = rate
        media.mux(sound.encode(audio))
        media.mux(sound.encode())


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "speaks.mp4", 40, 24)
    (folder / "speaks.txt").write_text("A woman says <S>Hello, who is there?<E> (softly).", encoding="utf-8")
    (folder / "speaks.json").write_text(json.dumps({"speech": [[0.2, 1.3]]}))
    write_clip(folder / "waves.mp4", 20, 12, channels="mono")
    (folder / "waves.txt").write_text("Waves roll over the beach.\n\nGulls cry.", encoding="utf-8")
    return folder


def encode_config(path, clips, base, extra=""):
    files = {
        "video_vae": "vae/nava_tiny_wan2.2_vae.safetensors",
        "audio_vae": "checkpoints/nava_tiny_ltx_audio_vae.safetensors",
        "text_encoder": "text_encoders/nava_tiny_umt5.safetensors",
        "voice_encoder": "audio_encoders/nava_tiny_redimnet.pt",
    }
    lines = [f'{k} = "{base / "models" / v}"' for k, v in files.items()]
    text = [f'kind = "encode"\nclips = "{clips}"\nframes = 33\nsizes = [[96, 64], [64, 64]]', *lines, extra]
    path.write_text("\n".join(text))
    return path


@pytest.fixture(scope="module")
def encoded(clips, base, trainings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    process = trainings.start(encode_config(folder / "c.toml", clips, base), folder / "samples")
    assert process.wait() == 0, process.printed()
    return folder / "samples"


def test_clips_become_samples(encoded):
    (speaks,), (waves,) = (read_shard(encoded / f"{n}.safetensors") for n in ("speaks", "waves"))
    for sample in (speaks, waves):
        assert sample.video.shape == (48, 9, 4, 6) and sample.audio.shape == (35, 128)
        assert all(torch.isfinite(t).all() for t in (sample.video, sample.audio, *sample.rows))
    assert speaks.voices.shape == (1, 192) and waves.voices is None
    assert speaks.rows[0].shape[1] == 64 and len(speaks.positions[0]) == 1 and waves.positions == ((),)
    assert 0 < speaks.positions[0][0] < len(speaks.rows[0])
    assert waves.prompts == ("Waves roll over the beach. Gulls cry.",)


def test_frames_are_taken_by_their_time(clips):
    """12 frames a second become 24 by showing each twice; what a clip lacks is its last frame."""
    picture = encode.read_picture(clips / "waves.mp4", 45, (96, 64)).mean((1, 2, 3))
    steps = picture.diff().abs() > 0.01
    assert steps[1:39:2].all() and not steps[:38:2].any() and not steps[39:].any()


def test_one_channel_is_doubled(clips):
    waveform, rate = encode.read_sound(clips / "waves.mp4")
    assert rate == 16000 and waveform.shape[0] == 2 and torch.equal(waveform[0], waveform[1])
    assert 0.8 < waveform.abs().max() < 1.1


def test_every_fault_is_named_before_anything_is_encoded(clips, tmp_path):
    for file in clips.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "waves.txt").unlink()
    (tmp_path / "speaks.json").write_text('{"speech": [[0, 1], [1, 1.2]]}')
    (tmp_path / "broken.mp4").write_bytes(b"no media")
    (tmp_path / "broken.txt").write_text("x")
    settings = encode.Settings.read({"clips": str(tmp_path), "video_vae": "v", "audio_vae": "a", "voice_encoder": "e"})
    with pytest.raises(ValueError) as error:
        encode.find(settings)
    for part in ("waves.mp4: its prompt waves.txt is missing", "2 speech times, the prompt has 1", "broken.mp4: "):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="frames is 32"):
        encode.Settings.read({"clips": "x", "frames": 32})


@pytest.fixture(scope="module")
def fp8(base, tmp_path_factory):
    from nava_core.convert import convert

    target = tmp_path_factory.mktemp("fp8") / "nava_fp8.safetensors"
    convert(base / "models/diffusion_models/nava_tiny.safetensors", target, "fp8")
    return target


def test_frozen_rows_compute_as_the_real_numbers(fp8):
    import nava_core

    with torch.inference_mode(False), torch.enable_grad():  # as training computes
        frozen, plain = load_base(fp8, "fp8"), nava_core.load_transformer(fp8)
        assert isinstance(frozen.double_blocks[0].ffn[0], RowLinear)
        assert frozen.double_blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
        g = torch.Generator().manual_seed(0)
        inputs = torch.randn(1, 48, 2, 4, 4, generator=g), torch.randn(1, 6, 128, generator=g)
        context = torch.randn(1, 7, 64, generator=g)
        with torch.autocast("cpu", torch.bfloat16):
            results = [m(*inputs, torch.tensor([500.0]), context) for m in (frozen, plain)]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # as a preview computes
        assert all(torch.isfinite(y).all() for y in frozen(*inputs, torch.tensor([500.0]), context))


def test_a_precision_that_the_file_has_not_is_named(base):
    file = base / "models/diffusion_models/nava_tiny.safetensors"
    with pytest.raises(ValueError, match=r"convert --dtype fp8"):
        load_base(file, "fp8")
    with pytest.raises(ValueError, match="choose one of float32, bf16, fp8"):
        load_base(file, "fp4")


def test_a_lora_on_fp8_rows_is_saved_when_told_to_end_and_goes_on(encoded, fp8, tmp_path, trainings, nava):
    import comfy.sd

    config = tmp_path / "c.toml"
    config.write_text(
        f'kind = "transformer"\nsamples = "{encoded}"\ninit = "{fp8}"\nsteps = 400\nbatch = 2\nrate = 0.01\nthreads = 1\n'
        'save_every = 1000.0\ncheckpointing = true\nvoice_dropout = 0.0\nlora = { rank = 2, base = "fp8" }\n'
    )
    process = trainings.start(config, tmp_path / "out")
    deadline = time.monotonic() + 200
    while "parameters" not in process.printed():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(2)
    process.kill(signal.SIGTERM)
    assert process.wait() == 0 and "saved at step" in process.printed(), process.printed()
    saved = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert all(".lora_" in k for k in saved["weights"]), "the frozen model is not written again and again"
    config.write_text(config.read_text().replace("steps = 400", f"steps = {saved['step'] + 2}"))
    process = trainings.start(config, tmp_path / "out")
    assert process.wait() == 0 and f"resumed at step {saved['step']}" in process.printed(), process.printed()
    file = load_file(tmp_path / "out" / "lora.safetensors")
    assert any(v.abs().max() > 0 for k, v in file.items() if "lora_up" in k)
    patched, _ = comfy.sd.load_lora_for_models(nava("load").load_model(str(fp8)), None, file, 1.0, 0.0)
    assert len(patched.patches) == sum("lora_up" in k for k in file)
