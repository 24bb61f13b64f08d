"""ReDimNet speaker encoder (arXiv 2407.18223), in the variants that NAVA's voices use.

Parameter names are those of the released checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .audio import MelSpectrogram
from .config import whole

SAMPLE_RATE = 16000
EPS = 1e-6  # of every LayerNorm
HEADS = 4
MOST = {"F": 512, "C": 512, "embed_dim": 4096, "hop_length": 4096}  # of a model_config; of anything else 64


class UnsupportedConfig(ValueError):
    """A `model_config` that asks for something this implementation does not have."""


@dataclass(frozen=True)
class Stage:
    """stride in frequency, number of 2-D blocks, width expansion inside them, reduction of the time-context block."""

    stride: int
    blocks: int
    expansion: int
    reduction: int | None


@dataclass(frozen=True)
class ReDimNetConfig:
    mels: int
    channels: int
    group_divisor: int
    stages: tuple[Stage, ...]
    embed_dim: int
    hop: int
    global_context: bool
    embedding_norm: bool

    @classmethod
    def from_dict(cls, config: dict) -> "ReDimNetConfig":
        """Read a checkpoint's `model_config`; raises UnsupportedConfig naming the field that cannot be honoured."""
        if not isinstance(config, dict):
            raise UnsupportedConfig("model_config is no dictionary")
        fixed = {"block_1d_type": "att", "block_2d_type": "convnext_like", "out_channels": None, "pooling_func": "ASTP"}
        for key, value in fixed.items():
            if config.get(key, value) != value:
                raise UnsupportedConfig(f"model_config.{key} is {config[key]!r}, only {value!r} is supported")
        if config.get("feat_type", "pt") not in ("pt", "pt_mel"):
            raise UnsupportedConfig(f"model_config.feat_type is {config['feat_type']!r}, only 'pt' is supported")
        stages = []
        try:
            for stride, blocks, expansion, kernels, reduction in config["stages_setup"]:
                if [tuple(k) for k in kernels] != [(3, 3)]:
                    raise UnsupportedConfig(
                        f"model_config.stages_setup has kernels {kernels}, only [(3, 3)] is supported"
                    )
                stages.append(Stage(stride, blocks, expansion, reduction))
            found = cls(
                mels=config["F"],
                channels=config["C"],
                group_divisor=config["group_divisor"],
                stages=tuple(stages),
                embed_dim=config["embed_dim"],
                hop=config["hop_length"],
                global_context=config.get("global_context_att", False),
                embedding_norm=config.get("emb_bn", False),
            )
        except KeyError as error:
            raise UnsupportedConfig(f"model_config has no {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            if isinstance(error, UnsupportedConfig):
                raise
            raise UnsupportedConfig(f"model_config.stages_setup cannot be read ({error})") from error
        found.refuse_absurd()
        return found

    def refuse_absurd(self) -> None:
        """Raise UnsupportedConfig for sizes that no such network has: a stranger's file must not make us build them."""
        sizes = {"F": self.mels, "C": self.channels, "group_divisor": self.group_divisor, "embed_dim": self.embed_dim}
        sizes |= {"hop_length": self.hop, "stages_setup": len(self.stages)}
        for stage in self.stages:
            sizes |= {f"stages_setup ({k})": v for k, v in vars(stage).items() if not (k == "reduction" and v is None)}
            for key, value in sizes.items():
                if not whole(value, 1, MOST.get(key, 64)):
                    raise UnsupportedConfig(f"model_config.{key} is {str(value)[:40]}")
        if not self.stages:
            raise UnsupportedConfig("model_config.stages_setup is empty")


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over dim 1."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, -1)).transpose(1, -1)


class PreEmphasis(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("flipped_filter", torch.tensor([[[-0.97, 1.0]]]))

    def forward(self, waveform: Tensor) -> Tensor:
        return F.conv1d(F.pad(waveform[:, None], (1, 0), mode="reflect"), self.flipped_filter)[:, 0]


class Features(nn.Module):
    """Log-mel features with their mean over time removed: `[B, N]` -> `[B, 1, mels, frames]`."""

    def __init__(self, mels: int, hop: int):
        super().__init__()
        mel = MelSpectrogram(SAMPLE_RATE, size=512, window=400, hop=hop, low=20, high=7600, mels=mels)
        self.torchfbank = nn.Sequential(nn.Identity(), PreEmphasis(), mel)

    def forward(self, waveform: Tensor) -> Tensor:
        x = torch.log(self.torchfbank(waveform) + 1e-6)
        return (x - x.mean(-1, keepdim=True))[:, None]


class WeightedSum(nn.Module):
    """Softmax-weighted sum of N tensors `[B, C*F, T]`."""

    def __init__(self, count: int, channels: int):
        super().__init__()
        self.w = nn.Parameter(torch.empty(1, count, channels if count > 1 else 1, 1))

    def forward(self, inputs: list[Tensor]) -> Tensor:
        return (torch.stack(inputs, dim=1) * self.w.softmax(dim=1)).sum(dim=1)


class To1D(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(1, 2)


class To2D(nn.Module):
    def __init__(self, channels: int, rows: int):
        super().__init__()
        self.channels, self.rows = channels, rows

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.rows, self.channels)).transpose(1, 2)


class ConvBlock(nn.Module):
    """ConvNeXt-like: grouped 3x3 convolution, batch norm, GELU, 1x1 convolution, plus skip."""

    def __init__(self, channels: int, group_divisor: int):
        super().__init__()
        self.conv_block = block = nn.Module()
        groups = channels // group_divisor
        block.dwconvs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding="same", groups=groups)])
        block.norm = nn.BatchNorm2d(channels)
        block.pwconv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        block = self.conv_block
        return x + block.pwconv1(F.gelu(block.norm(block.dwconvs[0](x))))


class PositionConv(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 59, padding="same", groups=channels)
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x))


class TransformerLayer(nn.Module):
    """A post-norm transformer layer over time, on `[B, channels, T]`."""

    def __init__(self, channels: int):
        super().__init__()
        self.attention = att = nn.Module()
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            setattr(att, name, nn.Linear(channels, channels))
        self.layer_norm = nn.LayerNorm(channels, eps=EPS)
        self.feed_forward = mlp = nn.Module()
        mlp.intermediate_dense = nn.Linear(channels, 2 * channels)
        mlp.output_dense = nn.Linear(2 * channels, channels)
        self.final_layer_norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        att, mlp = self.attention, self.feed_forward
        q, k, v = (p(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in (att.q_proj, att.k_proj, att.v_proj))
        x = x + att.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = self.layer_norm(x)
        x = x + mlp.output_dense(F.gelu(mlp.intermediate_dense(x), approximate="tanh"))
        return self.final_layer_norm(x).transpose(1, 2)


class TimeContext(nn.Module):
    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = channels // reduction
        self.red_dim_conv = nn.Sequential(nn.Conv1d(channels, hidden, 1), ChannelNorm(hidden))
        self.tcm = nn.Sequential(PositionConv(hidden), TransformerLayer(hidden))
        self.exp_dim_conv = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.exp_dim_conv(self.tcm(self.red_dim_conv(x)))


def build_stage(index: int, stage: Stage, channels: int, rows: int, group_divisor: int) -> nn.Sequential:
    """One stage; (channels, rows) is the 2-D shape it gets, whose product stays constant."""
    width = stage.stride * channels
    inner = width * stage.expansion
    layers = [
        WeightedSum(index + 1, channels * rows),
        To2D(channels, rows),
        nn.Conv2d(channels, inner, (stage.stride, 1), (stage.stride, 1)),
        *(ConvBlock(inner, group_divisor) for _ in range(stage.blocks)),
    ]
    if stage.expansion != 1:
        groups = width // group_divisor
        layers.append(
            nn.Sequential(
                nn.Conv2d(inner, width, 3, padding="same", groups=groups),
                nn.BatchNorm2d(width, eps=1e-6),
                nn.GELU(),
                nn.Conv2d(width, width, 1),
            )
        )
    layers.append(To1D())
    if stage.reduction is not None:
        layers.append(TimeContext(channels * rows, stage.reduction))
    return nn.Sequential(*layers)


class Backbone(nn.Module):
    def __init__(self, config: ReDimNetConfig):
        super().__init__()
        channels, rows = config.channels, config.mels
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding="same"), ChannelNorm(channels), To1D())
        self.count = len(config.stages)
        for i, stage in enumerate(config.stages):
            setattr(self, f"stage{i}", build_stage(i, stage, channels, rows, config.group_divisor))
            channels, rows = channels * stage.stride, rows // stage.stride
        self.fin_wght1d = WeightedSum(self.count + 1, config.channels * config.mels)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.stem(x)]
        for i in range(self.count):
            outputs.append(getattr(self, f"stage{i}")(outputs))
        return self.fin_wght1d(outputs)


class AttentivePooling(nn.Module):
    """Attentive statistics pooling: `[B, C, T]` -> `[B, 2C]`."""

    def __init__(self, channels: int, global_context: bool):
        super().__init__()
        self.global_context = global_context
        self.linear1 = nn.Conv1d(channels * (3 if global_context else 1), 128, 1)
        self.linear2 = nn.Conv1d(128, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        given = x
        if self.global_context:
            std = torch.sqrt(x.var(dim=-1, keepdim=True) + 1e-7)
            given = torch.cat([x, x.mean(-1, keepdim=True).expand_as(x), std.expand_as(x)], dim=1)
        alpha = self.linear2(torch.tanh(self.linear1(given))).softmax(dim=-1)
        mean = (alpha * x).sum(-1)
        variance = (alpha * x.square()).sum(-1) - mean.square()
        return torch.cat([mean, variance.clamp(min=1e-7).sqrt()], dim=1)


class ReDimNet(nn.Module):
    """`[B, N]` mono waveform at 16 kHz -> `[B, 192]` speaker embedding, not normalised."""

    def __init__(self, config: ReDimNetConfig):
        super().__init__()
        channels = config.channels * config.mels
        with torch.device("cpu"):  # its filters are computed from values, also where only the outline is made
            self.spec = Features(config.mels, config.hop)
        self.backbone = Backbone(config)
        self.pool = AttentivePooling(channels, config.global_context)
        self.bn = nn.BatchNorm1d(2 * channels)
        self.linear = nn.Linear(2 * channels, config.embed_dim)
        self.bn2 = nn.BatchNorm1d(config.embed_dim) if config.embedding_norm else nn.Identity()

    def forward(self, waveform: Tensor) -> Tensor:
        return self.bn2(self.linear(self.bn(self.pool(self.backbone(self.spec(waveform))))))
