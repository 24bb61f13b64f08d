"""One pass of the transformer over several processes: Ulysses sequence parallelism (arXiv 2309.14509).

Every process (rank) has all weights and is given the same inputs. The sequence [video; audio] is cut into contiguous stretches, one
a rank and as even as whole tokens allow; everything but self-attention is local to a token. For self-attention one exchange
takes q, k and v from "my tokens, all heads" to "all tokens, my heads", and one takes what was seen back. Nothing is padded, and heads need not
divide by the ranks either: the exchanges carry pieces of different sizes.

Messages lie in the order of the sequence, which is the order of the ranks, so what arrives *is* the whole sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor

from .blocks import Layout, within
from .config import NavaConfig


def parts_of(count: int, ranks: int) -> list[int]:
    """How many of `count` things each rank takes; the first ones take one more where it does not divide."""
    return [count // ranks + (rank < count % ranks) for rank in range(ranks)]


def sent_in_block(tokens: int, rank: int, ranks: int, config: NavaConfig, itemsize: int, batch: int = 1) -> int:
    """Bytes that a rank sends to the others in one block: q, k, v of its tokens, and what its heads saw of theirs."""
    mine, heads = parts_of(tokens, ranks)[rank], parts_of(config.num_heads, ranks)[rank]
    values = 3 * mine * (config.num_heads - heads) + (tokens - mine) * heads
    return values * config.head_dim * itemsize * batch


@dataclass(frozen=True)
class Ranks:
    """The processes that work on a pass together; set as `NavaTransformer.ranks` in each of them.

    group: of `torch.distributed`, of any backend that has all_to_all (gloo, NCCL); None is the default one. Every rank must run the
    same passes in the same order with the same inputs.
    """

    group: dist.ProcessGroup | None = None

    def share(self, layout: Layout, config: NavaConfig) -> "Share | None":
        """This rank's share of a pass; None where the sequence has fewer tokens than there are ranks: then each computes all of it."""
        rank, ranks = dist.get_rank(self.group), dist.get_world_size(self.group)
        tokens = layout.video_tokens + layout.audio_tokens
        return None if ranks == 1 or tokens < ranks else Share(self.group, rank, ranks, layout, config)


class Share:
    """A rank's stretch of the sequence in one pass, and the exchanges with the others."""

    def __init__(self, group: dist.ProcessGroup | None, rank: int, ranks: int, whole: Layout, config: NavaConfig):
        self.group, self.rank, self.config = group, rank, config
        n = whole.video_tokens
        self.tokens = parts_of(n + whole.audio_tokens, ranks)  # of each rank
        self.heads = parts_of(config.num_heads, ranks)
        ends = list(accumulate(self.tokens))
        # (video, audio) tokens of each rank; only one of them can have both, or the border at its edge
        self.streams = [
            (min(end, n) - min(end - count, n), max(end, n) - max(end - count, n))
            for end, count in zip(ends, self.tokens, strict=True)
        ]
        self.start, self.end = ends[rank] - self.tokens[rank], ends[rank]
        self.spans = [n, whole.audio_tokens] if whole.masked else [n + whole.audio_tokens]
        video, audio = self.streams[rank]
        self.layout = replace(
            whole,
            video_tokens=video,
            audio_tokens=audio,
            video_rows=within(whole.video_rows, self.start, self.start + video),
            audio_rows=within(whole.audio_rows, self.end - n - audio, self.end - n) if audio else (),
            fused_rows=within(whole.fused_rows, self.start, self.end),
            rotation=whole.rotation[:, self.start : self.end],
            attention=self.attention,
        )

    def own(self, streams: list[Tensor]) -> list[Tensor]:
        """This rank's tokens of the streams `[B, n, dim]` that are there, as copies: the whole ones can go."""
        if any(x.requires_grad for x in streams):
            raise RuntimeError("a pass over several processes has no gradients: it is for sampling only")
        found, start = [], 0
        for x in streams:
            a, b = (min(max(edge - start, 0), x.shape[1]) for edge in (self.start, self.end))
            start += x.shape[1]
            if b > a:
                found.append(x[:, a:b].clone(memory_format=torch.contiguous_format))
        return found

    def attention(
        self,
        attend: Callable[..., Tensor],
        q: list[Tensor],
        k: list[Tensor],
        v: list[Tensor],
        heads: int,
        layout: Layout,
    ) -> list[Tensor]:
        """As `blocks.attention_here`, for parts of this rank's stretch. Two exchanges, whatever the parts."""
        sizes = [x.shape[1] for x in q]
        whole = self._to_heads(q, k, v)
        mine = self.heads[self.rank]
        if mine:
            spans = zip(*(x.split(self.spans, dim=1) for x in whole), strict=True)
            seen = [attend(*qkv, mine, **layout.options) for qkv in spans]
        else:  # more ranks than heads
            seen = [whole[0]]
        del whole
        return list(self._to_tokens(seen).split(sizes, dim=1))

    def whole(self, video: Tensor | None, audio: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What the heads made of every rank's tokens, from what they made of this one's: `[B, N_v, width]`, `[B, N_a, width]`."""
        patch = self.config.patch_size
        widths = self.config.vid_out_dim * patch[0] * patch[1] * patch[2], self.config.audio_out_dim
        there = [x for x in (video, audio) if x is not None]
        batch = there[0].shape[0]
        message = torch.cat([x.flatten() for x in there])
        sizes = [batch * sum(n * w for n, w in zip(counts, widths, strict=True)) for counts in self.streams]
        found = self._exchanged(message.repeat(len(sizes)), [message.numel()] * len(sizes), sizes)
        out: tuple[list[Tensor], list[Tensor]] = [], []
        for piece, counts in zip(found.split(sizes), self.streams, strict=True):
            values = piece.split([batch * n * w for n, w in zip(counts, widths, strict=True)])
            for stream, value, count, width in zip(out, values, counts, widths, strict=True):
                if count:
                    stream.append(value.view(batch, count, width))
        return tuple(torch.cat(stream, dim=1) if stream else None for stream in out)

    def _to_heads(self, *qkv: list[Tensor]) -> list[Tensor]:
        """Lists of `[B, n, H * d]`, of this rank's parts, are emptied -> as many `[B, N, h * d]`, of this rank's heads."""
        batch, d, count = qkv[0][0].shape[0], self.config.head_dim, len(qkv)
        mine, own = self.tokens[self.rank], self.heads[self.rank]
        sent = [mine * batch * count * heads * d for heads in self.heads]
        message = qkv[0][0].new_empty(sum(sent))
        for piece, first, heads in zip(message.split(sent), offsets(self.heads), self.heads, strict=True):
            piece = piece.view(mine, batch, count, heads * d)
            for i, parts in enumerate(qkv):
                start = 0
                for x in parts:
                    end = start + x.shape[1]
                    piece[start:end, :, i].copy_(x[..., first * d : (first + heads) * d].transpose(0, 1))
                    start = end
        for parts in qkv:
            parts.clear()
        found = self._exchanged(message, sent, [n * batch * count * own * d for n in self.tokens])
        return [x.transpose(0, 1) for x in found.view(sum(self.tokens), batch, count, own * d).unbind(2)]

    def _to_tokens(self, seen: list[Tensor]) -> Tensor:
        """A list of `[B, n, h * d]` that cover the sequence, for this rank's heads -> `[B, n, H * d]` of its tokens. The list is emptied."""
        batch, d = seen[0].shape[0], self.config.head_dim
        mine, own = self.tokens[self.rank], self.heads[self.rank]
        message = torch.cat([x.transpose(0, 1) for x in seen]).flatten()
        seen.clear()
        received = [mine * batch * heads * d for heads in self.heads]
        found = self._exchanged(message, [n * batch * own * d for n in self.tokens], received)
        pieces = zip(found.split(received), self.heads, strict=True)
        return torch.cat([piece.view(mine, batch, heads * d) for piece, heads in pieces], dim=2).transpose(0, 1)

    def _exchanged(self, message: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """`message` holds `sent` values for each rank in turn; returned are `received` values from each."""
        found = message.new_empty(sum(received))
        dist.all_to_all_single(found, message, list(received), list(sent), group=self.group)
        return found


def offsets(counts: Sequence[int]) -> list[int]:
    """Where each of these begins: [2, 2, 1] -> [0, 2, 4]."""
    return [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
