"""The trainer: its objective, and real short trainings that are killed, resumed, shared between processes, and loaded."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from comfy_server import free_port
from safetensors.torch import load_file
from support import HOST, ROOT

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # behind the host's own `nodes`

from training import lora, objective
from training.samples import Sample, Samples, write_shard

MODEL = "dim = 24\nnum_heads = 2\nnum_double_layers = 1\nnum_single_layers = 1\nffn_dim = 32\nfreq_dim = 16\ntext_dim = 16\ntext_len = 24"


def command(config, out, *launch):
    """What `run.py train` runs, to its end: (exit status, what it printed)."""
    words = [sys.executable, *launch, "-m", "training.make", str(config), "--out", str(out)]
    environment = {**os.environ, "NAVA_HOST": str(HOST), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500
    )
    return done.returncode, done.stdout


def finish(training):
    assert training.wait() == 0, training.printed()
    return training.printed()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Two shapes of random samples, some with a voice, with encoded text."""
    folder = tmp_path_factory.mktemp("samples")
    with torch.inference_mode(False):
        g = torch.Generator().manual_seed(0)

        def sample(i, frames):
            return Sample(
                torch.randn(48, frames, 4, 4, generator=g), torch.randn(6, 128, generator=g), None,
                (f"a {i}", f"b {i}"), tuple(torch.randn(9, 16, generator=g) for _ in range(2)),
            )  # fmt: skip

        for shard in range(2):
            write_shard(folder / f"{shard:05}.safetensors", [sample(i, 2 + i % 2) for i in range(6)])
    return folder


def config_file(path, samples, extra="", model=MODEL):
    path.write_text(
        f'kind = "transformer"\nsamples = "{samples}"\nsteps = 6\nbatch = 4\nbf16 = false\nthreads = 1\nsave_every = 0.0\n{extra}\n[model]\n{model}\n'
    )
    return path


def test_levels_and_weights_are_the_released_ones():
    sigma, weight = objective.sigma_table(), objective.weight_table()
    assert sigma[0] == 1 and abs(sigma[-1] - 0.0196) < 1e-4
    assert abs(sigma.median() - 0.834) < 1e-3 and abs(sigma.mean() - 0.750) < 1e-3
    assert abs(weight.mean() - 1) < 1e-12 and weight[0] == 0
    for t, wanted in ((500, 2.07), (625, 1.91), (833, 1.02), (937.5, 0.40)):
        assert abs(weight[(1000 * sigma - t).abs().argmin()] - wanted) < 0.01


def test_least_weight_raises_only_what_is_below_it():
    released, raised = objective.weight_table(), objective.weight_table(least=0.8)
    low = released < 0.8
    assert 0 < low.sum() < len(low) and released.min() == 0
    assert torch.equal(raised[~low], released[~low]) and (raised[low] == 0.8).all()


def test_an_audio_number_weighs_as_released():
    video, audio = torch.zeros(1, 48, 37, 44, 80), torch.zeros(1, 152, 128)
    assert round(0.2 * video.numel() / audio.numel()) == 64


def test_shards_come_back(samples):
    assert Samples(samples).count == 12 and len(Samples(samples).groups) == 2


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path, samples, trainings):
    config = config_file(tmp_path / "c.toml", samples, "average = 0.9")
    finish(trainings.start(config, tmp_path / "whole"))
    process = trainings.start(config, tmp_path / "killed")
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    output = finish(trainings.start(config, tmp_path / "killed"))
    assert "resumed at step" in output
    whole, killed = (load_file(tmp_path / n / "transformer.safetensors") for n in ("whole", "killed"))
    assert all(torch.equal(whole[k], killed[k]) for k in whole)
    assert not list((tmp_path / "killed").glob("*.part.*"))


def test_two_processes_take_the_steps_of_one(tmp_path, samples, trainings):
    config = config_file(tmp_path / "c.toml", samples)
    one = trainings.start(config, tmp_path / "one")
    # a port of its own: torch's launcher would take the same one each time
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()))
    status, output = command(config, tmp_path / "two", *launch)
    assert status == 0 and "2 process(es)" in output, output
    finish(one)
    losses = [
        [float(x) for x in (tmp_path / n / "log.csv").read_text().splitlines()[-1].split(",")[2:]]
        for n in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=2e-5)
    one, two = (torch.load(tmp_path / n / "checkpoint.pt", weights_only=True)["weights"] for n in ("one", "two"))
    assert max((one[k] - two[k]).abs().max().item() for k in one) < 1e-5


def test_a_config_that_cannot_be_meant_is_named(tmp_path, samples, trainings):
    config = config_file(tmp_path / "c.toml", samples, "learning_rate = 1e-3")
    status, output = command(config, tmp_path / "out")
    assert status == 1 and "learning_rate" in output and "Traceback" not in output
    process = trainings.start(config_file(tmp_path / "d.toml", tmp_path / "nothing"), tmp_path / "out")
    assert process.wait() == 1 and "holds no samples" in process.printed()
    assert "Traceback" not in process.printed()


def test_a_lora_acts_in_comfyui_as_it_did_in_training(tmp_path, samples, trainings, nava):
    import comfy.sd

    import nava_core

    config = config_file(tmp_path / "base.toml", samples)
    finish(trainings.start(config, tmp_path / "base"))
    base = tmp_path / "base" / "transformer.safetensors"
    extra = f'init = "{base}"\nrate = 0.02\nlora = {{ rank = 2 }}'
    finish(trainings.start(config_file(tmp_path / "lora.toml", samples, extra), tmp_path / "lora"))
    file = load_file(tmp_path / "lora" / "lora.safetensors")
    assert file and all(k.startswith("diffusion_model.") for k in file)
    model = nava_core.load_transformer(base)
    changed = dict(model.state_dict())
    for name in {k.rsplit(".lora_", 1)[0] for k in file if ".lora_down" in k}:
        delta = file[f"{name}.lora_up.weight"] @ file[f"{name}.lora_down.weight"]
        assert delta.abs().max() > 0
        key = name.removeprefix("diffusion_model.") + ".weight"
        changed[key] = changed[key] + delta * file[f"{name}.alpha"] / file[f"{name}.lora_down.weight"].shape[0]
    model.load_state_dict(changed)
    patcher, _ = comfy.sd.load_lora_for_models(nava("load").load_model(str(base), "fp32"), None, file, 1.0, 0.0)
    patcher.patch_model()
    host = patcher.model.diffusion_model.state_dict()
    difference = max((host[k].float() - v).abs().max().item() for k, v in changed.items())
    patcher.unpatch_model()
    assert difference < 1e-6


def test_streams_choose_their_layers():
    from nava_core import NavaConfig
    from nava_core.checkpoint import expected_shapes

    shapes = expected_shapes(NavaConfig())
    picture, sound, both = (lora.parameter_count(shapes, 16, s) for s in lora.STREAMS)
    assert picture == sound == 10 * 8 * 16 * 2 * 3072
    assert both == 2 * picture + 20 * 8 * 16 * 2 * 3072 + 30 * 2 * 16 * (3072 + 14336)


def test_text_encoder_equals_the_hosts(nava):
    from comfy.ops import disable_weight_init
    from comfy.text_encoders.t5 import T5

    from training.text_encoder import TextEncoder, train_pieces

    lines = ["a red ball falls onto a wooden floor", "一个红色的球落到木地板上", "hello water music yes no"] * 20
    torch.manual_seed(0)
    text = TextEncoder(train_pieces(lines, 400), 32, 2, 4, 48).eval()
    config = {
        "num_layers": 2, "d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 48, "dense_act_fn": "gelu_pytorch_tanh",
        "is_gated_act": True, "model_type": "umt5", "vocab_size": text.shared.weight.shape[0],
    }  # fmt: skip
    host = T5(config, torch.float32, "cpu", disable_weight_init)
    host.load_state_dict({k: v for k, v in text.weights().items() if k != "spiece_model"})
    ids, positions = text.tokenize(["a red ball", "a ball <S>hello<E> 红色"], 24)
    assert positions[0] == [] and len(positions[1]) == 1
    longest = max(map(len, ids))
    padded = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
    mask = (torch.arange(longest) < torch.tensor([len(i) for i in ids])[:, None]).float()
    wanted = host(padded, mask)[0] * mask[..., None]
    assert (text(ids) - wanted).abs().max() < 1e-5


def test_the_video_vae_in_one_go_equals_the_hosts():
    from training.codecs import video, wan

    torch.manual_seed(0)
    vae = wan.build(8, 8)
    video.initialise(vae)
    for count in (9, 1):
        frames = torch.rand(1, 3, count, 32, 48) * 2 - 1
        latents = wan.encode(vae, frames)
        assert (latents - vae.encode(frames)).abs().max() < 1e-4
        assert (wan.decode(vae, latents) - vae.decode(latents)).abs().max() < 1e-4
