"""What NAVA-mini is made with: its vocoder made by hand, the weight of what moves, the lesson for a LoRA."""

import sys

import av
import pytest
import torch
from safetensors.torch import save_file
from support import ROOT

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # behind the host's own `nodes`

from nava_core.audio import resample
from training import lesson, lora_report, objective, pick
from training.codecs import bands, ltx
from training.samples import Sample, read_shard, write_shard
from training.world import RATE, Request, novel, read, scene


@pytest.fixture(scope="module")
def vocoder():
    with torch.inference_mode(False):
        torch.manual_seed(0)
        vae = ltx.build({"channels": 8, "vocoder_channels": 512, "bwe_channels": 32})
        bands.start(vae.vocoder.vocoder, ltx.RATE)
    return vae


@torch.no_grad()
def sounded(vae, mel):
    """The mel spectrogram of what the vocoder makes of one, `[1, 2, T, 64]`."""
    low = vae.vocoder.vocoder(mel.transpose(2, 3))
    return ltx.to_mel(vae, low, ltx.RATE)[:, :, : mel.shape[2]]


@pytest.mark.parametrize("seed,kind", [(3, "weather"), (5, "bounce")])
def test_the_vocoder_made_by_hand_sounds_what_it_is_given(vocoder, seed, kind):
    sound = torch.from_numpy(scene(seed, Request(kind, 32, 32, 25)).sound)[None]
    mel = ltx.to_mel(vocoder, resample(sound, RATE, ltx.RATE), ltx.RATE)
    heard = sounded(vocoder, mel)
    steps = slice(4, heard.shape[2] - 4)
    apart = (heard[:, :, steps] - mel[:, :, steps]).abs().mean()
    control = (sounded(vocoder, mel.flip(3))[:, :, steps] - mel[:, :, steps]).abs().mean()
    print(float(apart), float(control))
    assert apart < 0.9 and control > 2 * apart, (apart, control)


def test_places_that_move_weigh_more():
    latent = torch.zeros(2, 48, 5, 4, 6)
    for t in range(5):
        latent[0, :, t, 1, t] = 2.0
    places = objective.moving_places(latent, 4.0)
    assert torch.allclose(places.mean((2, 3, 4)), torch.ones(2, 1))
    assert places[0, 0, 2, 1, 2] > 4 * places[0, 0, 2, 3, 3]
    assert torch.equal(places[1], torch.ones(1, 5, 4, 6))
    noise, weight = torch.randn(2, 48, 5, 4, 6), torch.ones(2)
    plain = objective.stream_loss(noise, latent, noise, weight)
    assert torch.allclose(objective.stream_loss(noise, latent, noise, weight, torch.ones_like(places)), plain)
    assert objective.stream_loss(noise, latent, noise, weight, places) > 3 * plain


def test_the_lesson_is_what_its_prompts_say(tmp_path):
    lesson.train({"count": 2}, tmp_path)
    for i in range(2):
        text = (tmp_path / f"{i:03}.txt").read_text(encoding="utf-8")
        assert "orange triangle" in text and "boing" in text
        with av.open(str(tmp_path / f"{i:03}.mp4")) as file:
            frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
            assert len(frames) == 33 and file.streams.audio
        made = novel.clip(novel.FIRST + i, Request())
        assert lora_report.colour_of(made.frames) == "orange"
        # one contact at least is heard where it is seen
        assert read.matched(made.events, read.onsets(made.sound)) >= 1
    red = scene(2, Request("bounce"))
    assert lora_report.colour_of(red.frames) == red.attributes["colour"]


def test_a_lora_merged_is_the_lora_loaded(tmp_path):
    """The report adds products to weights itself: one known layer proves the scale."""
    layer = torch.nn.Linear(6, 4, bias=False)
    model = torch.nn.ModuleDict({"block": layer})
    before, down, up = layer.weight.detach().clone(), torch.randn(2, 6), torch.randn(4, 2)
    name = "diffusion_model.block"
    save_file(
        {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)},
        tmp_path / "lora.safetensors",
    )
    lora_report.merge(model, tmp_path / "lora.safetensors")
    assert torch.allclose(layer.weight, before + up @ down / 2, atol=1e-6)


def test_samples_are_picked_by_what_they_show(tmp_path):
    prompts = [
        *(f"A red ball falls onto a wooden floor, {i}." for i in range(30)),
        *(f"A red face under a blue sky says: <S>hello<E> {i}" for i in range(30)),
        *(f"Two faces. The red face says: <S>yes<E> {i}" for i in range(30)),
    ]
    write_shard(
        tmp_path / "all" / "0.safetensors", [Sample(torch.zeros(48, 1, 2, 2), None, None, (p,)) for p in prompts]
    )
    config = {"samples": str(tmp_path / "all"), "seed": 1, "shares": {"talk": 0.5, "two_faces": 0.0}}
    for name in ("a", "b"):
        pick.train(config, tmp_path / name)
    kept = [s.prompts[0] for path in sorted((tmp_path / "a").iterdir()) for s in read_shard(path)]
    again = [s.prompts[0] for path in sorted((tmp_path / "b").iterdir()) for s in read_shard(path)]
    assert kept == again
    count = {k: sum(pick.kind_of(p) == k for p in kept) for k in ("bounce", "talk", "two_faces")}
    assert count["bounce"] == 30 and 5 < count["talk"] < 25 and not count["two_faces"], count
