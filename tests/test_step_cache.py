"""NavaStepCache skips steps only where picture and sound both allow it."""

import pytest
import torch
from support import DATA

FAR = 3.0


@pytest.fixture(scope="module")
def model(nava):
    return nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")


@pytest.fixture
def clip(nava, golden):
    """clip(model, steps) -> (both streams of a guided run, how often the network ran)."""
    import comfy.sample
    from comfy.nested_tensor import NestedTensor

    text = [[golden("sampling")["positive_context"][None], {}]]

    def run(model, steps=8):
        latent = NestedTensor([torch.zeros(1, 6, 2, 4, 4), torch.zeros(1, 8, 6, 1)])
        guider = nava("guide").NavaGuider.execute(model, text, text, 3.0, 3.0, 2.0, 2.0, 3.0)[0]
        sigmas = nava("sample").NavaScheduler.execute(model, steps, 5.0, 1.0)[0]
        calls = []
        hook = model.model.diffusion_model.head.register_forward_hook(lambda *_: calls.append(1))
        noise = comfy.sample.prepare_noise(latent, 5)
        out = guider.sample(
            noise, latent, nava("sample").NavaSamplerSelect.execute("unipc")[0], sigmas, disable_pbar=True
        )
        hook.remove()
        return torch.cat([t.flatten() for t in out.unbind()]), len(calls)

    return run


def cached(nava, model, *settings):
    return nava("step_cache").NavaStepCache.execute(model, *settings)[0]


def test_a_threshold_of_nothing_changes_nothing(nava, model, clip):
    plain, calls = clip(model)
    found, again = clip(cached(nava, model, 0.0, 0.0, 0.0, 1.0))
    assert torch.equal(found, plain) and again == calls


def test_both_streams_must_agree(nava, model, clip, caplog):
    plain, calls = clip(model)
    with caplog.at_level("INFO"):
        found, skipping = clip(cached(nava, model, FAR, FAR, 0.1, 0.95))
        assert skipping < calls and torch.isfinite(found).all() and not torch.equal(found, plain)
        assert "skipped" in caplog.text
        for picture, sound, held_by in ((FAR, 0.0, "sound"), (0.0, FAR, "picture")):
            caplog.clear()
            found, vetoed = clip(cached(nava, model, picture, sound, 0.1, 0.95))
            assert vetoed == calls and torch.equal(found, plain)
            assert f"but not for the {held_by}" in caplog.text


def test_only_within_its_part_of_sampling(nava, model, clip):
    _, calls = clip(model)
    assert clip(cached(nava, model, FAR, FAR, 0.98, 1.0))[1] == calls
    with pytest.raises(ValueError, match=r"NavaStepCache, start: 0\.9 is not before end"):
        cached(nava, model, FAR, FAR, 0.9, 0.3)


def test_nothing_is_kept_after_a_run(nava, model, clip):
    chosen = cached(nava, cached(nava, model, 0.0, 0.0, 0.0, 1.0), FAR, FAR, 0.1, 0.95)  # the last one counts
    first, second = clip(chosen), clip(chosen)
    assert torch.equal(first[0], second[0]) and first[1] == second[1] < clip(model)[1]
    assert "nava_step_cache_run" not in chosen.model_options["transformer_options"]


def test_a_lone_stream_goes_by_its_own_threshold(nava, model):
    import comfy.sample

    text = [[torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(3)), {}]]
    latent = torch.zeros(1, 8, 6, 1)
    calls = []
    hook = model.model.diffusion_model.head_audio.register_forward_hook(lambda *_: calls.append(1))
    counts = []
    for picture, sound in ((0.0, FAR), (FAR, 0.0)):
        calls.clear()
        chosen = cached(nava, model, picture, sound, 0.0, 1.0)
        noise = comfy.sample.prepare_noise(latent, 5)
        comfy.sample.sample(chosen, noise, 8, 2.0, "euler", "simple", text, text, latent, disable_pbar=True, seed=5)
        counts.append(len(calls))
    hook.remove()
    assert counts[0] < counts[1]
