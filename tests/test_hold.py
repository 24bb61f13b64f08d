"""Holding: what is given comes back bit for bit, through every way to sample; and spans, as people write them."""

import pytest
import torch
from support import DATA
from test_host_parity import nested
from test_host_stages import close, empty, ksampler, text

from nava_core import spans

FRAMES, STEPS = 5, 18  # 17 frames, 0.71 s


@pytest.fixture(scope="module")
def model(nava):
    return nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")


def filled(batch=1, frames=FRAMES, steps=STEPS, seed=1):
    g = torch.Generator().manual_seed(seed)
    parts = [torch.randn(batch, 6, frames, 4, 6, generator=g), torch.randn(batch, 8, steps, 1, generator=g)]
    return {"samples": nested(parts)}


def held(nava, latent, keep="sound", spans="", way="soft", strength=1.0):
    return nava("hold").NavaHold.execute(latent, keep, spans, way, strength)[0]


def guided(nava, model, latent, solver="unipc", steps=3, sigmas=None):
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    guider = nava("guide").NavaGuider.execute(model, text(model), text(model, 4), 3.0, 3.0, 2.0, 2.0, 3.0)[0]
    sigmas = nava("sample").NavaScheduler.execute(model, steps, 5.0, 1.0)[0] if sigmas is None else sigmas
    if solver == "unipc":
        solver = nava("sample").NavaSamplerSelect.execute("unipc")[0]
    else:
        solver = comfy.samplers.sampler_object(solver)
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(5), guider, solver, sigmas, latent)[0]["samples"]


def inputs_seen(model, run):
    """What the network is given at each pass: (picture, sound tokens, timestep, levels)."""
    network, seen = model.model.diffusion_model, []
    original = network.velocity

    def watch(video, audio, t, *rest, **kwargs):
        seen.append((video, audio, float(t.max()), kwargs.get("video_levels"), kwargs.get("audio_levels")))
        return original(video, audio, t, *rest, **kwargs)

    network.velocity = watch
    try:
        return run(), seen
    finally:
        del network.velocity


@pytest.mark.parametrize("way", ["soft", "hard"])
@pytest.mark.parametrize("keep", ["sound", "picture", "both"])
@pytest.mark.parametrize("solver", ["unipc", "euler", "dpmpp_2m", "euler_ancestral", "dpmpp_sde", "uni_pc_bh2", "lcm"])
def test_held_parts_come_back_exactly(nava, model, solver, keep, way):
    if solver in ("dpmpp_sde", "lcm", "uni_pc_bh2") and keep != "both":
        return
    latent = filled()
    given = [t.clone() for t in latent["samples"].unbind()]
    kept = held(nava, latent, keep, way=way)
    for out in (
        guided(nava, model, kept, solver),
        ksampler(model, kept, steps=3, sampler_name=solver) if solver != "unipc" else None,
    ):
        if out is None:
            continue
        for name, a, b in zip(("picture", "sound"), given, out.unbind(), strict=True):
            assert torch.equal(a, b) == (keep in (name, "both"))
            assert torch.isfinite(b).all()
    assert "noise_mask" not in latent, "the input stays as it was"


def test_wan_statistics_and_lone_streams(nava, base):
    """Normalising on the way in and out does not touch what is held; a lone picture and a lone sound can be held."""
    from comfy_extras.nodes_easycache import EasyCacheNode

    wide = nava("load").load_model(str(base / "models/diffusion_models/nava_tiny.safetensors"), "fp32")
    video, audio = torch.randn(1, 48, 5, 4, 4), torch.randn(1, 8, 18, 16)
    for latent, keep in (
        ({"samples": nested([video, audio])}, "both"),
        ({"samples": video}, "picture"),
        ({"samples": nested([audio])}, "sound"),
    ):
        kept = held(nava, latent, keep, "0-0.25" if keep != "both" else "")
        cached = EasyCacheNode.execute(wide, 0.2, 0.15, 0.95, False)[0]
        for out in (guided(nava, cached, kept, steps=6), ksampler(wide, kept, steps=2)):
            parts = out.unbind() if out.is_nested else [out]
            given = latent["samples"].unbind() if latent["samples"].is_nested else [latent["samples"]]
            for a, b in zip(given, parts, strict=True):
                b = b.reshape(a.shape)
                end = a.shape[2] if keep == "both" else 2 if a.ndim == 5 else 6
                assert torch.equal(a[:, :, :end], b[:, :, :end])
                assert keep == "both" or not (a[:, :, end:] == b[:, :, end:]).any()


def test_an_empty_hold_is_no_hold(nava, model):
    latent = filled()
    kept = held(nava, latent, "both", strength=0.0)
    for run in (lambda x: guided(nava, model, x), lambda x: ksampler(model, x, steps=2)):
        a, b = run(latent).unbind(), run(kept).unbind()
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_soft_is_noised_with_the_same_noise_at_every_step(nava, model):
    """The network sees (1 - sigma) x0 + sigma eps, with one eps for all steps, and is told the step's own timestep."""
    latent = held(nava, filled())
    x0 = latent["samples"].unbind()[1].transpose(1, 2).flatten(2)
    _, seen = inputs_seen(model, lambda: ksampler(model, latent, steps=4, cfg=1.0, sampler_name="euler_ancestral"))
    model_sigmas = [min(t + 0.5, 1000) / 1000 for _, _, t, _, _ in seen]
    noises = [(audio - (1 - s) * x0) / s for (_, audio, *_), s in zip(seen, model_sigmas, strict=True)]
    assert len(noises) == 4
    for noise in noises[1:]:
        torch.testing.assert_close(noise, noises[0], atol=0.02, rtol=0)  # a timestep is floored
    assert all(levels is None for *_, levels in seen)


def test_hard_is_clean_until_it_is_released(nava, model):
    latent = held(nava, filled(), way="hard", strength=0.5)
    x0 = latent["samples"].unbind()[1].transpose(1, 2).flatten(2)
    out, seen = inputs_seen(model, lambda: ksampler(model, latent, steps=6, cfg=1.0))
    release = 1000 * float(model.model.model_sampling.percent_to_sigma(0.5))
    before = [s for s in seen if s[2] >= int(release)]
    after = [s for s in seen if s[2] < int(release)]
    assert before and after
    assert all(torch.equal(audio, x0) and set(levels) == {0.0} for _, audio, _, _, levels in before)
    assert all(not (audio == x0).any() and set(levels) == {1.0} for _, audio, _, _, levels in after)
    assert not torch.equal(out.unbind()[1], latent["samples"].unbind()[1])


def test_a_released_hold_stays_nearer(nava, model):
    """Soft, released half-way: not exact, but nearer to what was held than without; later release, nearer."""
    latent = filled()
    distances = []
    for strength in (0.0, 0.1, 0.4, 1.0):
        out = guided(nava, model, held(nava, latent, "both", strength=strength), steps=8).unbind()
        distances.append(sum(float((a - b).abs().mean()) for a, b in zip(out, latent["samples"].unbind(), strict=True)))
    assert distances[0] > distances[1] > distances[2] > distances[3] == 0


@pytest.mark.parametrize("way", ["soft", "hard"])
def test_rows_with_different_holds(nava, model, way):
    """Each clip of a batch keeps its own, and gets what it would get alone."""
    latent = filled(2)
    one = [{"samples": nested([t[i : i + 1] for t in latent["samples"].unbind()])} for i in (0, 1)]
    kept = [held(nava, one[0], "sound", "0-0.4", way), held(nava, one[1], "picture", way=way)]
    masks = [torch.cat(m) for m in zip(*(k["noise_mask"].unbind() for k in kept), strict=True)]
    latent["noise_mask"] = nested(masks)
    video, audio = ksampler(model, latent, steps=2).unbind()
    given = latent["samples"].unbind()
    assert torch.equal(audio[0, :, :10], given[1][0, :, :10]) and torch.equal(video[1], given[0][1])
    assert not (audio[0, :, 10:] == given[1][0, :, 10:]).any() and not (video[0] == given[0][0]).any()
    # the first row draws the same noise alone
    import comfy.sample

    whole = comfy.sample.prepare_noise(latent["samples"], 5)
    alone = comfy.sample.sample(
        model, nested([t[:1] for t in whole.unbind()]), 2, 2.0, "euler", "simple", text(model), text(model, 4),
        kept[0]["samples"], noise_mask=kept[0]["noise_mask"], disable_pbar=True, seed=5,
    )  # fmt: skip
    close(nested([video[:1], audio[:1]]), alone)


@pytest.mark.parametrize("way", ["soft", "hard"])
def test_with_a_first_frame_and_windows_and_stages(nava, model, way):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    latent = filled(frames=9, steps=35)
    mask = torch.ones(1, 1, 9, 4, 6)
    mask[:, :, :1] = 0
    latent["noise_mask"] = nested([mask, torch.ones(1, 1, 35, 1)])
    kept = held(nava, held(nava, latent, "sound", "0.2-0.6", way), "picture", "0-0.4", way)
    given = [t.clone() for t in latent["samples"].unbind()]
    windowed = ContextWindowsManualNode.execute(model, 5, 2, "standard_static", 1, False, "pyramid", 2, False)[0]
    first = ksampler(model, kept, steps=4, last_step=2)
    second = ksampler(model, {**kept, "samples": first}, steps=4, start_step=2, disable_noise=True)
    for out in (
        guided(nava, windowed, kept),
        guided(nava, model, kept),
        first,
        second,
    ):
        video, audio = out.unbind()
        assert torch.equal(video[:, :, :3], given[0][:, :, :3]) and not (video[:, :, 3:] == given[0][:, :, 3:]).any()
        assert (
            torch.equal(audio[:, :, 5:15], given[1][:, :, 5:15]) and not (audio[:, :, 15:] == given[1][:, :, 15:]).any()
        )
    # two stages with one seed draw the same noise: they are one run
    close(second, ksampler(model, kept, steps=4))


def test_what_cannot_be_held_is_named(nava):
    latent = filled()
    with pytest.raises(ValueError, match=r"NavaHold, latent: the sound .* empty.*NAVA Sound to Latent"):
        held(nava, {"samples": empty()})
    with pytest.raises(ValueError, match=r"NavaHold, spans: 2-3 lies beyond the clip's end at 0.71 s"):
        held(nava, latent, spans="2-3")
    with pytest.raises(ValueError, match="shorter than a group of four frames"):
        held(nava, latent, "picture", spans="0.3-0.35")
    with pytest.raises(
        ValueError, match=r"NavaHold, spans: .*held or masked already, in another way.*must not overlap"
    ):
        held(nava, held(nava, latent, spans="0-0.4"), spans="0.2-0.6", way="hard")
    with pytest.raises(ValueError, match="the latent has no picture"):
        held(nava, {"samples": nested([torch.randn(1, 8, 18, 16)])}, "both")
    same = held(nava, held(nava, latent, spans="0-0.4"), spans="0.2-0.6")
    assert (same["noise_mask"].unbind()[1][0, 0, :, 0] == -1).sum() == 15


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("", [(0, 6)]),
        ("0-2", [(0, 2)]),
        ("4-, -1.5", [(0, 1.5), (4, 6)]),
        ("0.5 – 1；2~3", [(0.5, 1), (2, 3)]),
        ("2-3\n0-2", [(0, 2), (2, 3)]),
    ],
)
def test_spans(written, found):
    assert spans.parse_spans(written, 6.0) == found


@pytest.mark.parametrize(
    ("written", "words"),
    [("x", "no span"), ("-", "no span"), ("3-2", "ends before"), ("7-8", "beyond"), ("5-7", "beyond"), ("0-2,1-3", "overlap"), (".-.", "no span"), ("-3-4", "no span")],
)  # fmt: skip
def test_spans_that_are_none(written, words):
    with pytest.raises(ValueError, match=words):
        spans.parse_spans(written, 6.0)


def test_spans_in_frames_and_steps():
    """Frame 0 is alone, the others come in fours: 0-1 s holds frames 0 to 23, of which 0 to 20 are whole groups."""
    assert spans.frames_within([(0.0, 1.0)], 37) == [0, 1, 2, 3, 4, 5]
    assert spans.frames_within([(1.0, 2.0)], 37) == [7, 8, 9, 10, 11]
    assert spans.frames_within([(0.0, 145 / 24)], 37) == list(range(37))
    assert spans.steps_within([(0.0, 145 / 24)], 152, 145 / 24) == list(range(152))
    assert spans.steps_within([(1.0, 2.0)], 152, 145 / 24) == list(range(25, 50))
    assert [spans.latent_frame_at(f / 24) for f in (0, 1, 4, 5, 8, 144)] == [0, 1, 1, 2, 2, 36]
    assert spans.frame_span(0) == (0, 1 / 24) and spans.frame_span(1) == (1 / 24, 5 / 24)
