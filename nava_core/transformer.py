"""The NAVA transformer: joint velocity of picture and sound (arXiv 2605.30073, section 3)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import operations as torch_operations
from .attention import attention as torch_attention
from .blocks import AudioPatchEmbedding, Block, Head, Layout, Parts, Span, SpeakerEmbedding, joined
from .config import NavaConfig
from .rope import FLOAT64_DEVICES, keeps_values, rope_table
from .rope import rotate as torch_rotate

# How noisy things are, from 0 (clean) to 1: a number per latent frame or audio token; or, where clips of a batch differ
# or frames are partly clean, `[B, T, H, W]` for the picture, `[B, L]` for the sound. A token's timestep is this times t.
NoiseLevels = Sequence[float] | Tensor
LEVEL_STEPS = 16  # levels are rounded to so many steps, to keep the distinct timesteps few
MOST_SPANS = 24  # with more stretches of equal noise than this, modulation is picked per token instead


def timestep_sinusoid(timestep: Tensor, dim: int) -> Tensor:
    """`timestep [...]` in 0..1000 -> `[..., dim]` float32 on its device, cosines first.

    Computed in float64; where the device may not have it, on the CPU, as these are a few numbers.
    """
    device = timestep.device if timestep.device.type in FLOAT64_DEVICES else "cpu"
    half = dim // 2
    omega = 10000 ** (-torch.arange(half, dtype=torch.float64, device=device) / half)
    angles = timestep.to(device, torch.float64)[..., None] * omega
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float().to(timestep.device)


class NavaTransformer(nn.Module):
    """Align-then-Fuse MMDiT over [video; audio] tokens.

    operations: layer classes (`operations.py`, or ComfyUI's). attention(q, k, v, heads, **options) and rotate(x, table):
    replaceable kernels, see `attention.py` and `rope.py`; kernels: more of them, see `blocks.Parts`. Parameters are
    uninitialised until loaded.
    """

    def __init__(
        self,
        config: NavaConfig,
        operations=torch_operations,
        attention: Callable[..., Tensor] = torch_attention,
        rotate: Callable[[Tensor, Tensor], Tensor] = torch_rotate,
        device=None,
        dtype=None,
        **kernels: Callable,
    ):
        super().__init__()
        self.config = c = config
        self.dtype = dtype
        parts = Parts(operations, attention, rotate, device=device, dtype=dtype, **kernels)
        self.patch_embedding = operations.Conv3d(
            c.vid_in_dim, c.dim, kernel_size=c.patch_size, stride=c.patch_size, device=device, dtype=dtype
        )
        self.patch_embedding_audio = AudioPatchEmbedding(c.audio_in_dim, c.dim, c.audio_mlp_dim, parts)
        self.text_embedding = nn.Sequential(
            parts.linear(c.text_dim, c.dim), nn.GELU(approximate="tanh"), parts.linear(c.dim, c.dim)
        )
        self.time_embedding = nn.Sequential(parts.linear(c.freq_dim, c.dim), nn.SiLU(), parts.linear(c.dim, c.dim))
        self.time_projection = nn.Sequential(nn.SiLU(), parts.linear(c.dim, 6 * c.dim))
        if c.add_spk_emb:
            self.speaker_embedding = SpeakerEmbedding(c.voice_dim, c.dim, parts)

        def blocks(count: int, streams: int) -> nn.ModuleList:
            return nn.ModuleList(Block(c.dim, c.ffn_dim, c.num_heads, c.eps, streams, parts) for _ in range(count))

        self.double_blocks = blocks(c.num_double_layers, streams=2)
        self.single_blocks = blocks(c.num_single_layers, streams=1)
        pt, ph, pw = c.patch_size
        self.head = Head(c.dim, c.vid_out_dim * pt * ph * pw, c.eps, parts)
        self.head_audio = Head(c.dim, c.audio_out_dim, c.eps, parts)
        self._last_rotation: tuple[tuple, Tensor] | None = None
        self.ranks = None  # a `parallel.Ranks` where several processes work on each pass together

    def forward(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        timestep: Tensor,
        context: Tensor,
        voices: Sequence[Tensor] | None = None,
        voice_positions: Sequence[Sequence[int]] | None = None,
        joint: bool = True,
        clean_first_frame: bool = False,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Velocity of picture and sound; x0 = x - sigma * velocity.

        video `[B, C, T, H, W]` or None, audio `[B, L, C]` or None, timestep `[B]` = 1000 * sigma, context
        `[B, S, text_dim]` with S <= text_len. voices: per batch row a `[n, 192]` tensor; voice_positions: per batch
        row the context rows they replace. joint False lets each modality attend only to itself.
        clean_first_frame: the first latent frame is noise-free (image to video). Returns tensors shaped as the
        inputs, None for None.
        """
        embedded = self.embed_context(context, voices, voice_positions)
        levels = first_frame_clean(video.shape[2]) if clean_first_frame and video is not None else None
        return self.velocity(video, audio, timestep, embedded, joint=joint, video_levels=levels)

    def embed_context(
        self,
        context: Tensor,
        voices: Sequence[Tensor] | None = None,
        voice_positions: Sequence[Sequence[int]] | None = None,
    ) -> Tensor:
        """Text rows `[B, S, text_dim]`, with voices in the place of rows, as the blocks see them: `[B, text_len, dim]`."""
        length = self.config.text_len
        if context.shape[1] > length:
            raise ValueError(f"context has {context.shape[1]} rows, the model takes at most {length}")
        rows = self.text_embedding(F.pad(context, (0, 0, 0, length - context.shape[1])))
        if voices is None or voice_positions is None:
            return rows
        replaced = []  # not written in place: training differentiates through this
        for row, batch_voices, positions in zip(rows, voices, voice_positions, strict=True):
            count = min(len(batch_voices), len(positions))
            if count:
                index = torch.tensor(list(positions[:count]), device=row.device)
                row = row.index_put((index,), self.speaker_embedding(batch_voices[:count].to(row)))
            replaced.append(row)
        return torch.stack(replaced)

    def velocity(
        self,
        video: Tensor | None,
        audio: Tensor | None,
        timestep: Tensor,
        context: Tensor,
        joint: bool = True,
        video_levels: NoiseLevels | None = None,
        audio_levels: NoiseLevels | None = None,
        options: dict | None = None,
        text_memory: dict | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """As `forward`, with an already embedded context `[B, text_len, dim]`.

        video_levels, audio_levels: how noisy things are (see NoiseLevels); None means fully. options: keyword
        arguments for the attention function. text_memory: a dict that keeps the context's keys and values; give the
        same one to every pass of one sampling run with the same context, and drop it at the end. Unused under gradients.
        """
        size = None if video is None else video.shape[-2:]
        streams, grid = self._tokens(video, audio)
        factors, layout = self._layout(grid, streams, video_levels, audio_levels)
        if torch.is_grad_enabled():  # keys and values of one step's graph are of no use to the next
            text_memory = None
        layout = replace(layout, joint=joint, options=options or {}, text_memory=text_memory)
        shared = None if self.ranks is None else self.ranks.share(layout, self.config)
        if shared is not None:
            streams, layout = shared.own(streams), shared.layout
        t = torch.stack([timestep * factor for factor in factors], dim=1)
        e = self.time_embedding(timestep_sinusoid(t, self.config.freq_dim).to(streams[0].dtype))
        e0 = self.time_projection(e).unflatten(-1, (6, -1))

        begin = self.weights_ahead(streams[0].device, layout.options)
        for block in self.double_blocks:
            begin(block)
            streams = block(streams, e0, context, layout)
        streams = [joined(streams)]
        for block in self.single_blocks:
            begin(block)
            streams = block(streams, e0, context, layout)
        begin(None)

        (x,), n = streams, layout.video_tokens
        video_out = self.head(x[:, :n], e, layout.video_rows) if layout.video_tokens else None
        audio_out = self.head_audio(x[:, n:], e, layout.audio_rows) if layout.audio_tokens else None
        if shared is not None:
            video_out, audio_out = shared.whole(video_out, audio_out)
        if video is not None:
            video_out = self._unpatch(video_out, grid)[..., : size[0], : size[1]]
        return video_out, audio_out

    def weights_ahead(self, device, options: dict) -> Callable[[nn.Module | None], None]:
        """What to call before each block, and with None after the last: a host may bring the next one's weights over."""
        return lambda block: None

    def _tokens(self, video: Tensor | None, audio: Tensor | None) -> tuple[list[Tensor], tuple[int, int, int]]:
        """Tokens `[B, n, dim]` of what is there of [video, audio], and the video's patch grid (T, H, W)."""
        sequence, grid = [], (0, 0, 0)
        if video is not None:
            _, ph, pw = self.config.patch_size
            x = self.patch_embedding(F.pad(video, (0, -video.shape[-1] % pw, 0, -video.shape[-2] % ph)))
            grid = tuple(x.shape[2:])
            sequence.append(x.flatten(2).transpose(1, 2).contiguous())
        if audio is not None:
            sequence.append(self.patch_embedding_audio(audio.transpose(1, 2)).transpose(1, 2).contiguous())
        if not sequence:
            raise ValueError("nothing to denoise: video and audio are both None")
        return sequence, grid

    def _unpatch(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Tokens with features (pt, ph, pw, channel) -> `[B, C, T, H, W]`."""
        x = x.unflatten(1, grid).unflatten(-1, (*self.config.patch_size, -1))
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _layout(self, grid, streams, video_levels, audio_levels) -> tuple[list[float], Layout]:
        """Distinct timestep factors, and the arrangement of tokens that refers to them by row."""
        frames, per_frame = grid[0], grid[1] * grid[2]
        video_tokens = frames * per_frame
        tokens, device = sum(x.shape[1] for x in streams), streams[0].device
        audio_tokens = tokens - video_tokens
        rows = None
        if not isinstance(video_levels, Tensor) and not isinstance(audio_levels, Tensor):
            video_runs, audio_runs = runs_of(video_levels, frames, per_frame), runs_of(audio_levels, audio_tokens)
            covered = sum(length for length, _ in (*video_runs, *audio_runs))
            if covered != tokens:
                raise ValueError(f"noise levels cover {covered} tokens, the input has {tokens}")
            if len(video_runs) + len(audio_runs) <= MOST_SPANS:
                factors = sorted({level for _, level in (*video_runs, *audio_runs)})
                rows = [spans_of(runs, factors) for runs in (video_runs, audio_runs, [*video_runs, *audio_runs])]
        if rows is None:
            video_levels = [1.0] * frames if video_levels is None else video_levels
            audio_levels = [1.0] * audio_tokens if audio_levels is None else audio_levels
            levels = self._token_levels(video_levels, audio_levels, grid, streams[0].shape[0])
            factors = levels.unique().tolist()
            fused = torch.bucketize(levels, torch.tensor(factors)).to(device)
            rows = [fused[:, :video_tokens], fused[:, video_tokens:], fused]
        return factors, Layout(video_tokens, audio_tokens, *rows, self._rotation(grid, audio_tokens, device))

    def _rotation(self, grid, audio_tokens: int, device) -> Tensor:
        """The rotary table; without gradients the last one is kept, for the next pass has the same."""
        c = self.config
        if keeps_values():
            return rope_table(grid, audio_tokens, c.head_dim, c.temporal_rope_scaling_factor, device)
        key = (grid, audio_tokens, device)
        if self._last_rotation is None or self._last_rotation[0] != key:
            table = rope_table(grid, audio_tokens, c.head_dim, c.temporal_rope_scaling_factor, device)
            self._last_rotation = key, table
        return self._last_rotation[1]

    def forget(self) -> None:
        """Free what is kept between passes."""
        self._last_rotation = None

    def _token_levels(self, video_levels: NoiseLevels, audio_levels: NoiseLevels, grid, batch: int) -> Tensor:
        """Levels `[batch, N]` on the CPU, a patch taking the mean of its latent values."""
        if isinstance(video_levels, Tensor):
            _, ph, pw = self.config.patch_size
            video = video_levels.float().cpu()
            video = F.pad(video, (0, -video.shape[-1] % pw, 0, -video.shape[-2] % ph), mode="replicate")
            video = F.avg_pool2d(video, (ph, pw)).flatten(1)
        else:
            video = torch.tensor(list(video_levels))[None].repeat_interleave(grid[1] * grid[2], dim=1)
        audio = torch.as_tensor(audio_levels, dtype=torch.float32).cpu()
        parts = [part if part.ndim == 2 else part[None] for part in (video, audio)]
        levels = [rounded_level(part).repeat(batch // part.shape[0], 1) for part in parts if part.shape[1]]
        return torch.cat(levels, dim=1)


def rounded_level(level):
    """A noise level, number or tensor, on the grid of LEVEL_STEPS."""
    steps = level * LEVEL_STEPS
    return (steps.round() if isinstance(steps, Tensor) else round(steps)) / LEVEL_STEPS


def first_frame_clean(frames: int) -> list[float]:
    return [0.0] + [1.0] * (frames - 1)


def runs_of(levels: Iterable[float] | None, count: int, tokens: int = 1) -> list[tuple[int, float]]:
    """`run_lengths` of rounded levels; None are `count` of 1, said without a list, which a compiler would take for a fixed length."""
    if levels is None:
        return [(count * tokens, 1.0)] if count else []
    return run_lengths(map(rounded_level, levels), tokens)


def run_lengths(levels: Iterable[float], tokens: int = 1) -> list[tuple[int, float]]:
    """[0, 1, 1] -> [(tokens, 0), (2 * tokens, 1)]."""
    runs: list[tuple[int, float]] = []
    for level in levels:
        length = runs.pop()[0] if len(runs) > 0 and runs[-1][1] == level else 0
        runs.append((length + tokens, level))
    return [run for run in runs if run[0]]


def spans_of(runs: Iterable[tuple[int, float]], factors: list[float]) -> tuple[Span, ...]:
    """Stretches of equal noise with the row of their timestep, see `Layout`; equal neighbours become one."""
    spans: list[Span] = []
    start = 0
    for length, level in runs:
        row = factors.index(level)
        merge = len(spans) > 0 and spans[-1][2] == row
        spans.append((spans.pop()[0] if merge else start, start + length, row))
        start += length
    return tuple(spans)
