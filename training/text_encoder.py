"""A small umT5 text encoder that is trained with the transformer, and its SentencePiece model.

The host's class adds in place, which gradients do not survive; this one has the same names and gives the same numbers.
"""

import io
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from comfy.text_encoders.t5 import T5Attention
from torch import Tensor, nn

from nava_core import prompt as prompts

from .world import captions


def train_pieces(lines: list[str], size: int) -> bytes:
    """A SentencePiece model with umT5's special ids (pad 0, eos 1, unk 2) for this text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type="bpe", character_coverage=1.0,
        hard_vocab_limit=False, byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def train(config: dict, folder: Path) -> None:
    """config: size. Writes pieces.model, the small world's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [piece for text in captions.corpus() for piece in prompts.parse(text).pieces]
    (folder / "pieces.model").write_bytes(train_pieces(lines, config["size"]))


class Layer(nn.Module):
    """Norm, then one of umT5's two sublayers, plus skip."""

    def __init__(self, width: int, name: str, inner: nn.Module):
        super().__init__()
        self.layer_norm = nn.RMSNorm(width, eps=1e-6)
        self.name = name
        setattr(self, name, inner)

    def forward(self, x: Tensor, *given) -> Tensor:
        return x + getattr(self, self.name)(self.layer_norm(x), *given)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        for name in "qkvo":
            setattr(self, name, nn.Linear(width, width, bias=False))
        self.relative_attention_bias = nn.Embedding(32, heads)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask `[B, 1, 1, S]`: 0 or minus infinity. Scores are not scaled (T5)."""
        place = torch.arange(x.shape[1], device=x.device)
        bucket = T5Attention._relative_position_bucket(place[None] - place[:, None])
        bias = self.relative_attention_bias(bucket).permute(2, 0, 1)[None] + mask
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v, bias, scale=1.0).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.wi_0, self.wi_1 = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.wo = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class TextEncoder(nn.Module):
    """Prompts -> rows `[B, longest, width]` (zero past each end token), with the voice positions of every prompt."""

    def __init__(self, pieces: bytes, width: int, layers: int, heads: int, hidden: int):
        super().__init__()
        self.pieces = pieces
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=pieces)
        self.shared = nn.Embedding(self.processor.get_piece_size() + 300, width)
        self.encoder = nn.Module()
        self.encoder.block = nn.ModuleList()
        for _ in range(layers):
            block = nn.Module()
            block.layer = nn.ModuleList([
                Layer(width, "SelfAttention", SelfAttention(width, heads)),
                Layer(width, "DenseReluDense", FeedForward(width, hidden)),
            ])  # fmt: skip
            self.encoder.block.append(block)
        self.encoder.final_layer_norm = nn.RMSNorm(width, eps=1e-6)
        for name, parameter in self.named_parameters():
            if "relative_attention_bias" in name:
                nn.init.normal_(parameter, std=0.1)
            elif parameter.ndim > 1 and "shared" not in name:
                nn.init.normal_(
                    parameter, std=parameter.shape[1] ** -0.5 * (0.2 if name.endswith(".q.weight") else 1.0)
                )

    def tokenize(self, texts: list[str], text_len: int) -> tuple[list[list[int]], list[list[int]]]:
        """(ids with the end token, rows of the spoken lines' sentinels) of every prompt."""
        tokens = [
            prompts.tokenize(prompts.parse(t), self.encode_piece, self.processor.get_piece_size(), text_len)
            for t in texts
        ]
        return [t.ids for t in tokens], [[p for p in t.positions if p is not None] for t in tokens]

    def encode_piece(self, text: str) -> list[int]:
        return self.processor.encode(text, add_bos=False, add_eos=False)

    def forward(self, ids: list[list[int]]) -> Tensor:
        longest = max(map(len, ids))
        device = self.shared.weight.device
        there = (torch.arange(longest) < torch.tensor([len(i) for i in ids])[:, None]).to(device)
        x = self.shared(torch.tensor([i + [0] * (longest - len(i)) for i in ids], device=device))
        mask = torch.zeros(there.shape, device=device).masked_fill(~there, torch.finfo(torch.float32).min)[
            :, None, None
        ]
        for block in self.encoder.block:
            x = block.layer[1](block.layer[0](x, mask))
        return self.encoder.final_layer_norm(x) * there[..., None]

    def weights(self) -> dict[str, Tensor]:
        """As a umT5 file for the host holds them, tokenizer included."""
        return {**self.state_dict(), "spiece_model": torch.frombuffer(bytearray(self.pieces), dtype=torch.uint8)}
