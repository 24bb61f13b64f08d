"""ComfyUI's own LoRA trainer on NAVA, on the CPU."""

import pytest
import torch
from support import DATA
from test_host_parity import nested

SETTINGS = {
    "batch_size": 1, "steps": 2, "grad_accumulation_steps": 1, "learning_rate": 1e-2, "rank": 2, "optimizer": "AdamW",
    "loss_function": "MSE", "seed": 3, "training_dtype": "fp32", "lora_dtype": "fp32", "quantized_backward": False,
    "algorithm": "LoRA", "gradient_checkpointing": True, "checkpoint_depth": 2, "offloading": False,
    "existing_lora": "[None]", "bucket_mode": False, "bypass_mode": False,
}  # fmt: skip


def clip(frames, seed):
    g = torch.Generator().manual_seed(seed)
    return nested([torch.randn(1, 6, frames, 4, 6, generator=g), torch.randn(1, 8, 2 * frames + 1, 1, generator=g)])


@pytest.fixture
def trained(nava, monkeypatch):
    """trained(clips) -> (LoRA, losses, model): the stock node on clips with a voice, prepared by the pack's node."""
    import comfy.model_management
    import comfy.weight_adapter
    from comfy_extras.nodes_train import TrainLoraNode

    def run(clips, **settings):
        host, model = nava("host"), nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")
        extra = {host.VOICES: torch.randn(1, 192), host.VOICE_POSITIONS: [2]}
        latents, positives = [], []
        for given in clips:
            latent, positive = (
                nava("training")
                .NavaTrainingClip.execute(model, {"samples": given}, [[torch.randn(1, 9, 24), dict(extra)]])
                .args
            )
            latents.append(latent)
            positives.append(positive)
        options = {k: [v] for k, v in (SETTINGS | settings).items()}
        options["algorithm"] = [next(k for k in comfy.weight_adapter.adapter_maps if k.lower() == "lora")]
        lora, losses, _ = TrainLoraNode.execute([model], latents, positives, **options).args
        return lora, losses["loss"], model

    return run


def moved(lora, part):
    return max(v.abs().max().item() for k, v in lora.items() if part in k and ("lora_up" in k or "diff" in k))


@pytest.mark.parametrize("settings", [{}, {"bypass_mode": True, "gradient_checkpointing": False}])
@pytest.mark.parametrize("frames", [(3, 3), (2, 3)])
def test_train_lora_on_picture_and_sound(nava, trained, frames, settings):
    """Clips of one and of different lengths; every layer learns, those of text and voices too; the file changes NAVA."""
    import comfy.sd
    from test_host_parity import sample_stock

    lora, losses, model = trained([clip(n, i) for i, n in enumerate(frames)], **settings)
    assert len(losses) == 2 and all(0 < loss < 10 for loss in losses)
    for part in ("double_blocks.0.self_attn.q.", "head_audio", "text_embedding.0", "speaker_embedding.net.1"):
        assert moved(lora, part) > 0, part
    patched, _ = comfy.sd.load_lora_for_models(model, None, dict(lora), 1.0, 0)
    latent = nested([torch.zeros(1, 6, 3, 4, 6), torch.zeros(1, 8, 7, 1)])
    assert not torch.equal(sample_stock(patched, latent).tensors[1], sample_stock(model, latent).tensors[1])


def test_train_lora_on_one_stream(trained):
    lora, losses, _ = trained([clip(3, 0).tensors[0]], training_dtype="bf16")
    assert len(losses) == 2 and moved(lora, "single_blocks.0.ffn") > 0


def test_training_clip_says_what_it_needs(nava):
    model = nava("load").load_model(str(DATA / "nava_tiny.safetensors"), "fp32")
    with pytest.raises(ValueError, match="NavaTrainingClip, latent: it is a batch"):
        nava("training").NavaTrainingClip.execute(model, {"samples": torch.zeros(2, 6, 3, 4, 6)}, [])
    with pytest.raises(ValueError, match="NavaTrainingClip, latent: the picture has shape"):
        nava("training").NavaTrainingClip.execute(model, {"samples": torch.zeros(1, 16, 3, 4, 6)}, [])
