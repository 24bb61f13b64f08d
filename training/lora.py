"""LoRA on a NAVA transformer with peft, saved under the names that the host's LoRA loaders know."""

import os
import re
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor, nn

STREAMS = ("picture", "sound", "both")
# Linear layers of the blocks. Alignment blocks have layers of their own for sound; their feed-forward, and all of the
# fusion blocks, serve both streams.
ATTENTION = r"(self|cross)_attn\.[qkvo]"
TARGETS = {
    "picture": rf"double_blocks\.\d+\.{ATTENTION}",
    "sound": rf"double_blocks\.\d+\.{ATTENTION}_audio",
    "both": rf"(double|single)_blocks\.\d+\.({ATTENTION}(_audio)?|ffn\.[02])",
}


def add_lora(
    transformer: nn.Module, rank: int, stream: str = "both", alpha: float | None = None, targets: str | None = None
) -> nn.Module:
    """Freeze the transformer and put adapters of a rank on its layers; returns the same module.

    stream: which layers learn (STREAMS); targets: a regular expression over module names instead. Raises ValueError when
    no layer is meant.
    """
    if stream not in STREAMS:
        raise ValueError(f"lora.stream is {stream!r}: choose one of {', '.join(STREAMS)}")
    if rank < 1:
        raise ValueError(f"lora.rank is {rank}: it must be at least 1")
    pattern = targets or TARGETS[stream]
    names = [n for n, m in transformer.named_modules() if isinstance(m, nn.Linear) and re.fullmatch(pattern, n)]
    if not names:
        raise ValueError(
            f"lora.targets {pattern!r} matches no linear layer; such as {next(n for n, m in transformer.named_modules() if isinstance(m, nn.Linear) and 'blocks' in n)}"
        )
    transformer.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha or rank, target_modules=names), transformer)
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:  # whatever the frozen weights are kept in
            parameter.data = parameter.data.float()
    return transformer


def adapters(transformer: nn.Module) -> dict[str, Tensor]:
    """The adapters as `diffusion_model.<layer>.lora_down.weight`, `.lora_up.weight` and `.alpha`."""
    found = {}
    for name, module in transformer.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
            found[f"diffusion_model.{name}.lora_down.weight"] = down.detach()
            found[f"diffusion_model.{name}.lora_up.weight"] = up.detach()
            found[f"diffusion_model.{name}.alpha"] = torch.tensor(module.scaling["default"] * down.shape[0])
    return found


def write(transformer: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file({k: v.contiguous() for k, v in adapters(transformer).items()}, part, metadata)
    part.replace(path)


def parameter_count(shapes: dict[str, tuple[int, ...]], rank: int, stream: str = "both") -> int:
    """Numbers in the adapters of a model with these (unprefixed) tensor shapes."""
    layers = [
        s
        for k, s in shapes.items()
        if k.endswith(".weight") and re.fullmatch(TARGETS[stream], k.removesuffix(".weight"))
    ]
    return sum(rank * (rows + columns) for rows, columns in layers)


def memory_bytes(
    config, rank: int, tokens: int, base: str = "bf16", stream: str = "both", checkpointing: bool = True
) -> dict[str, int]:
    """What LoRA training of a model takes, **computed**: weights, adapters with their optimiser state, activations.

    config: a NavaConfig. Adapters are float32: weight, gradient and two moments. Activations in bf16: with checkpointing
    the input of every block and the inside of one, else the inside of all.
    """
    from nava_core.checkpoint import expected_shapes

    shapes = expected_shapes(config)
    total = sum(torch.Size(s).numel() for s in shapes.values())
    in_blocks = sum(
        torch.Size(s).numel() for k, s in shapes.items() if "_blocks." in k and k.endswith("weight") and len(s) == 2
    )
    weights = {"fp32": 4 * total, "bf16": 2 * total, "fp8": in_blocks + 2 * (total - in_blocks)}[base]
    blocks = config.num_double_layers + config.num_single_layers
    # one block keeps for backward: its norms' inputs, q, k, v twice, attention outputs, and both sides of the feed-forward
    inside = tokens * (14 * config.dim + 2 * config.ffn_dim) * 2
    kept = blocks * tokens * config.dim * 2 + inside if checkpointing else blocks * inside
    return {"weights": weights, "adapters": 16 * parameter_count(shapes, rank, stream), "activations": kept}
