"""The blocks of the Align-then-Fuse MMDiT (paper section 3.1).

Alignment blocks work on picture and sound apart, fusion blocks on one sequence [video; audio]. `Layout` says where the
sound begins and which stretches of tokens share a timestep, so that modulation exists once per stretch and never per token.

Without gradients, what a block no longer needs is written over: activations of a whole clip are hundreds of megabytes each.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .config import FFN_TOKENS
from .rope import keeps_values

Span = tuple[int, int, int]  # start token, end token, row of the modulation table
# Where each token's modulation stands in its table: stretches of tokens, or (for masks that divide a frame) `[B, N]`.
Rows = tuple[Span, ...] | Tensor


@dataclass(frozen=True)
class Part:
    """A stretch of the sequence that goes through the same weights."""

    start: int
    end: int
    rows: Rows  # counted from `start`
    suffix: str = ""  # of its weights


@dataclass(frozen=True)
class Layout:
    """How one forward pass arranges its tokens."""

    video_tokens: int
    audio_tokens: int
    video_rows: Rows
    audio_rows: Rows
    fused_rows: Rows  # of the whole sequence; adjacent equal stretches merged
    rotation: Tensor  # [1, N, 1, head_dim/2, 2, 2]
    joint: bool = True
    options: dict = field(default_factory=dict)  # passed through to the attention function
    text_memory: dict | None = None  # keys and values of the context, kept from pass to pass of one sampling run
    # Takes the place of `attention_here` where several processes share the sequence (see `parallel.Ranks`); then all of
    # the above describes the stretch that this process has.
    attention: Callable[..., list[Tensor]] | None = None

    @property
    def apart(self) -> list[Part]:
        """Picture and sound, those that are there."""
        n = self.video_tokens
        parts = [Part(0, n, self.video_rows), Part(n, n + self.audio_tokens, self.audio_rows, "_audio")]
        return [part for part in parts if part.end > part.start]

    @property
    def fused(self) -> list[Part]:
        return [Part(0, self.video_tokens + self.audio_tokens, self.fused_rows)]

    @property
    def masked(self) -> bool:
        """Whether this is the masked-modality pass, in which each stream sees only itself."""
        return bool(not self.joint and self.video_tokens and self.audio_tokens)


def activated(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(GELU(x))`; without gradients x is written over."""
    if keeps_values():
        return layer(nn.functional.gelu(x, approximate="tanh"))
    return layer(torch.ops.aten.gelu_(x, approximate="tanh"))


@dataclass(frozen=True)
class Parts:
    """What blocks are made of: layer classes, replaceable functions, and where weights live."""

    operations: object
    attention: Callable[..., Tensor]
    rotate: Callable[[Tensor, Tensor], Tensor]
    activated: Callable[[nn.Module, Tensor], Tensor] = activated
    # (x, scale, shift, eps) -> layer_norm(x) * (1 + scale) + shift in one go, or None where that takes two steps anyway
    adaln: Callable[[Tensor, Tensor, Tensor, float], Tensor | None] = lambda *_: None
    # (layers, x) -> a context in which these layers are called several times on inputs like x
    held: Callable[..., AbstractContextManager] = lambda *_: nullcontext()
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


def picked(table: Tensor, rows: Tensor) -> Tensor:
    """Rows `[B, N]` of `table [B, R, dim]`, one a token: `[B, N, dim]`."""
    return table.gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))


def stretches(rows: Rows, *tables: Tensor) -> Iterator[tuple]:
    """(start, end, and of each table `[B, R, dim]` what these tokens take: `[B, 1 or end - start, dim]`)."""
    if isinstance(rows, Tensor):
        for start in range(0, rows.shape[1], FFN_TOKENS):
            chosen = rows[:, start : start + FFN_TOKENS]
            yield start, start + chosen.shape[1], *(picked(table, chosen) for table in tables)
    else:
        for start, end, row in rows:
            yield start, end, *(table[:, row, None] for table in tables)


def within(rows: Rows, start: int, end: int) -> Rows:
    """The rows of tokens start to end, counted from start."""
    if isinstance(rows, Tensor):
        return rows[:, start:end]
    clipped = ((max(a, start) - start, min(b, end) - start, row) for a, b, row in rows)
    return tuple(span for span in clipped if span[1] > span[0])


def modulate(x: Tensor, shift: Tensor, scale: Tensor, rows: Rows) -> Tensor:
    """`x * (1 + scale) + shift`, with `shift, scale [B, R, dim]` chosen per stretch or per token. x is written over."""
    pieces = stretches(rows, shift, scale + 1)
    if keeps_values():
        return joined([torch.addcmul(own, x[:, a:b], factor) for a, b, own, factor in pieces])
    for a, b, own, factor in pieces:
        torch.addcmul(own, x[:, a:b], factor, out=x[:, a:b])
    return x


def gated_add(x: Tensor, update: Tensor, gate: Tensor, rows: Rows) -> Tensor:
    """`x + gate * update`, with `gate [B, R, dim]` chosen per stretch or per token. x is written over."""
    pieces = stretches(rows, gate)
    if keeps_values():
        return joined([torch.addcmul(x[:, a:b], update[:, a:b], own) for a, b, own in pieces])
    for a, b, own in pieces:
        x[:, a:b].addcmul_(update[:, a:b], own)
    return x


def joined(parts: list[Tensor]) -> Tensor:
    """Stretches of tokens as one sequence."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


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


def attention_here(
    attend: Callable[..., Tensor], q: list[Tensor], k: list[Tensor], v: list[Tensor], heads: int, layout: Layout
) -> list[Tensor]:
    """What each part's tokens see, `[B, n, dim]` each, from q, k, v of the parts. The lists are emptied."""
    sizes = [x.shape[1] for x in q]
    if not layout.masked:
        for x in (q, k, v):
            x[:] = [joined(x)]
    elif len(q) == 1:
        for x in (q, k, v):
            x[:] = x[0].split([layout.video_tokens, layout.audio_tokens], dim=1)
    seen = [attend(*qkv, heads, **layout.options) for qkv in zip(q, k, v, strict=True)]
    for x in (q, k, v):
        x.clear()
    return [joined(seen)] if len(sizes) == 1 else list(seen[0].split(sizes, dim=1)) if len(seen) == 1 else seen


class SelfAttention(Attention):
    def forward(self, tokens: list[Tensor], parts: list[Part], layout: Layout) -> list[Tensor]:
        """`tokens`: what each part attends with, `[B, n, dim]`; the list is emptied. Returns as many updates."""

        def turned(x: Tensor, part: Part) -> Tensor:
            table = layout.rotation[:, part.start : part.end]
            return self.rotate(x.unflatten(-1, (self.heads, -1)), table).flatten(2)

        q = [turned(self.q_of(x, part.suffix), part) for x, part in zip(tokens, parts, strict=True)]
        k = [turned(self.k_of(x, part.suffix), part) for x, part in zip(tokens, parts, strict=True)]
        v = [self.v_of(x, part.suffix) for x, part in zip(tokens, parts, strict=True)]
        tokens.clear()  # before more memory is taken
        seen = (layout.attention or attention_here)(self.attend, q, k, v, self.heads, layout)
        return [self.o_of(seen.pop(0), part.suffix) for part in parts]


class CrossAttention(Attention):
    """Attention to the context rows (text and voices), which both streams share."""

    def forward(self, x: Tensor, context: Tensor, suffix: str, layout: Layout) -> Tensor:
        memory = {} if layout.text_memory is None else layout.text_memory
        if (self, suffix) not in memory:
            memory[self, suffix] = self.k_of(context, suffix), self.v_of(context, suffix)
        k, v = memory[self, suffix]
        return self.o_of(self.attend(self.q_of(x, suffix), k, v, self.heads, **layout.options), suffix)


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
        self.activated, self.adaln, self.held = parts.activated, parts.adaln, parts.held

    def forward(self, streams: list[Tensor], e0: Tensor, context: Tensor, layout: Layout) -> list[Tensor]:
        """The streams after this block: `[B, n, dim]` each, one for every part that has weights of its own.

        `e0 [B, K, 6, dim]` (K distinct timesteps), `context [B, text_len, dim]`. Without gradients the streams are written over.
        """
        parts = layout.fused if self.modulation_audio is None else layout.apart
        tables = [getattr(self, "modulation" + part.suffix)(e0).unbind(2) for part in parts]
        tokens = [
            self.modulated(self.norm1, x, shift1, scale1, part.rows)
            for x, part, (shift1, scale1, *_) in zip(streams, parts, tables, strict=True)
        ]
        updates = self.self_attn(tokens, parts, layout)
        streams = [
            gated_add(x, updates.pop(0), table[2], part.rows)
            for x, part, table in zip(streams, parts, tables, strict=True)
        ]
        streams = [
            added(x, self.cross_attn(self.norm3(x), context, part.suffix, layout))
            for x, part in zip(streams, parts, strict=True)
        ]
        with self.held(self.ffn, streams[0]):
            return [
                self.feed_forward(x, *table[3:], part.rows)
                for x, part, table in zip(streams, parts, tables, strict=True)
            ]

    def modulated(self, norm: nn.Module, x: Tensor, shift: Tensor, scale: Tensor, rows: Rows) -> Tensor:
        """The norm of x with its timestep's shift and scale."""
        found = None
        if not isinstance(rows, Tensor) and len(rows) == 1:
            ((_, _, row),) = rows
            found = self.adaln(x, scale[:, row, None], shift[:, row, None], norm.eps)
        return modulate(norm(x), shift, scale, rows) if found is None else found

    def feed_forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor, rows: Rows) -> Tensor:
        """x with the feed-forward network's update, a stretch of tokens at a time: its hidden values are the largest of all."""

        def update(x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor, rows: Rows) -> Tensor:
            first, _, second = self.ffn
            found = self.activated(second, first(self.modulated(self.norm2, x, shift, scale, rows)))
            return gated_add(x, found, gate, rows)

        length = x.shape[1]
        if length <= FFN_TOKENS:
            return update(x, shift, scale, gate, rows)
        count = -(-length // FFN_TOKENS)  # a compiler keeps to this number, not to the length
        spans = [(i * FFN_TOKENS, length if i == count - 1 else (i + 1) * FFN_TOKENS) for i in range(count)]
        if keeps_values():
            return joined([update(x[:, a:b], shift, scale, gate, within(rows, a, b)) for a, b in spans])
        for i in range(x.shape[0]):  # one clip at a time: its tokens lie together
            row = slice(i, i + 1)
            own = [table[row] for table in (shift, scale, gate)]
            for a, b in spans:
                part = within(rows, a, b)
                update(x[row, a:b], *own, part[row] if isinstance(part, Tensor) else part)
        return x


def added(x: Tensor, update: Tensor) -> Tensor:
    """`x + update`; without gradients x is written over."""
    return x + update if keeps_values() else x.add_(update)


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
