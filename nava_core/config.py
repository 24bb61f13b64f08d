"""The shape of a NAVA transformer: read from a file's metadata or from its tensor shapes."""

import json
import math
from dataclasses import asdict, dataclass, fields

FFN_TOKENS = 8192  # the feed-forward network works on at most so many tokens at once
ROPE_TOKENS = (
    1024  # so many are rotated at once where no kernel does it: in half precision each takes four times its size
)

# What tensor shapes cannot tell, as it is in the released model.
RELEASED_HEAD_DIM = 128


# A stranger's file may ask for no more: what it names is built, if only in outline, before it is compared with its weights.
MOST_LAYERS, MOST_WIDTH, MOST_PATCH = 200, 1 << 17, 16


class ConfigError(ValueError):
    """A file's shapes or metadata do not describe a NAVA transformer."""


def whole(value, low: int, high: int) -> bool:
    """Whether this is a whole number within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def unusable(name: str, value) -> str | None:
    """What is wrong with one value of a configuration, or None."""
    if name == "add_spk_emb":
        return None if isinstance(value, bool) else "expected true or false"
    if name == "patch_size":
        fits = isinstance(value, (list, tuple)) and len(value) == 3 and all(whole(v, 1, MOST_PATCH) for v in value)
        return None if fits else f"expected three numbers from 1 to {MOST_PATCH}"
    if name in ("eps", "temporal_rope_scaling_factor"):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e6
        return None if fits else "expected a positive number"
    low, high = (0, MOST_LAYERS) if name.endswith("_layers") else (1, MOST_WIDTH)
    return None if whole(value, low, high) else f"expected a whole number from {low} to {high}"


@dataclass(frozen=True)
class NavaConfig:
    """Sizes of the Align-then-Fuse MMDiT (arXiv 2605.30073, section 3). Defaults: the released 6.3 B model."""

    dim: int = 3072
    num_heads: int = 24
    num_double_layers: int = 10  # alignment blocks
    num_single_layers: int = 20  # fusion blocks
    ffn_dim: int = 14336
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    vid_in_dim: int = 48
    vid_out_dim: int = 48
    audio_in_dim: int = 128
    audio_out_dim: int = 128
    patch_size: tuple[int, int, int] = (1, 2, 2)
    temporal_rope_scaling_factor: float = 0.24
    eps: float = 1e-6
    add_spk_emb: bool = True
    voice_dim: int = 192

    def __post_init__(self):
        for field in fields(self):
            fault = unusable(field.name, getattr(self, field.name))
            if fault:
                raise ConfigError(f"{field.name} is {str(getattr(self, field.name))[:40]}, {fault}")
        object.__setattr__(self, "patch_size", tuple(self.patch_size))
        if self.dim % self.num_heads or self.head_dim % 2:
            raise ConfigError(f"dim {self.dim} does not split into {self.num_heads} heads of even size")

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def audio_mlp_dim(self) -> int:
        """Hidden width of the audio patch embedding's gated MLP."""
        return math.ceil(int(2 * 4 * self.dim / 3) / 256) * 256

    def activation_values(self, tokens: float, batch: int = 1, itemsize: int = 2) -> float:
        """Numbers alive at the worst moment of a pass over `batch` sequences of `tokens` tokens.

        Counted from the blocks, attention itself taken as memory-free (flash); in values of the compute dtype, of
        `itemsize` bytes.
        """
        # the residual stream, q, k, v and what attention gives; before, with the normed tokens in v's place, what
        # rotation in float32 takes
        rotation = min(tokens, ROPE_TOKENS) * (4 if itemsize < 4 else 1)
        attention = batch * (4 * tokens + max(tokens, rotation)) * self.dim
        cross = batch * (4 * tokens + 2 * self.text_len) * self.dim
        # longer sequences are worked on one after the other
        at_once = FFN_TOKENS if tokens > FFN_TOKENS else batch * tokens
        feed_forward = batch * tokens * self.dim + at_once * (self.dim + self.ffn_dim)
        return max(attention, cross, feed_forward) + 8 // itemsize * tokens * self.head_dim

    @property
    def context_memory_values(self) -> int:
        """Numbers in the keys and values that all blocks make of one context."""
        return 2 * (2 * self.num_double_layers + self.num_single_layers) * self.text_len * self.dim

    def to_metadata(self) -> str:
        """The JSON text stored under the safetensors metadata key `nava_config`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_metadata(cls, text: str, **inferred) -> "NavaConfig":
        """Read a `nava_config` entry; its values win over `inferred` ones. Unknown keys are ignored."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the file's nava_config metadata is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError("the file's nava_config metadata is not a JSON object")
        known = {f.name for f in fields(cls)}
        return cls(**{**inferred, **{k: v for k, v in values.items() if k in known}})

    @classmethod
    def from_shapes(cls, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> "NavaConfig":
        """Infer the configuration from unprefixed tensor shapes, then let `nava_config` metadata win.

        Raises ConfigError naming the first tensor that is needed and not there.
        """

        def shape(key: str, dims: int) -> tuple[int, ...]:
            if key not in shapes:
                raise ConfigError(f"the tensor {key} is missing")
            if len(shapes[key]) != dims:
                raise ConfigError(f"the tensor {key} has shape {list(shapes[key])}, expected {dims} dimensions")
            return shapes[key]

        def count(prefix: str) -> int:
            numbers = (k.split(".")[1] for k in shapes if k.startswith(prefix))
            return 1 + max((int(n) for n in numbers if n.isdecimal() and len(n) < 10), default=-1)

        dim, vid_in, *patch = shape("patch_embedding.weight", 5)
        patch_volume = max(1, math.prod(patch))
        inferred = {
            "dim": dim,
            "num_heads": max(1, dim // RELEASED_HEAD_DIM),
            "num_double_layers": count("double_blocks."),
            "num_single_layers": count("single_blocks."),
            "freq_dim": shape("time_embedding.0.weight", 2)[1],
            "text_dim": shape("text_embedding.0.weight", 2)[1],
            "vid_in_dim": vid_in,
            "vid_out_dim": shape("head.head.weight", 2)[0] // patch_volume,
            "audio_in_dim": shape("patch_embedding_audio.0.weight", 3)[1],
            "audio_out_dim": shape("head_audio.head.weight", 2)[0],
            "patch_size": tuple(patch),
            "add_spk_emb": "speaker_embedding.null_token" in shapes,
        }
        first_block = "double_blocks.0." if inferred["num_double_layers"] else "single_blocks.0."
        inferred["ffn_dim"] = shape(first_block + "ffn.0.bias", 1)[0]
        if inferred["add_spk_emb"]:
            inferred["voice_dim"] = shape("speaker_embedding.net.0.weight", 1)[0]
        if metadata and "nava_config" in metadata:
            return cls.from_metadata(metadata["nava_config"], **inferred)
        return cls(**inferred)
