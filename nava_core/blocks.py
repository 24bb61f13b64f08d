"""The blocks of the Align-then-Fuse MMDiT (paper section 3.1).

All blocks work on one sequence `x [B, N, dim]` = [video; audio]. `Layout` says where the sound begins and which
stretches of tokens share a timestep, so that modulation exists once per stretch and never per token.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .config import FFN_TOKENS

Span = tuple[int, int, int]  # start token, end token, row of the modulation table
# Where each token's modulation stands in its table: stretches of tokens, or (for masks that divide a frame) `[B, N]`.
Rows = tuple[Span, ...] | Tensor


@dataclass(frozen=True)
class Layout:
    """How one forward pass arranges its tokens."""

    video_tokens: int
    audio_tokens: int
    stream_rows: Rows  # K rows for video, then K for audio (K distinct timesteps)
    fused_rows: Rows  # K rows for both; adjacent equal stretches merged
    rotation: Tensor  # [1, N, 1, head_dim/2, 2, 2]
    joint: bool = True
    options: dict = field(default_factory=dict)  # passed through to the attention function
    text_memory: dict | None = None  # keys and values of the context, kept from pass to pass of one sampling run


@dataclass(frozen=True)
class Parts:
    """What blocks are made of: layer classes, the attention and rotation functions, and where weights live."""

    operations: object
    attention: Callable[..., Tensor]
    rotate: Callable[[Tensor, Tensor], Tensor]
    device: object = None
    dtype: object = None

    def linear(self, n_in: int, n_out: int) -> nn.Module:
        return self.operations.Linear(n_in, n_out, device=self.device, dtype=self.dtype)

    def layer_norm(self, dim: int, eps: float, affine: bool = True) -> nn.Module:
        return self.operations.LayerNorm(dim, eps=eps, elementwise_affine=affine, device=self.device, dtype=self.dtype)

    def rms_norm(self, dim: int, eps: float) -> nn.Module:
        return self.operations.RMSNorm(dim, eps=eps, elementwise_affine=True, device=self.device, dtype=self.dtype)

    def parameter(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(*shape, device=self.device, dtype=self.dtype))

    def feed_forward(self, dim: int, hidden: int) -> nn.Sequential:
        return nn.Sequential(self.linear(dim, hidden), nn.GELU(approximate="tanh"), self.linear(hidden, dim))


def per_span(function: Callable[..., Tensor], spans: tuple[Span, ...], *sequences: Tensor) -> Tensor:
    """Apply `function(row, *slices)` to every stretch of tokens and join the results."""
    if len(spans) == 1:
        return function(spans[0][2], *sequences)
    return torch.cat([function(row, *(s[:, a:b] for s in sequences)) for a, b, row in spans], dim=1)


def picked(table: Tensor, rows: Tensor) -> Tensor:
    """Rows `[B, N]` of `table [B, R, dim]`, one a token: `[B, N, dim]`."""
    return table.gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))


def modulate(x: Tensor, shift: Tensor, scale: Tensor, rows: Rows) -> Tensor:
    """`x * (1 + scale) + shift`, with `shift, scale [B, R, dim]` chosen per stretch or per token."""
    scale = scale + 1
    if isinstance(rows, Tensor):
        return torch.addcmul(picked(shift, rows), x, picked(scale, rows))
    return per_span(lambda r, y: torch.addcmul(shift[:, r, None], y, scale[:, r, None]), rows, x)


def gated_add(x: Tensor, update: Tensor, gate: Tensor, rows: Rows) -> Tensor:
    """`x + gate * update`, with `gate [B, R, dim]` chosen per stretch or per token."""
    if isinstance(rows, Tensor):
        return torch.addcmul(x, update, picked(gate, rows))
    return per_span(lambda r, y, u: torch.addcmul(y, u, gate[:, r, None]), rows, x, update)


class Modulation(nn.Module):
    """Learned offsets of the timestep modulation: `[1, count, dim]`."""

    def __init__(self, count: int, dim: int, parts: Parts):
        super().__init__()
        self.modulation = parts.parameter(1, count, dim)

    def forward(self, e: Tensor) -> Tensor:
        """`e [B, K, count or 1, dim]` -> `[B, K, count, dim]`."""
        return self.modulation.to(e) + e


class Attention(nn.Module):
    """Attention with full-width RMS norms on q and k; `streams` 2 gives the sound its own weights (suffix `_audio`)."""

    def __init__(self, dim: int, heads: int, eps: float, streams: int, parts: Parts):
        super().__init__()
        self.heads = heads
        self.separate = streams == 2
        self.attend, self.rotate = parts.attention, parts.rotate
        for suffix in ("", "_audio")[:streams]:
            for name in "qkvo":
                setattr(self, name + suffix, parts.linear(dim, dim))
            setattr(self, "norm_q" + suffix, parts.rms_norm(dim, eps))
            setattr(self, "norm_k" + suffix, parts.rms_norm(dim, eps))

    def q_of(self, x: Tensor, suffix: str = "") -> Tensor:
        return getattr(self, "norm_q" + suffix)(getattr(self, "q" + suffix)(x))

    def k_of(self, x: Tensor, suffix: str = "") -> Tensor:
        return getattr(self, "norm_k" + suffix)(getattr(self, "k" + suffix)(x))

    def v_of(self, x: Tensor, suffix: str = "") -> Tensor:
        return getattr(self, "v" + suffix)(x)

    def o_of(self, x: Tensor, suffix: str = "") -> Tensor:
        return getattr(self, "o" + suffix)(x)

    def per_stream(self, project: Callable[..., Tensor], x: Tensor, layout: Layout) -> Tensor:
        """Project the sequence, the sound with its own weights where the block has them."""
        n = layout.video_tokens
        if not self.separate or not layout.audio_tokens:
            return project(x)
        if not n:
            return project(x, "_audio")
        return torch.cat([project(x[:, :n]), project(x[:, n:], "_audio")], dim=1)

    def turned(self, x: Tensor, layout: Layout) -> Tensor:
        return self.rotate(x.unflatten(-1, (self.heads, -1)), layout.rotation).flatten(2)


class SelfAttention(Attention):
    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        q = self.turned(self.per_stream(self.q_of, x, layout), layout)
        k = self.turned(self.per_stream(self.k_of, x, layout), layout)
        v = self.per_stream(self.v_of, x, layout)
        n = layout.video_tokens
        if layout.joint or not n or not layout.audio_tokens:
            x = self.attend(q, k, v, self.heads, **layout.options)
            del q, k, v  # before more memory is taken
        else:  # the masked-modality pass: each stream sees only itself
            video = self.attend(q[:, :n], k[:, :n], v[:, :n], self.heads, **layout.options)
            audio = self.attend(q[:, n:], k[:, n:], v[:, n:], self.heads, **layout.options)
            del q, k, v
            x = torch.cat([video, audio], dim=1)
        return self.per_stream(self.o_of, x, layout)


class CrossAttention(Attention):
    """Attention to the context rows (text and voices), which both streams share."""

    def forward(self, x: Tensor, context: Tensor, layout: Layout) -> Tensor:
        def keys_and_values(suffix: str) -> tuple[Tensor, Tensor]:
            memory = layout.text_memory
            if memory is None:
                return self.k_of(context, suffix), self.v_of(context, suffix)
            if (self, suffix) not in memory:
                memory[self, suffix] = self.k_of(context, suffix), self.v_of(context, suffix)
            return memory[self, suffix]

        def attend(x: Tensor, suffix: str = "") -> Tensor:
            k, v = keys_and_values(suffix)
            return self.o_of(self.attend(self.q_of(x, suffix), k, v, self.heads, **layout.options), suffix)

        return self.per_stream(attend, x, layout)


class Block(nn.Module):
    """One transformer block. `streams` 2: double (alignment) block; 1: single (fusion) block."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, eps: float, streams: int, parts: Parts):
        super().__init__()
        self.modulation = Modulation(6, dim, parts)
        self.modulation_audio = Modulation(6, dim, parts) if streams == 2 else None
        self.norm1 = parts.layer_norm(dim, eps, affine=False)
        self.norm2 = parts.layer_norm(dim, eps, affine=False)
        self.norm3 = parts.layer_norm(dim, eps)
        self.self_attn = SelfAttention(dim, heads, eps, streams, parts)
        self.cross_attn = CrossAttention(dim, heads, eps, streams, parts)
        self.ffn = parts.feed_forward(dim, ffn_dim)

    def forward(self, x: Tensor, e0: Tensor, context: Tensor, layout: Layout) -> Tensor:
        """`x [B, N, dim]`, `e0 [B, K, 6, dim]` (K distinct timesteps), `context [B, text_len, dim]` -> `[B, N, dim]`."""
        if self.modulation_audio is None:
            table, rows = self.modulation(e0), layout.fused_rows
        else:
            table, rows = torch.cat([self.modulation(e0), self.modulation_audio(e0)], dim=1), layout.stream_rows
        shift1, scale1, gate1, shift2, scale2, gate2 = table.unbind(2)
        x = gated_add(x, self.self_attn(modulate(self.norm1(x), shift1, scale1, rows), layout), gate1, rows)
        x = x + self.cross_attn(self.norm3(x), context, layout)
        return gated_add(x, self.feed_forward(modulate(self.norm2(x), shift2, scale2, rows)), gate2, rows)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward network a stretch of tokens at a time: its hidden values are the largest of all."""
        if x.shape[1] <= FFN_TOKENS:
            return self.ffn(x)
        return torch.cat([self.ffn(part) for part in x.split(FFN_TOKENS, dim=1)], dim=1)


class Head(nn.Module):
    """Modulated projection from tokens to latent values."""

    def __init__(self, dim: int, out_dim: int, eps: float, parts: Parts):
        super().__init__()
        self.modulation = parts.parameter(1, 2, dim)
        self.norm = parts.layer_norm(dim, eps, affine=False)
        self.head = parts.linear(dim, out_dim)

    def forward(self, x: Tensor, e: Tensor, rows: Rows) -> Tensor:
        """`x [B, N, dim]`, `e [B, K, dim]` -> `[B, N, out_dim]`."""
        shift, scale = (self.modulation.to(e) + e[:, :, None]).unbind(2)
        return self.head(modulate(self.norm(x), shift, scale, rows))


class AudioPatchEmbedding(nn.Sequential):
    """Audio tokens `[B, channels, L]` -> `[B, dim, L]`: a convolution, then a gated convolutional MLP, all k=7."""

    def __init__(self, channels: int, dim: int, hidden: int, parts: Parts):
        def conv(n_in, n_out, bias=False):
            ops = parts.operations
            return ops.Conv1d(n_in, n_out, 7, padding=3, bias=bias, device=parts.device, dtype=parts.dtype)

        mlp = nn.Module()
        mlp.w1, mlp.w2, mlp.w3 = conv(dim, hidden), conv(hidden, dim), conv(dim, hidden)
        super().__init__(conv(channels, dim, bias=True), nn.SiLU(), mlp)

    def forward(self, x: Tensor) -> Tensor:
        conv, silu, mlp = self
        x = silu(conv(x))
        return mlp.w2(silu(mlp.w1(x)) * mlp.w3(x))


class SpeakerEmbedding(nn.Module):
    """A 192-d speaker embedding becomes one context row (Timbre-in-Context, paper section 3.3)."""

    def __init__(self, voice_dim: int, dim: int, parts: Parts):
        super().__init__()
        self.null_token = parts.parameter(1, dim)
        self.net = nn.Sequential(
            parts.layer_norm(voice_dim, 1e-5), parts.linear(voice_dim, dim), nn.SiLU(), parts.linear(dim, dim)
        )
        self.out_norm = parts.layer_norm(dim, 1e-5)

    def forward(self, voices: Tensor) -> Tensor:
        """`voices [n, 192]` -> `[n, dim]`; an all but zero embedding means no particular voice."""
        silent = voices.float().square().sum(-1, keepdim=True) <= 1e-6
        return torch.where(silent, self.null_token.to(voices), self.out_norm(self.net(voices)))
