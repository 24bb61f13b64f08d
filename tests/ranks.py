"""Run by test_parallel.py: the same passes over 2, 3, … processes.

    python ranks.py FOLDER MOST PORT

starts MOST processes; each writes FOLDER/RANK.pt: {ranks: (outputs by case, bytes sent in each exchange by case)}. Before that the
first two run tools/sample.py on FOLDER/job.safetensors, told of each other as `accelerate launch` tells, with that port.
"""

import os
import runpy
import sys
from pathlib import Path

import accelerate  # noqa: F401  (once, before the processes part)
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from support import DATA, ROOT, metadata, sampling_case

import nava_core

SPEAKERS = ("timbre", "timbre_second_zero", "spk_without_pos", "i2v_timbre_masked", "audio_only_timbre")
GOLDEN = (*SPEAKERS, "joint", "masked", "i2v", "video_only", "audio_only")
LOOPS = ("timbre", "t2a_timbre")
# heads that no number of ranks divides; odd frames are padded by the model itself
FIVE_HEADS = nava_core.NavaConfig(
    dim=60, num_heads=5, num_double_layers=2, num_single_layers=2, ffn_dim=96, freq_dim=32, text_dim=24, text_len=8,
    vid_in_dim=6, vid_out_dim=6, audio_in_dim=8, audio_out_dim=8,
)  # fmt: skip
# batch, (frames, height, width), audio tokens: the border inside a stretch, at its edge, a rank of sound only, fewer
# tokens than ranks, next to no picture, next to no sound
ODD = {
    "odd": (1, (3, 5, 7), 11),
    "even": (1, (2, 4, 4), 8),
    "batch": (2, (2, 3, 6), 5),
    "fewer": (1, (1, 2, 2), 1),
    "as many": (1, (1, 2, 4), 2),
    "sound": (1, (1, 2, 2), 31),
    "picture": (1, (5, 4, 6), 1),
    "lone sound": (2, None, 7),
    "lone picture": (1, (3, 2, 6), 0),
}


def passes(model, five_heads) -> dict[str, tuple]:
    """Name -> (model, arguments of its `velocity`)."""
    g, positions = load_file(DATA / "transformer.safetensors"), metadata("transformer")["spk_pos"]
    found = {}
    for case in GOLDEN:
        voices = None
        if case in SPEAKERS and case != "spk_without_pos":
            voices = [g["spk_embed_second_zero" if case.endswith("zero") else "spk_embed"]]
        found[case] = (
            model,
            {
                "video": None if case.startswith("audio_only") else g["video"][None],
                "audio": None if case == "video_only" else g["audio"][None],
                "timestep": g["timestep"],
                "context": model.embed_context(g["context"][None], voices, voices and [positions]),
                "joint": "masked" not in case,
                "video_levels": [0.0] + [1.0] * (g["video"].shape[1] - 1) if "i2v" in case else None,
            },
        )
    random = torch.Generator().manual_seed(3)
    for name, (batch, frames, sound) in ODD.items():
        video = None if frames is None else torch.randn(batch, 6, *frames, generator=random)
        audio = torch.randn(batch, sound, 8, generator=random) if sound else None
        shared = {
            "video": video,
            "audio": audio,
            "timestep": torch.rand(batch, generator=random) * 1000,
            "context": five_heads.embed_context(torch.randn(batch, 5, 24, generator=random)),
        }
        levels = {}
        if frames is not None:
            levels["video_levels"] = (torch.rand(batch, *frames, generator=random) * 4).round() / 4
        if sound:
            levels["audio_levels"] = [i % 3 / 2 for i in range(sound)]
        found[name] = five_heads, shared
        found[name + ", apart"] = five_heads, {**shared, "joint": False}
        found[name + ", levels"] = five_heads, {**shared, **levels}
    return found


def models():
    torch.manual_seed(5)
    five_heads = nava_core.NavaTransformer(FIVE_HEADS).requires_grad_(False)
    for parameter in five_heads.parameters():
        parameter.normal_(std=0.1)
    return nava_core.load_transformer(DATA / "nava_tiny.safetensors"), five_heads


def through_the_tool(rank: int, folder: Path, port: int) -> None:
    """tools/sample.py as one of two processes."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    sys.argv = [
        "sample.py",
        str(DATA / "nava_tiny.safetensors"),
        *(f"{folder}/{n}.safetensors" for n in ("job", "clip")),
    ]
    runpy.run_path(str(ROOT / "tools" / "sample.py"), run_name="__main__")


def main(rank: int, folder: Path, most: int, port: int) -> None:
    from nava_core import parallel

    torch.set_num_threads(1)
    if rank < 2:
        through_the_tool(rank, folder, port)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=most)
    sent = []
    exchange = dist.all_to_all_single

    def counted(output, message, received, given, group=None):
        me = dist.get_rank(group)
        sent.append((sum(given) - given[me]) * message.element_size())
        return exchange(output, message, received, given, group=group)

    dist.all_to_all_single = counted
    model, five_heads = models()
    half = nava_core.load_transformer(DATA / "nava_tiny.safetensors", dtype=torch.bfloat16)
    cases = passes(model, five_heads)
    loops = {
        name: sampling_case(load_file(DATA / "sampling.safetensors"), metadata("sampling"), name) for name in LOOPS
    }
    results = {}
    with torch.inference_mode():
        for ranks in range(2, most + 1):
            group = dist.new_group(range(ranks))
            if rank >= ranks:
                continue
            model.ranks = five_heads.ranks = parallel.Ranks(group)
            found, counts = {}, {}
            for name, (own, arguments) in cases.items():
                sent.clear()
                found[name], counts[name] = own.velocity(**arguments), list(sent)
            for name, arguments in loops.items():
                found[name] = nava_core.sample(model, **arguments)
            bf16 = {k: v.bfloat16() if torch.is_tensor(v) else v for k, v in cases["masked"][1].items()}
            half.ranks = model.ranks
            found["bf16"] = half.velocity(**bf16)
            results[ranks] = found, counts
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    from torch.multiprocessing import start_processes

    most = int(sys.argv[2])
    start_processes(
        main, (Path(sys.argv[1]), most, int(sys.argv[3])), nprocs=most, start_method="fork"
    )  # torch is imported once
