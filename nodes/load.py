"""Loaders: files -> MODEL, CLIP, VAE. Sizes are read off the weights."""

import contextlib
import functools
import logging
from pathlib import Path
from unittest import mock

import comfy.ldm.wan.vae2_2
import comfy.model_management
import comfy.sd
import comfy.text_encoders.wan
import comfy.utils
import folder_paths
import psutil
import safetensors
import torch
from comfy_api.latest import io

from ..nava_core import checkpoint, files
from ..nava_core.gguf_file import read_gguf
from ..nava_core.scales import settled
from .fp8_rows import RowScaledOps, has_row_scales, in_hosts_layout
from .ggml_blocks import BlockOps
from .host import build_patcher

DTYPES = {
    "default": None,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e4m3fn_fast": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


HUB = "https://huggingface.co/"
SOURCES = {
    "diffusion_models": f"{HUB}baidu/NAVA (NAVA.safetensors or NAVA_fp8.safetensors)",
    "text_encoders": f"{HUB}Comfy-Org/Wan_2.1_ComfyUI_repackaged (umt5_xxl, bf16 or fp8)",
    "vae": f"{HUB}Comfy-Org/Wan_2.2_ComfyUI_Repackaged (wan2.2_vae.safetensors)",
    "audio_encoders": "https://github.com/IDRnD/ReDimNet, releases (M-vb2+vox2+cnc-ft_mix.pt)",
}


def is_there(node_input: str, kind: str, name: str) -> bool | str:
    """True when a model file is in its folder, else where it comes from and where it goes."""
    if folder_paths.get_full_path(kind, name) is not None:
        return True
    there = (
        ", ".join(model_files() if kind == "diffusion_models" else folder_paths.get_filename_list(kind)) or "no file"
    )
    where = f" Get it from {SOURCES[kind]}." if kind in SOURCES else ""
    return f"{node_input}: {name} is not in models/{kind} (there: {there}).{where}"


@contextlib.contextmanager
def naming(node_input: str):
    """Let errors about a file say which input chose it."""
    try:
        yield
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"{node_input}: {error}") from error


def read_weights(path: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(weights, metadata) of a model file, read by the host. Raises CheckpointError for what is none or is damaged."""
    files.refuse_foreign_content(Path(path))
    try:
        weights, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except Exception as error:  # a broken or hostile pickle ends the safe unpickler in any way
        raise files.unreadable(Path(path), error) from error
    if not isinstance(weights, dict) or not all(isinstance(w, torch.Tensor) for w in weights.values()):
        raise checkpoint.CheckpointError(f"{Path(path).name} holds no weights by name: it is not a model file")
    checkpoint.refuse_bad_weights(weights, Path(path).name)
    return weights, metadata or {}


def load_model(path: str, weight_dtype: str = "default", disable_dynamic: bool = False):
    """A NAVA checkpoint as a ModelPatcher. Raises CheckpointError; for safetensors, before any weight is read.

    disable_dynamic: see `build_patcher`; the host passes it when it loads the model once more for itself.
    """
    name, weights = Path(path).name, None
    if path.lower().endswith((".safetensors", ".sft")):
        shapes, metadata = checkpoint.read_header(path)
    elif is_gguf(path):
        weights, shapes, metadata = read_gguf(path, packed=weight_dtype == "default")
    else:
        weights, metadata = read_weights(path)
        shapes = {k: tuple(v.shape) for k, v in weights.items()}
        metadata |= checkpoint.config_among(weights)
        shapes = {k: s for k, s in shapes.items() if not checkpoint.is_config(k)}
    config = checkpoint.identify(checkpoint.without_prefix(shapes), metadata, name)
    if weights is None:
        weights, _ = read_weights(path)
    weights = {k: w for k, w in weights.items() if not checkpoint.is_config(k)}
    if not is_gguf(path):
        prefix = checkpoint.key_prefix(weights)
        weights = settled(checkpoint.without_prefix(weights), metadata, name, prefix, keep=("formats", "rows"))
    options = {"dtype": DTYPES[weight_dtype], "fast_fp8": weight_dtype.endswith("_fast")}
    if has_row_scales(weights) and weight_dtype == "fp8_e4m3fn_fast":
        weights, options = in_hosts_layout(weights), {}
    elif has_row_scales(weights):
        if weight_dtype not in ("default", "bf16", "fp32"):
            raise ValueError(
                f"NavaModelLoader, weight_dtype: {name} is fp8 already. Choose default, or fp8_e4m3fn_fast to compute in fp8 too."
            )
        # what is not an fp8 row is bf16 in these files, and computing follows it where the device can
        options = {"dtype": DTYPES[weight_dtype] or compute_dtype(), "operations": RowScaledOps}
    elif is_gguf(path) and any(w.dtype == torch.uint8 for w in weights.values()):
        options = {"dtype": compute_dtype(), "operations": BlockOps}
    model = build_patcher(weights, config, disable_dynamic=disable_dynamic, **options)
    model.cached_patcher_init = (load_model, (path, weight_dtype))  # the host reloads it so for more GPUs
    return model


def model_files() -> list[str]:
    """Model files to choose from: the host's list, and the GGUF files beside them, which the host does not list."""
    found = list(folder_paths.get_filename_list("diffusion_models"))
    for folder in folder_paths.get_folder_paths("diffusion_models"):
        files, _ = folder_paths.recursive_search(folder, excluded_dir_names=[".git"])
        found += sorted(folder_paths.filter_files_extensions(files, [".gguf"]))
    return list(dict.fromkeys(found))


def is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def memory_advice(path: str, total_ram: int) -> str | None:
    """What to say of a float32 file that fills the RAM of this machine, or None."""
    size = Path(path).stat().st_size
    if not path.lower().endswith((".safetensors", ".sft")) or size < total_ram / 2:
        return None
    with safetensors.safe_open(path, framework="pt") as file:
        if all(file.get_slice(k).get_dtype() != "F32" for k in file.keys()):
            return None
    name = Path(path)
    return (
        f"{name.name} is float32 and takes {size / 1e9:.0f} of this machine's {total_ram / 1e9:.0f} GB of RAM. A bf16 copy takes "
        f"half and gives the same on a graphics card; in this pack's folder: python tools/convert.py {name.name} {name.stem}_bf16.safetensors --dtype bf16"
    )


def compute_dtype() -> torch.dtype:
    """bf16 where the device computes in it, else fp16 where it does, else float32."""
    device = comfy.model_management.get_torch_device()
    if comfy.model_management.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if comfy.model_management.should_use_fp16(device) else torch.float32


class NavaModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaModelLoader",
            display_name="Load NAVA Model",
            category="NAVA/loaders",
            description="Loads NAVA as an ordinary MODEL: ComfyUI's LoRA, shift, cache, compile and sampler nodes "
            "work with it.",
            search_aliases=["nava", "audio video model"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_files(),
                    tooltip="A NAVA file in models/diffusion_models: NAVA_fp8.safetensors (7 GB), a bf16 copy (13 GB) or "
                    "NAVA.safetensors (25 GB).",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(DTYPES),
                    default="default",
                    tooltip="How weights are kept in memory. default: what the file and the graphics card suggest. "
                    "fp8 halves the memory at a small loss; _fast also computes in fp8 on cards that can.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output(tooltip="NAVA, ready for NAVA Guider or any stock sampler.")],
        )

    @classmethod
    def validate_inputs(cls, model_name):
        return is_there("NavaModelLoader, model_name", "diffusion_models", model_name)

    @classmethod
    def execute(cls, model_name, weight_dtype) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("diffusion_models", model_name)
        with naming("NavaModelLoader, model_name"):
            model = load_model(path, weight_dtype)
        advice = memory_advice(path, psutil.virtual_memory().total)
        if advice:
            logging.warning("NavaModelLoader: %s", advice)
        return io.NodeOutput(model, ui={"text": [advice]} if advice else None)


UMT5_BLOCK = "encoder.block.{}.layer.0.SelfAttention.q.weight"


def umt5_sizes(weights: dict[str, torch.Tensor], name: str) -> dict[str, int]:
    """The settings of a umT5 encoder that tensor shapes tell, under their transformers names."""
    block = "encoder.block.0.layer."
    needed = (
        "shared.weight", "encoder.final_layer_norm.weight", UMT5_BLOCK.format(0),
        block + "0.SelfAttention.relative_attention_bias.weight", block + "1.DenseReluDense.wi_0.weight",
    )  # fmt: skip
    if any(k not in weights for k in needed):
        cause = checkpoint.likely_cause(k for k in weights if not k.startswith(("shared.", "encoder.")))
        hint = f"It looks like {cause}." if cause else "NAVA uses the umT5-xxl encoder that Wan uses."
        raise checkpoint.CheckpointError(f"{name} is not a umT5 text encoder. {hint}")
    if "spiece_model" not in weights:
        raise checkpoint.CheckpointError(
            f"{name} has no tokenizer inside (the key spiece_model). Use the umt5_xxl file made for ComfyUI."
        )
    buckets, heads = weights[block + "0.SelfAttention.relative_attention_bias.weight"].shape
    inner, d_model = weights[UMT5_BLOCK.format(0)].shape[0], weights["encoder.final_layer_norm.weight"].shape[0]
    return {
        "d_model": d_model,
        "d_kv": inner // heads,
        "d_ff": weights[block + "1.DenseReluDense.wi_0.weight"].shape[0],
        "num_heads": heads,
        "num_layers": sum(UMT5_BLOCK.format(i) in weights for i in range(100)),
        "relative_attention_num_buckets": buckets,
        "vocab_size": weights["shared.weight"].shape[0],
    }


class _UMT5:
    """What comfy.sd.CLIP calls a target: the model class, the tokenizer class and their parameters."""

    params = {}
    tokenizer = comfy.text_encoders.wan.WanT5Tokenizer

    def __init__(self, **options):
        self.clip = comfy.text_encoders.wan.te(**options)


class NavaTextEncoderLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaTextEncoderLoader",
            display_name="Load NAVA Text Encoder",
            category="NAVA/loaders",
            description="Loads a umT5 text encoder of any size. For umT5-xxl it gives what Load CLIP (type wan) gives.",
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    options=folder_paths.get_filename_list("text_encoders"),
                    tooltip="The umT5-xxl file that Wan uses (bf16 or fp8), in models/text_encoders.",
                ),
                io.Combo.Input(
                    "device",
                    options=["default", "cpu"],
                    default="default",
                    tooltip="cpu keeps the text encoder off the graphics card: slower, saves memory.",
                    advanced=True,
                ),
            ],
            outputs=[io.Clip.Output(tooltip="For NAVA Prompt.")],
        )

    @classmethod
    def validate_inputs(cls, clip_name):
        return is_there("NavaTextEncoderLoader, clip_name", "text_encoders", clip_name)

    @classmethod
    def execute(cls, clip_name, device) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("text_encoders", clip_name)
        with naming("NavaTextEncoderLoader, clip_name"):
            weights, metadata = read_weights(path)
            weights = settled(weights, metadata, clip_name, keep=("formats",))
            model_options = {"umt5xxl_model_config": umt5_sizes(weights, clip_name)}
        if device == "cpu":
            model_options["load_device"] = model_options["offload_device"] = torch.device("cpu")
        clip = comfy.sd.CLIP(
            _UMT5(**comfy.sd.t5xxl_detect([weights])),
            embedding_directory=folder_paths.get_folder_paths("embeddings"),
            tokenizer_data={"spiece_model": weights["spiece_model"]},
            parameters=comfy.utils.calculate_parameters(weights),
            state_dict=[weights],
            model_options=model_options,
        )
        return io.NodeOutput(clip)


def wan22_sizes(weights: dict[str, torch.Tensor], name: str) -> dict[str, int]:
    """The sizes of a Wan2.2 video VAE that tensor shapes tell."""
    marks = ("decoder.middle.0.residual.0.gamma", "decoder.upsamples.0.upsamples.0.residual.2.weight")
    if any(k not in weights for k in (*marks, "encoder.conv1.weight", "decoder.head.0.gamma", "conv2.weight")):
        cause = checkpoint.likely_cause(k for k in weights if not k.startswith("decoder.middle."))
        if marks[0] in weights and marks[1] not in weights:
            cause = "the Wan 2.1 VAE (16 channels)"
        hint = f"It looks like {cause}." if cause else "NAVA uses wan2.2_vae.safetensors."
        raise checkpoint.CheckpointError(f"{name} is not a Wan 2.2 video VAE. {hint}")
    return {
        "dim": weights["encoder.conv1.weight"].shape[0],
        "dec_dim": weights["decoder.head.0.gamma"].shape[0],
        "z_dim": weights["conv2.weight"].shape[0],
    }


class NavaVideoVAELoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaVideoVAELoader",
            display_name="Load NAVA Video VAE",
            category="NAVA/loaders",
            description="Loads a Wan 2.2 video VAE of any width. For wan2.2_vae it gives what Load VAE gives.",
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=folder_paths.get_filename_list("vae"),
                    tooltip="wan2.2_vae.safetensors in models/vae (the file of Wan 2.2 5B).",
                )
            ],
            outputs=[io.Vae.Output(tooltip="For NAVA Decode and NAVA First Frame.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name):
        return is_there("NavaVideoVAELoader, vae_name", "vae", vae_name)

    @classmethod
    def execute(cls, vae_name) -> io.NodeOutput:
        path = folder_paths.get_full_path_or_raise("vae", vae_name)
        with naming("NavaVideoVAELoader, vae_name"):
            weights, metadata = read_weights(path)
            weights = settled(weights, metadata, vae_name)
            sizes = wan22_sizes(weights, vae_name)
        stock = comfy.ldm.wan.vae2_2.WanVAE
        # The host's VAE class has the released widths written in; let it build the file's instead.
        sized = functools.wraps(stock)(lambda **released: stock(**{**released, **sizes}))
        with mock.patch.object(comfy.ldm.wan.vae2_2, "WanVAE", sized):
            vae = comfy.sd.VAE(sd=weights, metadata=metadata)
        vae.throw_exception_if_invalid()
        return io.NodeOutput(vae)
