"""NavaBestOf: the best of many seeds, each of which plain sampling makes again."""

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from test_workflows import opened
from workflow import nodes_of

PLAIN = {"noise_seed": 5, "candidates": 3, "keep": 1, "good_enough": 1.0}
WEIGHTS = {"sync_weight": 1.0, "sound_weight": 0.5, "picture_weight": 0.5, "voice_weight": 1.0}


@pytest.fixture(scope="module")
def sampling(nava, files):
    """guider, sampler, sigmas and latent of half a second; the prompt has two lines, the second with a voice."""
    with torch.inference_mode():
        sound = torch.sin(torch.arange(48000) * 0.05)[None, None]
        voice = nava("voice").NavaVoice.execute(files["encoder"], {"waveform": sound, "sample_rate": 16000}, "")[0]
        positive, negative = (
            nava("text").NavaTextEncode.execute(files["clip"], "a <S:->b<E> c <S>d<E>", "e", {"voice_0": voice}).args
        )
        return {
            "guider": nava("guide").NavaGuider.execute(files["model"], positive, negative, 3.0, 3.0, 2.0, 2.0, 3.0)[0],
            "sampler": nava("sample").NavaSamplerSelect.execute("unipc")[0],
            "sigmas": nava("sample").NavaScheduler.execute(files["model"], 2, 5.0, 1.0)[0],
            "latent_image": nava("latent").NavaEmptyLatent.execute("audio + video", 64, 64, 0.5, 1)[0],
        }


@pytest.fixture
def best(nava, files, sampling):
    vaes = {"video_vae": files["video_vae"], "audio_vae": files["audio_vae"]}
    return lambda **given: nava("best_of").NavaBestOf.execute(**(sampling | PLAIN | WEIGHTS | vaes | given)).args


def scores(report):
    """seed -> (score, whether it was kept), in the table's order."""
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith("|")][2:]
    return {int(r[0].split()[0]): (float(r[1]), "✓" in r[0]) for r in rows}


def test_candidates_are_made_again_by_plain_sampling(nava, files, sampling, best):
    """Bit for bit: latent, frames and sound of the kept ones, with RandomNoise, SamplerCustomAdvanced and NavaDecode."""
    latents, images, audio, fps, seeds, report = best(keep=2)
    found = scores(report)
    assert sorted(found) == [5, 6, 7] and seeds == list(found)[:2] and fps == 24
    assert [kept for _, kept in found.values()] == [True, True, False]
    assert [s for s, _ in found.values()] == sorted((s for s, _ in found.values()), reverse=True)
    for seed, latent, picture, sound in zip(seeds, latents, images, audio, strict=True):
        rest = [sampling[k] for k in ("guider", "sampler", "sigmas", "latent_image")]
        plain = SamplerCustomAdvanced.execute(Noise_RandomNoise(seed), *rest)[0]
        pairs = zip(latent["samples"].unbind(), plain["samples"].unbind(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        decoded = nava("decode").NavaDecode.execute(plain, "auto", files["video_vae"], files["audio_vae"]).args
        assert torch.equal(decoded[0], picture) and torch.equal(decoded[1]["waveform"], sound["waveform"])
    assert not torch.equal(images[0], images[1])
    listed = best(seeds="7, 5-6")
    assert scores(listed[5]).keys() == found.keys() and listed[4] == seeds[:1]


def test_weights_choose_and_good_enough_stops(best):
    *_, seeds, report = best(candidates=2, keep=2)
    whole = scores(report)
    marks = [
        line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith("| ") and "seed" not in line
    ]
    sound = {int(m[0].split()[0]): float(m[3]) for m in marks}
    sound_only = scores(best(candidates=2, sync_weight=0.0, picture_weight=0.0)[5])
    assert all(abs(sound_only[s][0] - sound[s]) < 0.006 for s in seeds)
    *_, seeds, report = best(candidates=9, good_enough=whole[5][0] - 1e-3)  # the first one is good enough
    assert seeds == [5] and len(scores(report)) == 1 and "stopped after 1 of 9" in report


def test_voices_are_judged_when_asked(nava, files, sampling, best):
    best_of = nava("best_of")
    first, second = best_of.asked_voices(sampling["guider"])
    assert (first is None and second.shape == (192,)) or second.ndim == 1
    report = best(voice_encoder=files["encoder"], candidates=1)[5]
    assert "| voice |" in report
    plain = comfy.samplers.CFGGuider(files["model"])
    plain.set_conds(
        [[sampling["guider"].original_conds["positive"][0]["cross_attn"], {}]], [[torch.zeros(1, 1, 64), {}]]
    )
    assert best_of.asked_voices(plain) == []
    report = best(voice_encoder=files["encoder"], guider=plain, candidates=1)[5]
    assert "| voice |" not in report and "voices: not judged" in report


def test_sound_alone_and_picture_alone(nava, best):
    latent = nava("latent").NavaEmptyLatent.execute
    _, images, audio, *_, report = best(latent_image=latent("audio", 64, 64, 0.5, 1)[0], candidates=1)
    assert images == [None] and audio[0]["waveform"].shape[1] == 2 and "| seed | score | sound |" in report
    _, images, audio, *_, report = best(latent_image=latent("video", 64, 64, 0.5, 1)[0], candidates=1)
    assert images[0].shape == (13, 64, 64, 3) and audio == [None] and "| seed | score | picture |" in report


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": "7, x"}, "seeds: 'x' is no seed"),
        ({"seeds": "9-7"}, "seeds: '9-7' must go upwards"),
        ({"seeds": "1-999999"}, "1000 seeds are the most"),
        ({"seeds": "99999999999999999999"}, "is no seed"),
        ({"keep": 4}, "keep: 4 of 3 candidates"),
        ({"video_vae": None, "audio_vae": None}, "nothing can be judged"),
        (
            {"audio_vae": None, "sync_weight": 1.0, "picture_weight": 0.0},
            "every weight of what can be judged here is 0",
        ),
        ({"audio_vae": "swapped"}, "audio_vae: this is the video VAE"),
        ({"latent_image": "batch"}, "latent_image: it is a batch"),
    ],
)
def test_what_cannot_be_chosen_is_said_before_sampling(nava, files, best, sampling, given, message):
    if given.get("audio_vae") == "swapped":
        given = {"audio_vae": files["video_vae"]}
    if given.get("latent_image") == "batch":
        given = {"latent_image": nava("latent").NavaEmptyLatent.execute("audio + video", 64, 64, 0.5, 2)[0]}

    def never(*_, **__):
        raise AssertionError("it sampled")

    with pytest.raises(ValueError, match=message):
        best(**given, sampler=comfy.samplers.KSAMPLER(never))


def test_interruption_ends_the_search(sampling, best):
    made = []

    def interrupted(model, x, *args, **kwargs):
        made.append(1)
        if len(made) == 2:
            comfy.model_management.interrupt_current_processing()
        return sampling["sampler"].sampler_function(model, x, *args, **kwargs)

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        best(sampler=comfy.samplers.KSAMPLER(interrupted), candidates=9)
    assert len(made) == 2


def test_on_the_server(server, workflow):
    """In place of noise, sampler and decoder of a shipped workflow: two of three kept, two files saved."""
    prompt = workflow("nava_text_to_av")
    key = {n["class_type"]: k for k, n in prompt.items()}
    inputs = {k: v for k, v in prompt[key["SamplerCustomAdvanced"]]["inputs"].items() if k != "noise"}
    decoding = {k: prompt[key["NavaDecode"]]["inputs"][k] for k in ("video_vae", "audio_vae")}
    prompt["best"] = {"class_type": "NavaBestOf", "inputs": inputs | decoding | PLAIN | WEIGHTS | {"keep": 2}}
    nodes_of(prompt, "NavaEmptyLatent")[0].update(seconds=0.5, width=64, height=64)
    nodes_of(prompt, "NavaScheduler")[0]["steps"] = 1
    for kind in ("RandomNoise", "SamplerCustomAdvanced", "NavaDecode"):
        for node in prompt.values():
            for name, value in node["inputs"].items():
                if kind == "NavaDecode" and isinstance(value, list) and value[0] == key[kind]:
                    node["inputs"][name] = ["best", value[1] + 1]
        del prompt[key[kind]]
    history = server.queue(prompt)
    saved = server.outputs(history, ".mp4")
    assert len(saved) == 2
    clips = [opened(f) for f in saved]
    assert all(frames.shape == (13, 64, 64, 3) and sound is not None for frames, sound, _ in clips)
    assert (clips[0][0] != clips[1][0]).any()
    assert list(scores(history["outputs"]["best"]["report"][0])) != []
