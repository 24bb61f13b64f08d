"""A pass over several processes gives what one gives, and sends what the formula says."""

import json
import os
import subprocess
import sys

import pytest
import ranks
import torch
from accelerate.commands.launch import launch_command_parser
from comfy_server import free_port
from safetensors.torch import load_file, save_file
from support import DATA, ROOT, metadata, sampling_case

import nava_core
from nava_core import parallel

MOST = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder with what the processes wrote, what they printed), see ranks.py."""
    folder = tmp_path_factory.mktemp("ranks")
    arguments = sampling_case(load_file(DATA / "sampling.safetensors"), metadata("sampling"), "timbre")
    job = {k: arguments[k] for k in ("noise_video", "noise_audio", "positive", "negative")}
    job["voices"] = arguments["voices"][0]
    notes = {"voice_positions": json.dumps(arguments["voice_positions"][0]), "steps": str(len(arguments["sigmas"]) - 1)}
    save_file({k: v.contiguous() for k, v in job.items()}, folder / "job.safetensors", notes)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, ROOT / "tests" / "ranks.py", folder, str(MOST), str(free_port())]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done.stdout


@pytest.fixture(scope="module")
def spread(run):
    """Of each rank: {ranks: (outputs by case, bytes sent in each exchange by case)}."""
    return [torch.load(run[0] / f"{rank}.pt") for rank in range(MOST)]


@pytest.fixture(scope="module")
def alone():
    """What one process gives: (outputs by case, (model, arguments) by case)."""
    with torch.inference_mode():
        model, five_heads = ranks.models()
        cases = ranks.passes(model, five_heads)
        found = {name: own.velocity(**arguments) for name, (own, arguments) in cases.items()}
        for name in ranks.LOOPS:
            arguments = sampling_case(load_file(DATA / "sampling.safetensors"), metadata("sampling"), name)
            found[name] = nava_core.sample(model, **arguments)
        return found, cases


def difference(found, wanted) -> float:
    errors = [0.0]
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape and a.dtype == b.dtype
            errors.append((a - b).abs().max().item())
    return max(errors)


@pytest.mark.parametrize("count", range(2, MOST + 1))
def test_passes_are_those_of_one_process(spread, alone, count):
    wanted, cases = alone
    worst = 0.0
    for name in cases:
        outputs = [spread[rank][count][0][name] for rank in range(count)]
        assert all(difference(found, outputs[0]) == 0 for found in outputs), (
            "the ranks must go on with the same numbers"
        )
        error = difference(outputs[0], wanted[name])
        assert error < 1e-5, (name, error)
        worst = max(worst, error)
    print(f"{len(cases)} passes over {count} processes: max error {worst:.1e}")


@pytest.mark.parametrize("count", range(2, MOST + 1))
def test_whole_runs_are_those_of_one_process(spread, alone, count):
    for name in ranks.LOOPS:
        error = difference(spread[0][count][0][name], alone[0][name])
        print(f"{name} over {count} processes: max error {error:.1e}")
        assert error < 1e-4


@pytest.mark.parametrize("count", range(2, MOST + 1))
def test_bytes_sent(spread, alone, count):
    """Two exchanges a block whatever the streams and one at the end, as long as the formula says."""
    for name, (model, arguments) in alone[1].items():
        c, video, audio = model.config, arguments["video"], arguments["audio"]
        picture = 0 if video is None else video.shape[2] * -(-video.shape[3] // 2) * -(-video.shape[4] // 2)
        tokens, batch = picture + (0 if audio is None else audio.shape[1]), arguments["timestep"].shape[0]
        blocks = c.num_double_layers + c.num_single_layers
        ends = 0
        for rank in range(count):
            sent = spread[rank][count][1][name]
            if tokens < count:
                assert not sent
                continue
            assert len(sent) == 2 * blocks + 1
            *exchanges, end = sent
            assert sum(exchanges) == blocks * parallel.sent_in_block(tokens, rank, count, c, 4, batch)
            ends += end
        if tokens >= count:
            values = picture * c.vid_out_dim * 4 + (tokens - picture) * c.audio_out_dim
            assert ends == values * batch * (count - 1) * 4


def test_formula_of_the_released_model():
    """The figures of docs/parallel.md: 37 latent frames of 44x80, 152 audio tokens, bf16."""
    c = nava_core.NavaConfig()
    for count, megabytes in ((1, 0), (2, 201), (4, 151), (8, 88)):
        assert round(parallel.sent_in_block(32_712, 0, count, c, 2) / 1e6) == megabytes


@pytest.mark.parametrize("count", range(2, MOST + 1))
def test_half_precision_is_as_near_as_one_process(spread, alone, count):
    """bf16 over ranks differs from float32 no more than bf16 in one process does."""
    wanted, cases = alone
    model = nava_core.load_transformer(DATA / "nava_tiny.safetensors", dtype=torch.bfloat16)
    arguments = {k: v.bfloat16() if torch.is_tensor(v) else v for k, v in cases["masked"][1].items()}
    own = difference([x.float() for x in model.velocity(**arguments)], wanted["masked"])
    found = difference([x.float() for x in spread[0][count][0]["bf16"]], wanted["masked"])
    print(f"bf16: {found:.1e} over {count} processes, {own:.1e} in one")
    assert found < 1.5 * own


def test_gradients_are_refused():
    with torch.inference_mode(False), torch.enable_grad():
        layout = nava_core.transformer.Layout(
            4, 2, ((0, 4, 0),), ((0, 2, 0),), ((0, 6, 0),), torch.zeros(1, 6, 1, 2, 2, 2)
        )
        share = parallel.Share(None, 1, 2, layout, nava_core.NavaConfig())
        with pytest.raises(RuntimeError, match="sampling only"):
            share.own([torch.zeros(1, 4, 8, requires_grad=True), torch.zeros(1, 2, 8)])
        assert [x.shape[1] for x in share.own([torch.zeros(1, 4, 8), torch.zeros(1, 2, 8)])] == [1, 2]


def test_the_tool_over_two_processes(run, alone):
    """tools/sample.py, told of its processes as accelerate's launcher tells."""
    folder, printed = run
    assert "2 processes" in printed
    clip = load_file(folder / "clip.safetensors")
    assert difference((clip["video"], clip["audio"]), alone[0]["timbre"]) < 1e-4


def test_accelerate_knows_the_commands():
    """Those of docs/parallel.md, read by the launcher's own parser."""
    page = (ROOT / "docs" / "parallel.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = [line.split()[2:] for line in page.splitlines() if line.strip().startswith("accelerate launch")]
    assert len(commands) == 2
    for words in commands:
        given = launch_command_parser().parse_args(words)
        assert (
            given.multi_gpu and given.training_script == "tools/sample.py" and "--dtype" in given.training_script_args
        )
    assert (given.num_machines, given.num_processes, given.main_process_port) == (2, 4, 29500)
