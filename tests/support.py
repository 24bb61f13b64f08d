"""What several tests share."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
HOST = Path(os.environ["NAVA_HOST"])

SAMPLING_CASES = (
    "t2av",
    "t2av_noalign",
    "timbre",
    "timbre_noalign",
    "timbre_nocfg",
    "i2av",
    "i2av_timbre",
    "t2a_timbre",
)


def metadata(name: str) -> dict:
    """The metadata of a file of golden numbers."""
    with safe_open(DATA / f"{name}.safetensors", framework="pt") as file:
        return {k: json.loads(v) if v[0] in "[{" else v for k, v in file.metadata().items()}


def sampling_case(g, metadata, name):
    """Arguments of nava_core.sample for a golden sampling loop."""
    import nava_core

    case = metadata["cases"][name]
    audio_only, aligned, voiced = case.get("audio_only", False), case["align"], bool(case["spk"])
    guidance = nava_core.Guidance(
        video_text=3.0 if aligned else 2.0,
        video_align=3.0 if aligned else 0.0,
        audio_text=2.0 if aligned or voiced else 1.0,
        audio_align=2.0 if aligned else 0.0,
        audio_timbre=3.0 if case["timbre"] else 0.0,
    )
    return {
        "noise_video": None if audio_only else g[f"{name}.noise_video"].permute(3, 0, 1, 2)[None],
        "noise_audio": g[f"{name}.noise_audio"][None],
        "positive": g["positive_context"][None],
        "negative": g["negative_audio_context" if audio_only else "negative_video_context"][None],
        "sigmas": nava_core.flow_sigmas(case["steps"]),
        "guidance": guidance,
        "voices": [g["spk_embed"]] if voiced else None,
        "voice_positions": [metadata["spk_pos"]] if voiced else None,
        "first_frame": g["first_frame_latent"].permute(3, 0, 1, 2)[None] if case["is_i2v"] else None,
    }


def sampling_error(g, name, video, audio, first_frame):
    errors = [(audio[0] - g[f"{name}.final_audio"]).abs().max().item()]
    if video is not None:
        skip = 0 if first_frame is None else 1  # the released loop lets the first frame drift in its last step
        difference = (video[0].permute(1, 2, 3, 0) - g[f"{name}.final_video"])[skip:]
        errors.append(difference.abs().max().item())
        if first_frame is not None:
            assert torch.equal(video[:, :, :1], first_frame)
    return max(errors)


def one_loop() -> float:
    """Seconds of processor time that this machine takes for a million steps of Python now: what limits are counted in."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        sum(ord(c) for c in "ab" * 500_000)
        taken.append(time.process_time() - start)
    return min(taken)


def read_fast(readers: dict[str, Callable]) -> None:
    """Each must take no longer than eight million steps of Python, in one of three tries at least."""
    limit = 8 * one_loop()
    for name, read in readers.items():
        taken = []
        for _ in range(3):
            start = time.process_time()
            read()
            taken.append(time.process_time() - start)
            if taken[-1] < limit:
                break
        assert min(taken) < limit, (name, taken, limit)
