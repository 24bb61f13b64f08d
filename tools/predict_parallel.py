"""What a step would take over several cards, computed from shapes and stated rates; nothing here is measured.

python tools/predict_parallel.py     # the table of docs/parallel.md
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nava_core import NavaConfig
from nava_core.parallel import parts_of, sent_in_block
from nava_core.sizes import ClipLength

RATE = 400e12  # FLOP/s that a card reaches in bf16 (assumed)
LINKS = {"switched links, 400 GB/s": 400e9, "PCIe, 25 GB/s": 25e9}  # what a card sends a second (assumed)
PASSES = 3  # a step without voices: prompt, negative prompt, picture and sound apart
LATENT = 44, 80  # of 1280x704


def operations(config: NavaConfig, tokens: int, mine: int) -> float:
    """FLOP of a rank in one pass: `mine` of the tokens, and as large a part of the attention."""
    d = config.dim
    each = 12 * d * d + 4 * tokens * d + 4 * config.text_len * d + 4 * d * config.ffn_dim
    blocks = config.num_double_layers + config.num_single_layers
    return blocks * (mine * each + 4 * config.text_len * d * d)


def main() -> None:
    config = NavaConfig()
    print("| clip | cards | FLOP of a card in a pass | sent by a card in a pass |", end="")
    print(*(f" step, {link} |" for link in LINKS))
    print("|---|---|---|---|" + "---|" * len(LINKS))
    for frames in (145, 241):
        length = ClipLength.nearest(frames)
        tokens = length.latent_frames * (LATENT[0] // 2) * (LATENT[1] // 2) + length.audio_steps
        for cards in (1, 2, 4, 8):
            work = operations(config, tokens, parts_of(tokens, cards)[0])
            blocks = config.num_double_layers + config.num_single_layers
            sent = blocks * sent_in_block(tokens, 0, cards, config, 2)
            steps = [f"{PASSES * (work / RATE + sent / link):.2f} s" for link in LINKS.values()]
            print(
                f"| {frames} frames, {tokens:,} tokens | {cards} | {work / 1e12:.0f} T | {sent / 1e9:.2f} GB |",
                " | ".join(steps),
                "|",
            )


if __name__ == "__main__":
    main()
