"""What a pass of the released model costs a graphics card, counted at 1280x704 inside ComfyUI without one."""

import math

import pytest
from counted import ONE_OF_EACH, SIX_SECONDS, TEN_SECONDS, network, no_numbers, offloaded, one_pass, whole
from trace_memory import PeakMemory
from trace_traffic import Traffic

from nava_core.sizes import ClipLength

# (weights, passes batched, ComfyUI's fused kernels there) -> GB moved by everything but products and attention. Before
# streams stayed apart and blocks wrote over what they no longer need: 490, 671 and 1733 without the kernels.
MOST_MOVED = {
    ("bf16", 1, False): 400,
    ("fp8", 1, False): 435,
    ("bf16", 3, False): 1200,
    ("bf16", 1, True): 230,
    ("fp8", 1, True): 265,
}


@pytest.fixture
def kernels(nava, monkeypatch):
    def use(there: bool):
        for name in ("ROTATES", "NORMALISES"):
            monkeypatch.setattr(nava("kernels"), name, there)

    return use


@pytest.mark.parametrize("case", MOST_MOVED, ids=str)
def test_bytes_moved(nava, kernels, case):
    kind, batch, fused = case
    kernels(fused)
    with no_numbers():
        model = network(nava, kind)
        traffic = Traffic()
        moved = whole(model, one_pass(model, SIX_SECONDS, batch), traffic, lambda t: t.moved) / 1e9
    print(f"{kind}, {batch} at once, kernels {fused}: {moved:.0f} GB moved")
    assert moved <= MOST_MOVED[case]
    assert not traffic.waits and not traffic.sent


@pytest.mark.parametrize(
    ("batch", "joint", "most"), [(1, True, 1.1), (1, False, 1.1), (3, True, 3.2)], ids=["joint", "masked", "three"]
)
def test_peak_of_a_pass(nava, kernels, batch, joint, most):
    kernels(False)
    with no_numbers():
        model = network(nava, "bf16")
        run = one_pass(model, SIX_SECONDS, batch, joint)
        with PeakMemory() as memory:
            run()
    tokens = math.prod(SIX_SECONDS) / 4 + ClipLength(SIX_SECONDS[0]).audio_steps
    estimate = ONE_OF_EACH.activation_values(tokens, batch) * 2
    print(f"peak {memory.peak / 1e9:.2f} GB, estimate {estimate / memory.peak:.2f} of it")
    assert memory.peak / 1e9 <= most
    assert 0.9 < estimate / memory.peak < 1.1


@pytest.mark.parametrize("kind", ["bf16", "fp8"])
def test_an_offloaded_pass_sends_each_weight_once(nava, kind):
    with no_numbers():
        model = offloaded(network(nava, kind, device="cpu"))
        for size in (SIX_SECONDS, TEN_SECONDS):
            traffic = Traffic()
            sent = whole(model, one_pass(model, size), traffic, lambda t: t.sent) / 1e9
            print(f"{kind}, {size}: {sent:.2f} GB sent in a pass")
            assert sent <= {"bf16": 12.6, "fp8": 6.9}[kind] * 1.02
            assert kind == "fp8" or not traffic.waits
        assert not traffic.waits  # the scales of fp8 rows stay after the first pass


def test_clean_frames_do_not_make_the_host_wait(nava):
    with no_numbers():
        model = network(nava, "bf16")
        levels = {"video_levels": [0.0] + [1.0] * 36, "audio_levels": [1.0] * ClipLength(37).audio_steps}
        with Traffic() as traffic:
            one_pass(model, SIX_SECONDS, levels=levels)()
    assert not traffic.waits and not traffic.sent


def test_blocks_are_sent_through_the_hosts_queue(nava, golden, monkeypatch):
    """Each block is asked for right before it runs, then the queue is closed; the host decides whether there is one."""
    import torch
    from comfy import model_prefetch
    from support import DATA

    patcher = nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")
    network = patcher.model.diffusion_model
    order, asked = [], []
    made, popped = model_prefetch.make_prefetch_queue, model_prefetch.prefetch_queue_pop
    monkeypatch.setattr(
        model_prefetch,
        "make_prefetch_queue",
        lambda blocks, device, options: asked.append((blocks, options)) or made(blocks, device, options),
    )
    monkeypatch.setattr(
        model_prefetch,
        "prefetch_queue_pop",
        lambda queue, device, block: order.append(block) or popped(queue, device, block),
    )
    blocks = [*network.double_blocks, *network.single_blocks]
    for block in blocks:
        block.register_forward_pre_hook(lambda block, _: order.append(block))
    g = golden("transformer")
    context = network.embed_context(g["context"][None])
    options = {"prefetch_dynamic_vbars": True}
    audio = torch.zeros(1, 8, 7, 1)
    network([g["video"][None], audio], g["timestep"], context, options)
    assert order == [block for block in blocks for _ in range(2)] + [None]
    assert asked[0][0] == blocks and asked[0][1] is options
