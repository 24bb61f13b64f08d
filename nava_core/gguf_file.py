"""GGUF files, read with the `gguf` package where it is installed."""

from pathlib import Path

import torch
from torch import Tensor

from .files import CheckpointError, unreadable

SHAPE = "comfy.gguf.orig_shape."  # GGUF holds at most 4 dimensions; converters keep the fifth here
CONFIG = "nava_config"


def read_gguf(path: str | Path, dtype: torch.dtype = torch.bfloat16) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(weights as `dtype`, metadata) of a GGUF file, quantised or not. Raises CheckpointError."""
    path = Path(path)
    try:
        import gguf
    except ImportError:
        raise CheckpointError(
            f"{path.name} is a GGUF file, and the Python package that reads those is not installed. Install it with "
            "`pip install gguf` into ComfyUI's Python, or take a .safetensors file"
        ) from None
    try:
        reader = gguf.GGUFReader(path)
        weights = {}
        for tensor in reader.tensors:
            values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).to(dtype)
            field = reader.get_field(SHAPE + tensor.name)
            shape = tensor.shape.tolist()[::-1] if field is None else [int(field.parts[i][0]) for i in field.data]
            weights[tensor.name] = values.reshape(shape)
        config = reader.get_field(CONFIG)
    except (ValueError, KeyError, IndexError, OSError, NotImplementedError) as error:
        raise unreadable(path, error) from error
    return weights, {} if config is None else {CONFIG: bytes(config.parts[config.data[0]]).decode()}
