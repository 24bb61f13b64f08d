"""Stock and popular nodes on NAVA: every row of docs/compatibility.md is run here."""

import pytest
import torch
from support import DATA, ROOT
from test_host_parity import nested
from test_host_stages import empty, ksampler, text

TABLE = ROOT / "docs" / "compatibility.md"
WORKS, SAYS = "works", "says why not"


@pytest.fixture(scope="module")
def model(nava):
    return nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")


class Bench:
    """What a case works with: the tiny model, and two ways to sample."""

    def __init__(self, nava, model):
        self.nava, self.model = nava, model

    def stock(self, model=None, latent=None, **options):
        return ksampler(model or self.model, latent or {"samples": empty()}, steps=2, **options)

    def guided(self, model=None, latent=None, positive=None, negative=None, sigmas=None, sampler=None):
        """Through NavaGuider, with all contrasts."""
        from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

        model = model or self.model
        guider = self.nava("guide").NavaGuider.execute(
            model, positive or text(model), negative or text(model, 4), 3.0, 3.0, 2.0, 2.0, 3.0
        )[0]
        sigmas = self.nava("sample").NavaScheduler.execute(model, 2, 5.0, 1.0)[0] if sigmas is None else sigmas
        sampler = sampler or self.nava("sample").NavaSamplerSelect.execute("unipc")[0]
        latent = latent or {"samples": empty()}
        return SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, sampler, sigmas, latent)[0]["samples"]

    def through(self, guider, sigmas=None):
        from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

        sigmas = self.nava("sample").NavaScheduler.execute(self.model, 2, 5.0, 1.0)[0] if sigmas is None else sigmas
        sampler = self.nava("sample").NavaSamplerSelect.execute("unipc")[0]
        return SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, sampler, sigmas, {"samples": empty()})[0][
            "samples"
        ]


def finite(*latents):
    for latent in latents:
        for part in latent.unbind() if latent.is_nested else [latent]:
            assert torch.isfinite(part).all()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.unbind(), b.unbind(), strict=True))


def changes(bench, patched):
    """A patched MODEL samples to something finite and different under NavaGuider."""
    out = bench.guided(patched)
    finite(out)
    assert not same(out, bench.guided())


CASES = {}


def case(nodes, outcome, note, *says):
    """A row of the table, and the function that runs it; says: words of the message, where it says why not."""

    def keep(function):
        CASES[nodes] = (outcome, note, says, function)
        return function

    return keep


@case("KSampler", WORKS, "Plain classifier-free guidance: no alignment and timbre contrast.")
def _(b):
    finite(b.stock())


@case("KSamplerAdvanced", WORKS, "In stages too, with leftover noise.")
def _(b):
    first = b.stock(start_step=0, last_step=1)
    whole = b.stock()
    second = b.stock(latent={"samples": first}, disable_noise=True, start_step=1)
    for x, y in zip(second.unbind(), whole.unbind(), strict=True):
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


@case("CFGGuider, BasicGuider", WORKS, "As KSampler.")
def _(b):
    from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider

    finite(b.through(CFGGuider.execute(b.model, text(b.model), text(b.model, 4), 3.0)[0]))
    finite(b.through(BasicGuider.execute(b.model, text(b.model))[0]))


@case("DualModelGuider", WORKS, "With and without a negative.")
def _(b):
    from comfy_extras.nodes_custom_sampler import DualModelGuider

    for negative in (None, text(b.model, 4)):
        finite(b.through(DualModelGuider.execute(b.model, text(b.model), 3.0, b.model, negative)[0]))


@case("PerpNegGuider", WORKS, "In the place of NavaGuider.")
def _(b):
    from comfy_extras.nodes_perpneg import PerpNegGuider

    finite(b.through(PerpNegGuider.execute(b.model, text(b.model), text(b.model, 4), text(b.model, 5), 3.0, 1.0)[0]))


@case(
    "KSamplerSelect, BasicScheduler",
    WORKS,
    "Run: dpmpp_2m with simple, normal and beta, under NavaGuider.",
)
def _(b):
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    for name in ("simple", "normal", "beta"):
        sigmas = BasicScheduler.execute(b.model, name, 2, 1.0)[0]
        finite(b.guided(sigmas=sigmas, sampler=comfy.samplers.sampler_object("dpmpp_2m")))


@case("euler_cfg_pp and the other cfg_pp samplers", WORKS, "With NavaGuider as with CFGGuider.")
def _(b):
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced

    sigmas = b.nava("sample").NavaScheduler.execute(b.model, 3, 5.0, 1.0)[0]
    for name in [n for n in comfy.samplers.SAMPLER_NAMES if "cfg_pp" in n]:
        made = []
        for ours in (True, False):
            conds = text(b.model), text(b.model, 4)
            nava = b.nava("guide").NavaGuider
            guider = (
                nava.execute(b.model, *conds, 2.0, 0.0, 2.0, 0.0, 0.0)
                if ours
                else CFGGuider.execute(b.model, *conds, 3.0)
            )
            sampler = comfy.samplers.sampler_object(name)
            noise, latent = Noise_RandomNoise(1), {"samples": empty()}
            made.append(SamplerCustomAdvanced.execute(noise, guider[0], sampler, sigmas, latent)[0]["samples"])
        for ours, stock in zip(*(m.unbind() for m in made), strict=True):
            torch.testing.assert_close(ours, stock, rtol=1e-3, atol=1e-3, msg=name)
    finite(b.guided(sampler=comfy.samplers.sampler_object("euler_cfg_pp")))


@case(
    "KarrasScheduler",
    SAYS,
    "Its noise levels are those of SD models.",
    "schedule begins at 14.6",
    "NAVA Scheduler",
)
def _(b):
    from comfy_extras.nodes_custom_sampler import KarrasScheduler

    b.guided(sigmas=KarrasScheduler.execute(4, 14.6, 0.03, 7.0)[0])


@case(
    "BasicScheduler kl_optimal, 1 step",
    SAYS,
    "It divides by the number of steps less one; 2 steps and more work.",
    "not numbers",
    "kl_optimal",
)
def _(b):
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    b.guided(sigmas=BasicScheduler.execute(b.model, "kl_optimal", 1, 1.0)[0])


@case("ModelSamplingSD3", WORKS, "Shift; NavaScheduler has its own, use it with stock schedulers.")
def _(b):
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    shifted = ModelSamplingSD3().patch(b.model, 2.0)[0]
    assert not same(b.stock(shifted), b.stock())


@case("TorchCompileModel", WORKS, "Several sizes in one session.")
def _(b):
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    for compiled, plain in zip(
        b.stock(TorchCompileModel.execute(b.model, "eager")[0]).unbind(), b.stock().unbind(), strict=True
    ):
        torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-5)


@case("EasyCache, LazyCache", WORKS, "Skips steps that change little.")
def _(b):
    from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

    finite(b.guided(EasyCacheNode.execute(b.model, 0.2, 0.15, 0.95, False)[0]))
    finite(b.guided(LazyCacheNode.execute(b.model, 0.2, 0.15, 0.95, False)[0]))


@case("ContextWindowsManual, dim 2", WORKS, "Picture, sound and masks are windowed together.")
def _(b):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    windowed = ContextWindowsManualNode.execute(b.model, 5, 2, "standard_static", 1, False, "pyramid", 2, False)[0]
    latent = {"samples": nested([torch.zeros(1, 6, 9, 4, 6), torch.zeros(1, 8, 35, 1)])}
    finite(b.stock(windowed, latent))


@case("ContextWindowsManual, dim 0", SAYS, "Its default; time is dim 2.", "dim is 0", "Set it to 2")
def _(b):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    b.guided(ContextWindowsManualNode.execute(b.model, 5, 2, "standard_static", 1, False, "pyramid", 0, False)[0])


@case("RescaleCFG", WORKS, "On the text contrast of each stream.")
def _(b):
    from comfy_extras.nodes_model_advanced import RescaleCFG

    changes(b, RescaleCFG().patch(b.model, 0.7)[0])


@case("RenormCFG", WORKS, "On the text contrast of each stream.")
def _(b):
    from comfy_extras.nodes_lumina2 import RenormCFG

    changes(b, RenormCFG.execute(b.model, 100.0, 0.5)[0])


@case("CFGZeroStar, CFGNorm", WORKS, "Each stream with its own scale.")
def _(b):
    from comfy_extras.nodes_cfg import CFGNorm, CFGZeroStar

    changes(b, CFGZeroStar.execute(b.model)[0])
    changes(b, CFGNorm.execute(b.model, 0.9)[0])


@case("APG, TCFG, Mahiro", WORKS, "Each stream apart, APG's momentum too.")
def _(b):
    from comfy_extras.nodes_apg import APG
    from comfy_extras.nodes_mahiro import Mahiro
    from comfy_extras.nodes_tcfg import TCFG

    changes(b, APG.execute(b.model, 0.5, 2.0, 0.0)[0])
    sigmas = b.nava("sample").NavaScheduler.execute(b.model, 3, 5.0, 1.0)[0]
    with_momentum = APG.execute(b.model, 0.5, 2.0, -0.5)[0]
    first, again = (b.guided(with_momentum, sigmas=sigmas) for _ in range(2))
    finite(first)
    assert same(first, again), "what is remembered is of one run"
    assert not same(first, b.guided(APG.execute(b.model, 0.5, 2.0, 0.0)[0], sigmas=sigmas))
    changes(b, TCFG.execute(b.model)[0])
    changes(b, Mahiro.execute(b.model)[0])


@case("FreeU_V2, NAG", SAYS, "They patch places that NAVA's network does not have.", "not a UNet", "FreeU")
def _(b):
    from comfy_extras.nodes_freelunch import FreeU_V2
    from comfy_extras.nodes_nag import NAGuidance

    with pytest.raises(ValueError, match="NAG"):
        b.guided(NAGuidance.execute(b.model, 5.0, 0.5, 1.5)[0])
    b.guided(FreeU_V2.execute(b.model, 1.3, 1.4, 0.9, 0.2)[0])


@case(
    "PerturbedAttentionGuidance",
    SAYS,
    "With NavaGuider and with stock guiders.",
    "PerturbedAttentionGuidance",
    "Take that node off",
)
def _(b):
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    patched = PerturbedAttentionGuidance.execute(b.model, 3.0)[0]
    with pytest.raises(ValueError, match="does not have"):
        b.stock(patched)
    b.guided(patched)


@case(
    "ConditioningSetArea, ConditioningSetMask",
    SAYS,
    "Regions work for the picture alone (mode video).",
    "an area",
    "mode video",
)
def _(b):
    import nodes

    masked = nodes.ConditioningSetMask().append(text(b.model), torch.ones(1, 8, 8), "default", 1.0)[0]
    with pytest.raises(ValueError, match="a mask"):
        b.stock(positive=masked)
    alone = {"samples": torch.zeros(1, 6, 3, 4, 6)}
    area = nodes.ConditioningSetArea().append(text(b.model), 32, 32, 0, 0, 1.0)[0]
    for regional in (masked, area):
        finite(b.stock(latent=alone, positive=nodes.ConditioningCombine().combine(text(b.model), regional)[0]))
    b.guided(positive=area)


@case("ConditioningCombine, ConditioningSetTimestepRange", WORKS, "Prompts by part of sampling, and several at once.")
def _(b):
    import nodes

    early = nodes.ConditioningSetTimestepRange().set_range(text(b.model), 0.0, 0.5)[0]
    late = nodes.ConditioningSetTimestepRange().set_range(text(b.model, 6), 0.5, 1.0)[0]
    finite(b.guided(positive=nodes.ConditioningCombine().combine(early, late)[0]))


@case("ConditioningZeroOut", WORKS, "As the negative; voices in it are left out.")
def _(b):
    import nodes

    host = b.nava("host")
    voiced = [[text(b.model)[0][0], {host.VOICES: torch.randn(1, 192), host.VOICE_POSITIONS: [2]}]]
    zero = nodes.ConditioningZeroOut().zero_out(voiced)[0]
    plain = [[zero[0][0], {}]]
    assert same(b.guided(positive=voiced, negative=zero), b.guided(positive=voiced, negative=plain))
    assert same(b.stock(positive=voiced), b.stock(positive=voiced))


@case("LoraLoaderModelOnly", WORKS, "Keys as trainers write them: plain, PEFT, diffusers, LyCORIS, kohya.")
def _(b):
    import comfy.sd

    up, down = torch.randn(64, 2), torch.randn(2, 64)
    names = ("diffusion_model.single_blocks.0.self_attn.q", "base_model.model.backbone.single_blocks.0.self_attn.q",
             "single_blocks.0.self_attn.q", "transformer.single_blocks.0.self_attn.q")  # fmt: skip
    outs = []
    for name in names:
        lora = {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down}
        outs.append(b.stock(comfy.sd.load_lora_for_models(b.model, None, lora, 1.0, 0)[0]))
    assert not same(outs[0], b.stock()) and all(same(outs[0], out) for out in outs[1:])


@case("CreateHookLora", WORKS, "Text layers included; on fp8 files in tests/test_formats.py.")
def _(b):
    import comfy.hooks

    lora = {"diffusion_model.text_embedding.0.lora_B.weight": torch.randn(64, 2),
            "diffusion_model.text_embedding.0.lora_A.weight": torch.randn(2, 24)}  # fmt: skip
    hooked = comfy.hooks.set_hooks_for_conditioning(text(b.model), comfy.hooks.create_hook_lora(lora, 1.0, 0.0))
    plain = b.guided()
    assert not same(b.guided(positive=hooked), plain) and same(b.guided(), plain)


@case("TrainLoraNode", WORKS, "With NavaTrainingClip before it (tests/test_stock_training.py trains).")
def _(b):
    latent, positive = (
        b.nava("training")
        .NavaTrainingClip.execute(
            b.model, {"samples": nested([torch.randn(1, 6, 3, 4, 6), torch.randn(1, 8, 7, 1)])}, text(b.model)
        )
        .args
    )
    assert latent["samples"].ndim == 3 and len(positive[0][1][b.nava("host").LATENT_SHAPES]) == 2


@case("LTXVSeparateAVLatent, LTXVConcatAVLatent", WORKS, "On NAVA's LATENT.")
def _(b):
    from comfy_extras.nodes_lt import LTXVConcatAVLatent, LTXVSeparateAVLatent

    video, audio = LTXVSeparateAVLatent.execute({"samples": empty()}).args
    assert same(b.guided(latent=LTXVConcatAVLatent.execute(video, audio)[0]), b.guided())


@case(
    "SetLatentNoiseMask",
    WORKS,
    "A mask a pixel frame, or one for all. After NavaFirstFrame the first frame stays (NavaGuider).",
)
def _(b):
    import nodes

    video, audio = torch.randn(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)
    mask = torch.ones(9, 64, 96)
    mask[0] = 0  # the first pixel frame only
    latent = nodes.SetLatentNoiseMask().set_mask({"samples": nested([video, audio])}, mask)[0]
    kept = b.guided(latent=latent).tensors[0]
    torch.testing.assert_close(kept[:, :, 0], video[:, :, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(kept[:, :, 1], video[:, :, 1], atol=1e-2)

    held = nested([video, audio])
    setattr(held, b.nava("masks").KEEPS_FIRST_FRAME, True)
    latent = nodes.SetLatentNoiseMask().set_mask({"samples": held}, torch.ones(1, 64, 96))[0]
    kept = b.guided(latent=latent).tensors[0]
    torch.testing.assert_close(kept[:, :, 0], video[:, :, 0], atol=1e-5, rtol=1e-5)


@case(
    "EmptyLatentImage and other latents of fewer channels, filled",
    SAYS,
    "NAVA's picture has 48 channels of 16 pixels.",
    "shape [1, 4, 3, 8, 8]",
    "NAVA Size and Length",
)
def _(b):
    b.guided(latent={"samples": torch.randn(1, 4, 3, 8, 8)})


@case("ControlNetApply", SAYS, "NAVA has no ControlNet.", "ControlNet", "Remove that node")
def _(b):
    import comfy.controlnet

    control = comfy.controlnet.ControlBase()
    control.get_models = list
    b.guided(positive=[[text(b.model)[0][0], {"control": control}]])


def row(nodes):
    outcome, note, *_ = CASES[nodes]
    return f"| {nodes} | {outcome} | {note} |"


@pytest.mark.parametrize("nodes", CASES)
def test_row(nava, model, nodes):
    outcome, _, says, action = CASES[nodes]
    bench = Bench(nava, model)
    if outcome == WORKS:
        action(bench)
        return
    with pytest.raises(ValueError) as error:
        action(bench)
    print(error.value)
    assert all(word in str(error.value) for word in says)


def test_table_is_what_was_run():
    table = TABLE.read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert rows == [row(nodes) for nodes in CASES]


def test_the_stock_latent_nodes_that_fail_still_do():
    """Else the page should say so no longer."""
    import nodes

    calls = {
        "Save Latent": lambda x: nodes.SaveLatent().save(x),
        "Repeat Latent Batch": lambda x: nodes.RepeatLatentBatch().repeat(x, 2),
        "Latent From Batch": lambda x: nodes.LatentFromBatch().frombatch(x, 0, 1),
        "Flip Latent": lambda x: nodes.LatentFlip().flip(x, "x-axis: vertically"),
        "Rotate Latent": lambda x: nodes.LatentRotate().rotate(x, "90 degrees"),
    }
    page = TABLE.read_text(encoding="utf-8")
    for name, call in calls.items():
        assert name in page
        with pytest.raises((AttributeError, TypeError, IndexError, RuntimeError)):
            call({"samples": empty()})
