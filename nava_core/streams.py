"""Which stream a part of the transformer serves: picture, sound, or both (paper section 3.1)."""

import re

PICTURE, SOUND, SHARED = STREAMS = ("picture", "sound", "shared")

SOUND_PART = re.compile(r"(^|\.)(\w+_audio)\.")
PICTURE_PART = re.compile(r"^(patch_embedding|head)\.|^double_blocks\.\d+\.(modulation|self_attn|cross_attn)\.")


def stream_of(key: str) -> str:
    """The stream that a weight (unprefixed name, such as `double_blocks.0.self_attn.q.weight`) works on.

    Alignment blocks keep attention and modulation apart for each stream; their norm3 and feed-forward, all of the fusion
    blocks, and what text, voices and timestep pass through serve both.
    """
    if SOUND_PART.search(key):
        return SOUND
    return PICTURE if PICTURE_PART.match(key) else SHARED
