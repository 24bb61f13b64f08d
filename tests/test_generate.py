"""run.py generate and serve: lines that cannot be made, a batch whose worker is killed, a server told to stop.

Both start `serve`, whose folder is one for all: they stay in one file, which is one worker's.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import clips
import environment
import generate
import jobs
import pytest
import small_set
import tiny
from comfy_server import Server, free_port
from support import HOST, ROOT
from workflow import WorkflowError

SHORT = {"size": "64x64", "seconds": 0.5, "set": ["NavaScheduler.steps=1"]}


@pytest.fixture
def folder(tmp_path):
    for name in ("anna.wav", "ben.wav", "example.png", "example_last.png"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def listed(folder, *lines):
    file = folder / "jobs.jsonl"
    file.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8")
    return jobs.read(file, "nava_text_to_av")


def test_every_bad_line_is_named(folder):
    bad = {
        '{"prompt": ': "not JSON",
        "[1]": "expected an object",
        '{"promt": "a"}': "nothing is called promt; a line may set prompt, seed",
        '{"prompt": ""}': "prompt: '' is not a text",
        '{"seed": -1}': "seed: -1 is not a whole number",
        '{"seed": true}': "seed: True is not",
        '{"size": "wide"}': 'is not a size such as "1280x704"',
        '{"seconds": 0}': "seconds: 0 is not a number of seconds up to 30",
        '{"picture": "none.png"}': "picture: there is no file",
        '{"voices": ["anna.wav"]}': "they are for a prompt of the same line",
        '{"prompt": "Rain.", "voices": ["anna.wav"]}': "1 recordings for 0 spoken lines",
        '{"prompt": "<S:Anna>a<E>", "voices": {"Anna": null}}': "every name needs a recording",
        '{"workflow": "nowhere"}': "there is no file nowhere",
        '{"prefix": "../a"}': "is not a name, or folders and a name",
        '{"set": "A.b=1"}': "expected a list such as",
    }
    with pytest.raises(jobs.JobError) as error:
        listed(folder, '{"prompt": "good"}', *bad)
    for number, (line, message) in enumerate(zip(str(error.value).splitlines(), bad.values(), strict=True), 2):
        assert line.startswith(f"line {number}") and message in line
    with pytest.raises(jobs.JobError, match="it holds no jobs"):
        listed(folder)


def test_a_job_is_what_it_sets(folder):
    line = {"prompt": "She says <S>yes<E>", "voices": ["anna.wav"], "picture": "example.png", "set": ["A.b=1"]}
    others = [{**line, **more} for more in (
        {"seed": 0}, {"prompt": "x <S>yes<E>"}, {"voices": ["ben.wav"]}, {"voices": {"": "ben.wav"}}, {"voices": []}, {"picture": "example_last.png"},
        {"size": "64x64"}, {"seconds": 1}, {"set": []}, {"prefix": "b"}, {"workflow": "nava_image_to_av"},
    )]  # fmt: skip
    marks = [job.identity("models") for job in listed(folder, line, dict(reversed(line.items())), *others)]
    assert marks[0] == marks[1] and len(set(marks)) == len(others)
    assert listed(folder, line)[0].identity("other models") != marks[0]


def test_what_a_line_sets_is_in_the_graph(folder, object_info):
    (job,) = listed(
        folder,
        {
            "workflow": "nava_image_to_av", "prompt": "<S>a<E> <S>b<E>", "seed": 5, "size": "96x64", "seconds": 2, "picture": "example.png",
            "voices": [None, "ben.wav"], "set": ["NavaGuider.video_align=0"],
        },
    )  # fmt: skip
    template = generate.Templates(object_info, small_set.RANDOM)
    graph = template(job, lambda file: f"given {file.name}")

    def inputs(kind):
        (found,) = [n["inputs"] for n in graph.values() if n["class_type"] == kind]
        return found

    assert inputs("NavaTextEncode")["prompt"] == "<S:->a<E> <S>b<E>" and "voices.voice_0" in inputs("NavaTextEncode")
    assert inputs("LoadAudio")["audio"] == "given ben.wav" and inputs("LoadImage")["image"] == "given example.png"
    size = inputs("NavaEmptyLatent")
    assert (size["width"], size["height"], size["seconds"]) == (96, 64, 2.0)
    assert inputs("RandomNoise")["noise_seed"] == 5 and inputs("NavaGuider")["video_align"] == 0.0
    two = {"workflow": "nava_two_shots"}
    job, unclear, recorded, named = listed(
        folder, {**two, "seed": 5}, {**two, "prompt": "a"}, {"workflow": "nava_sound_to_picture", "set": ["LoadAudio.audio=ben.wav"]},
        {"set": ["Nothing.x=1"]},
    )  # fmt: skip
    graph = template(job, str)
    assert [n["inputs"]["noise_seed"] for n in graph.values() if n["class_type"] == "RandomNoise"] == [5, 6]
    with pytest.raises(WorkflowError, match="prompt: the workflow has 2 nodes NavaTextEncode; say which with set"):
        template(unclear, str)
    graph = template(recorded, lambda file: f"given {file.name}")
    assert inputs("LoadAudio")["audio"] == "given ben.wav"
    with pytest.raises(WorkflowError, match="the workflow has no node Nothing"):
        template(named, str)


def batch_of(folder, *lines):
    return generate.Batch({job.identity(""): job for job in listed(folder, *lines)}, folder / "out")


def test_two_drivers_divide_the_jobs(folder):
    """What one makes, another leaves alone, until it is made, or failed, or its maker is dead."""
    lines = [{"seed": n} for n in range(5)]
    one, two = batch_of(folder, *lines), batch_of(folder, *lines)
    marks = list(one.wanted)
    assert [one.take()[0], two.take()[0], one.take()[0]] == marks[:3]
    one.finish(marks[0], {"files": [], "seed": 0, "seconds_taken": 1.0})
    one.fail(marks[2], "no")
    take_and_die = f"import filelock, os; held = filelock.SoftFileLease({str(two.notes / f'{marks[3]}.lease')!r}, lease_duration=60); held.acquire(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", take_and_die], check=False).returncode == -signal.SIGKILL
    assert (two.notes / f"{marks[3]}.lease").exists() and two.take()[0] == marks[3]
    two.retry(marks[3], "killed")
    assert [two.take()[0], two.take()[0]] == [marks[4], marks[3]], "a job whose worker ended comes after the others"
    for _ in range(2):
        two.retry(marks[3], "killed")
        if two.waiting:
            assert two.take()[0] == marks[3]
    assert "its worker ended 3 times; the last time: killed" in two.failed[marks[3]]["error"]
    for mark in (marks[1], marks[4]):
        two.finish(mark, {"files": [], "seed": 0, "seconds_taken": 1.0})
    assert one.take() is None and two.take() is None and set(two.failed) == set(one.failed) == {marks[2], marks[3]}
    assert batch_of(folder, *lines).waiting == [marks[2], marks[3]], "only what failed is tried again"
    assert not list(two.notes.glob("*.lease"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for the child")
def test_what_is_tied_ends_with_its_parent(tmp_path):
    (tmp_path / "sleep.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(600)")
    start = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, {str(ROOT / 'tools' / 'tied.py')!r}, 'sleep.py'], stdin=subprocess.PIPE); print(p.pid, flush=True); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "up\n" and runs(child)
    parent.kill()
    parent.wait()
    until(lambda: not runs(child))


def runs(pid: int) -> bool:
    """Not counting one that ended and that nobody asked about."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


def until(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Started(Server):
    """A ComfyUI that runs already."""

    def __init__(self, port, base, pid):
        super().__init__(HOST, base, port=port)
        self.process = pid

    alive = property(lambda self: runs(self.process))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def kill(self):
        pass


@contextlib.contextmanager
def serving(*more):
    """`serve` itself, answering, its ComfyUI's process id, and the port."""
    port = free_port()
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--port", str(port), *more]
    with subprocess.Popen(
        command, env={**os.environ, "NAVA_HOST": str(HOST)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert f"127.0.0.1:{port}" in line, line
            with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
                comfy = int(children.read().split()[0])
            yield process, comfy, port
        finally:
            process.kill()  # its ComfyUI is tied to it


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for the child")
def test_a_killed_worker_and_a_poisonous_job_lose_nothing(server, folder, capsys):
    """`serve`'s ComfyUI is killed under the first job: serve says so, another ComfyUI takes the job up. One job fails."""
    tiny.make(HOST, environment.CACHE / "tiny")
    with serving("--models", str(environment.CACHE / "tiny")) as (serve, comfy, port):
        lines = [{"prompt": f"Rain, {n}.", "seed": n, **SHORT} for n in range(2)]
        lines.insert(1, {"prompt": "<S>never closed", "seed": 9, **SHORT})
        batch = batch_of(folder, *lines)
        servers = iter(
            [Started(port, environment.CACHE / "base", comfy), Started(server.port, server.base, server.pid)]
        )
        crew = generate.Crew(batch, [lambda: next(servers)], small_set.RANDOM, 600)

        def kill():
            until(lambda: crew.doing.get(1, "").startswith("line 1") and crew.servers[1].get("/queue")["queue_running"])
            os.kill(comfy, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        crew.run(generate.Progress(batch))
        killer.join()
        text = serve.communicate(timeout=60)[0]
        assert serve.returncode == 1 and "ComfyUI ended by itself (exit status -9)" in text
    found = batch.write_report()
    assert [f["state"] for f in found] == ["made", "failed", "made"] and [f.get("seed") for f in found] == [0, None, 1]
    assert "NavaTextEncode, prompt: a spoken line is never closed" in found[1]["error"]
    assert list(batch.tries.values()) == [1, 0, 0] and "2 of 3 made, 1 failed" in capsys.readouterr().out
    files = [folder / "out" / f["files"][0] for f in found if f["state"] == "made"]
    for file in files:
        frames, _, sound, _ = clips.opened(file)
        assert frames.shape == (13, 64, 64, 3) and sound.shape[0] == 2
    assert sorted(p for p in (folder / "out").iterdir() if p.is_file()) == sorted(
        [*files, folder / "out" / "report.json", folder / "out" / "report.md"]
    )
    assert (
        f"| 1 | made | 0 | {found[0]['seconds_taken']} | [{files[0].name}]"
        in (folder / "out" / "report.md").read_text()
    )
    again = batch_of(folder, *lines)
    assert [again.wanted[mark].line for mark in again.waiting] == [2], "what is made stays made"
    files[1].unlink()
    assert [again.wanted[mark].line for mark in batch_of(folder, *lines).waiting] == [2, 3]


def test_lines_without_a_place_stop_before_anything_is_made(server, folder):
    batch = batch_of(
        folder,
        {"seed": 1, **SHORT},
        {"set": ["NavaGuider.nothing=1"]},
        {"workflow": "nava_silent_video", "picture": "example.png"},
    )
    crew = generate.Crew(batch, [lambda: Started(server.port, server.base, server.pid)], small_set.RANDOM, 600)
    crew.run(generate.Progress(batch))
    first, second = crew.faults
    assert first.startswith("line 2: set NavaGuider.nothing=1: NavaGuider has no input nothing; it has")
    assert second.startswith("line 3: picture: the workflow has no LoadImage")
    assert {f["state"] for f in batch.write_report()} == {"not made"} and not list(batch.notes.glob("*"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for the child")
def test_serve_ends_well():
    """Told to stop. What it does when its ComfyUI dies is seen above."""
    with serving() as (process, comfy, port):
        process.send_signal(signal.SIGTERM)
        assert "Stopped" in process.communicate(timeout=60)[0]
        until(lambda: not runs(comfy), seconds=10)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
