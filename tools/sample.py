"""Sample one clip without ComfyUI, over as many processes as `accelerate launch` starts (docs/parallel.md).

    accelerate launch --multi_gpu --num_processes 2 tools/sample.py MODEL JOB.safetensors CLIP.safetensors

JOB holds tensors named as the arguments of `nava_core.sample`: noise_video `[1, C, T, H, W]`, noise_audio `[1, L, C]` (one of them may be
missing), positive and negative `[1, S, text_dim]`, and if wanted first_frame and voices `[n, 192]`; its metadata may say `steps` and
`voice_positions` (a JSON list). CLIP gets the latents `video` and `audio`.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nava_core
from nava_core.parallel import Ranks

TENSORS = ("noise_video", "noise_audio", "positive", "negative", "first_frame")


def read_job(path: Path, device: torch.device) -> dict:
    """Arguments of `nava_core.sample`. Raises ValueError saying what is wrong with the file."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            job, notes = {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"JOB: {path.name} cannot be read ({error})") from error
    unknown, missing = job.keys() - {*TENSORS, "voices"}, {"positive", "negative"} - job.keys()
    if unknown or missing or not job.keys() & {"noise_video", "noise_audio"}:
        raise ValueError(
            f"JOB: {path.name} holds {sorted(job)}; it needs positive, negative and noise_video or noise_audio"
        )
    voices, positions = job.pop("voices", None), json.loads(notes.get("voice_positions", "[]"))
    found = {k: job.get(k) for k in TENSORS}
    if voices is not None:
        found |= {"voices": [voices], "voice_positions": [positions]}
    return found | {"sigmas": nava_core.flow_sigmas(int(notes.get("steps", 50)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a NAVA checkpoint")
    parser.add_argument("job", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    if given.clip.exists():
        sys.exit(f"CLIP: {given.clip} is there already; name another file")
    state = PartialState(cpu=not torch.cuda.is_available())
    dtype = getattr(torch, given.dtype)
    device = state.device if state.device.type != "cpu" else torch.device("cpu")  # safetensors knows no cpu:0
    job = read_job(given.job, device)
    model = nava_core.load_transformer(given.model, dtype, device)
    if state.num_processes > 1:
        model.ranks = Ranks()
    job = {k: v.to(dtype) if torch.is_tensor(v) and k != "sigmas" else v for k, v in job.items()}

    def report(step: int, x0: torch.Tensor, x: torch.Tensor, steps: int) -> None:
        if state.is_main_process:
            print(f"step {step + 1} of {steps}", end="\n" if step + 1 == steps else "\r", flush=True)

    video, audio = nava_core.sample(model, **job, guidance=nava_core.Guidance(), callback=report)
    if state.is_main_process:
        found = {k: v.float().contiguous().cpu() for k, v in (("video", video), ("audio", audio)) if v is not None}
        save_file(found, given.clip)
        print(f"{given.clip}, made by {state.num_processes} processes on {device.type}")
    state.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(str(error))
