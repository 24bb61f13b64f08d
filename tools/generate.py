"""A file of jobs -> clips: ComfyUI workers, one a card, that make every job once.

A job is known by a hash of all it sets. `OUT/.jobs` holds a note of each finished one and the leases of those being made, so the same
command goes on where it stopped, and several of them, on one machine or on many that share the folder, divide the work.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import aiohttp
import clips
import environment
import jobs
import small_set
import tiny
from comfy_server import Server, ServerError, has_accelerator
from evaluate import write_json
from filelock import SoftFileLease, Timeout
from jobs import Job, JobError
from workflow import WorkflowError, load, to_api

TRIES = 3  # of a job whose worker ends, and of a worker that does not start
NO_ANSWER = (OSError, http.client.HTTPException, aiohttp.ClientError)  # from a server that has just ended
LEASE = 60.0  # seconds after which what a silent machine was making is made by another
FOLDER = "jobs"  # in a worker's output folder


def lease(path: Path) -> SoftFileLease:
    """A file made only where there is none, kept fresh while it is held; a dead process of this machine holds none."""
    return SoftFileLease(path, lease_duration=LEASE, timeout=0, thread_local=False)


class Lost(RuntimeError):
    """A worker ended under its job, or hangs."""


class Batch:
    """The jobs of one folder: which are done, which are being made here or elsewhere, which failed. Safe between threads."""

    def __init__(self, wanted: dict[str, Job], out: Path):
        self.wanted, self.out, self.notes = wanted, out, out / ".jobs"
        self.notes.mkdir(parents=True, exist_ok=True)
        self.changed = threading.Condition()
        self.leases = {mark: lease(self.notes / f"{mark}.lease") for mark in wanted}
        self.tries = dict.fromkeys(wanted, 0)
        self.made_here, self.failed, self.running = 0, {}, set()
        self.before = {mark: self.failure(mark) for mark in wanted}  # these are tried again
        self.waiting = [mark for mark in wanted if self.done(mark) is None]
        self.stopped, self.began = False, None  # when the first job was taken

    def note(self, mark: str, ending: str) -> dict | None:
        try:
            return json.loads((self.notes / f"{mark}.{ending}").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def done(self, mark: str) -> dict | None:
        """The note of a finished job, all of whose files are there."""
        note = self.note(mark, "json")
        return note if note and all((self.out / file).is_file() for file in note["files"]) else None

    def failure(self, mark: str) -> dict | None:
        return self.note(mark, "failed.json")

    def take(self) -> tuple[str, Job] | None:
        """A job that nobody makes; None when there will be none any more. Waits while others may still give theirs back."""
        with self.changed:
            while not self.stopped:
                for mark in list(self.waiting):
                    if self.claim(mark):
                        self.waiting.remove(mark)
                        self.running.add(mark)
                        self.began = self.began or time.monotonic()
                        return mark, self.wanted[mark]
                if not self.waiting and not self.running:
                    return None
                self.changed.wait(1)
        return None

    def claim(self, mark: str) -> bool:
        try:
            self.leases[mark].acquire()
        except Timeout:
            return False  # another process makes it
        failure = self.failure(mark)
        if self.done(mark) is None and failure == self.before[mark]:
            return True
        if self.done(mark) is None:
            self.failed[mark] = failure  # elsewhere, since this began
        self.waiting.remove(mark)
        self.leases[mark].release()
        return False

    def give_back(self, mark: str) -> None:
        with self.changed:
            self.leases[mark].release()
            self.running.discard(mark)
            self.changed.notify_all()

    def finish(self, mark: str, note: dict) -> None:
        write_json(self.notes / f"{mark}.json", note)
        (self.notes / f"{mark}.failed.json").unlink(missing_ok=True)
        self.made_here += 1
        self.give_back(mark)

    def fail(self, mark: str, error: str) -> None:
        failure = {"line": self.wanted[mark].line, "error": error, "run": uuid.uuid4().hex}
        with contextlib.suppress(OSError):  # the disk may be full
            write_json(self.notes / f"{mark}.failed.json", failure)
        self.failed[mark] = failure
        self.give_back(mark)

    def retry(self, mark: str, error: str) -> None:
        """A worker ended under this job: again, after the others, or not any more."""
        self.tries[mark] += 1
        if self.tries[mark] >= TRIES:
            self.fail(mark, f"its worker ended {TRIES} times; the last time: {error}")
            return
        with self.changed:  # in one go: a lease of this process would let another worker in
            self.waiting.append(mark)
            self.give_back(mark)

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def report(self) -> tuple[list[dict], str]:
        """Every job in the order of its lines, as JSON and as a short Markdown."""
        found = []
        for mark, job in self.wanted.items():
            done, failure = self.done(mark), self.failed.get(mark)
            state = "made" if done else "failed" if failure else "not made"
            more = done or ({"error": failure["error"]} if failure else {})
            found.append({"line": job.line, "job": mark, "state": state, **more})
        found.sort(key=lambda f: f["line"])
        count = {state: sum(f["state"] == state for f in found) for state in ("made", "failed", "not made")}
        lines = [", ".join(f"{n} {state}" for state, n in count.items() if n or state == "made"), ""]
        lines += ["| line | | seed | seconds taken | file, or what went wrong |", "|---|---|---|---|---|"]
        for f in found:
            what = ", ".join(f"[{x}](<{x}>)" for x in f.get("files", [])) or f.get("error", "")
            what = " ".join(what.replace("|", "\\|").split())
            lines.append(
                f"| {f['line']} | {f['state']} | {f.get('seed', '')} | {f.get('seconds_taken', '')} | {what} |"
            )
        return found, "\n".join(lines) + "\n"

    def write_report(self) -> list[dict]:
        found, table = self.report()
        write_json(self.out / "report.json", found)
        (self.out / "report.md").write_text(table, encoding="utf-8")
        return found


class Templates:
    """The graphs of the workflow files, each laid flat once."""

    def __init__(self, object_info: dict, small: small_set.SmallSet | None):
        self.object_info, self.small, self.made = object_info, small, {}

    def __call__(self, job: Job, lend: Callable[[Path], str]) -> dict:
        if job.workflow not in self.made:
            self.made[job.workflow] = self.flat(job.workflow)
        return jobs.graph(self.made[job.workflow], job, self.object_info, lend)

    def flat(self, file: Path) -> dict:
        """A workflow file's graph: as the editor saves it, or as it exports it for the API."""
        try:
            document = load(file)
            if document and all(isinstance(n, dict) and "class_type" in n for n in document.values()):
                if self.small:
                    raise WorkflowError(
                        "a file in the API format needs --models: the small set is put into the editor's"
                    )
                return {key: {"_meta": {"title": n["class_type"]}, **n} for key, n in document.items()}
            if self.small:
                self.small.apply(document, self.object_info)
            return to_api(document, self.object_info)
        except WorkflowError as error:
            raise WorkflowError(f"workflow {file.name}: {error}") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise WorkflowError(f"workflow {file.name}: it cannot be read ({type(error).__name__}: {error})") from error


class Crew:
    """Workers, each a thread with a ComfyUI of its own, over one batch.

    starts: for every worker, what gives the server that it is to use, not started yet; called again when that one ended.
    """

    def __init__(
        self, batch: Batch, starts: list[Callable[[], Server]], small: small_set.SmallSet | None, limit: float
    ):
        self.batch, self.small, self.limit = batch, small, limit
        self.servers: dict[int, Server] = {}
        self.doing: dict[int, str] = {}
        self.faults: list[str] = []  # lines that their workflow has no place for
        self.broken: list[str] = []  # workers that do not start
        self.checking, self.template = threading.Lock(), None  # one for all: every worker has the same nodes and files
        self.threads = [threading.Thread(target=self.work, args=item, daemon=True) for item in enumerate(starts, 1)]

    def work(self, number: int, start: Callable[[], Server]) -> None:
        failed = 0
        while not self.batch.stopped and failed < TRIES:
            self.doing[number] = "starting"
            try:
                server = self.servers[number] = start()
                with server:
                    self.check(server)
                    failed = 0
                    if self.use(number, server):
                        break
            except (ServerError, *NO_ANSWER) as error:
                failed += 1
                if failed == TRIES:
                    self.broken.append(f"Worker {number} does not start: {error}")
        self.doing.pop(number, None)

    def check(self, server: Server) -> None:
        """Before the first job is made: does every workflow have a place for what its jobs set."""
        with self.checking:
            if self.template is not None:
                return
            template = Templates(server.get("/object_info"), self.small)
            for mark in self.batch.waiting:
                job = self.batch.wanted[mark]
                try:
                    template(job, lambda file: file.name)
                except WorkflowError as error:
                    self.faults.append(f"line {job.line}: {error}")
            self.template = template
            if self.faults:
                self.batch.stop()

    def use(self, number: int, server: Server) -> bool:
        """Make jobs with a running server; False when it ended before they were all made."""
        while taken := self.batch.take():
            mark, job = taken
            self.doing[number] = f"line {job.line}"

            def step(kind: str, data, line: int = job.line) -> None:
                if kind == "progress":
                    self.doing[number] = f"line {line}, {data['value']}/{data['max']}"

            try:
                self.batch.finish(mark, self.make(server, mark, job, step))
            except Lost as error:
                server.kill()
                if self.batch.stopped:
                    self.batch.give_back(mark)
                else:
                    self.batch.retry(mark, str(error))
                return False
            except (ServerError, WorkflowError) as error:
                self.batch.fail(mark, str(error))
            except (
                Exception
            ) as error:  # a full disk, or what nobody thought of: the other jobs are not to wait for this one
                self.batch.fail(mark, f"{type(error).__name__}: {error}")
            self.doing[number] = "waiting"
        return True

    def make(self, server: Server, mark: str, job: Job, step: Callable) -> dict:
        """One job, made and kept; its note. Raises Lost when the server ended or hangs, else what is wrong with the job."""
        started = time.monotonic()
        graph = self.template(job, lambda file: clips.lend(file, server.base / "input"))
        seeds = [inputs[name] for inputs, name in jobs.seeds_of(graph)]
        jobs.save_as(graph, f"{FOLDER}/{mark}")
        try:
            history = server.queue(graph, step, self.limit)
        except ServerError as error:
            if server.alive:
                raise
            raise Lost(str(error)) from error
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise Lost(f"it took longer than {self.limit / 60:g} minutes (--minutes)") from error
        except NO_ANSWER as error:
            raise Lost(f"{type(error).__name__} {error}".strip()) from error
        files = kept(server, history, job, mark, self.batch.out)
        if not files:
            raise ServerError("the workflow saved nothing; it needs a node such as SaveVideo")
        seconds = round(time.monotonic() - started, 2)
        return {
            "files": files,
            "seed": seeds[0] if seeds else None,
            "seconds_taken": seconds,
            "tries": self.batch.tries[mark] + 1,
        }

    def run(self, progress: "Progress") -> None:
        """Until all is made or cannot be; ends the servers first when it is interrupted."""
        parent = os.getppid()
        watched = os.environ.get("NAVA_PARENT") == str(parent)
        try:
            for thread in self.threads:
                thread.start()
            while any(thread.is_alive() for thread in self.threads):
                progress.show(self)
                time.sleep(0.2)
                if watched and os.getppid() != parent:
                    raise KeyboardInterrupt  # run.py was killed
            progress.show(self)
        finally:
            self.batch.stop()
            while any(thread.is_alive() for thread in self.threads):
                for server in list(self.servers.values()):
                    server.kill()
                time.sleep(0.1)


def kept(server: Server, history: dict, job: Job, mark: str, out: Path) -> list[str]:
    """Move what a run saved to its final names, which appear when the files are whole; the names, in the nodes' order."""
    ordered = {"outputs": dict(sorted(history["outputs"].items()))}
    saved = [f for f in dict.fromkeys(server.outputs(ordered, "")) if f.is_relative_to(server.base / "output")]
    names = []
    for n, file in enumerate(saved, 1):
        part = f"_{n}" if len(saved) > 1 else ""
        names.append(f"{job.prefix}_{mark[:10]}{part}{file.suffix}")
        target = out / names[-1]
        target.parent.mkdir(parents=True, exist_ok=True)
        clips.keep(file, target)
        file.unlink()
    return names


class Progress:
    """All jobs in one line; a line for each change where nobody watches."""

    def __init__(self, batch: Batch):
        self.batch, self.last = batch, ""
        self.interactive = sys.stdout.isatty()

    def show(self, crew: Crew) -> None:
        batch = self.batch
        left = len(batch.waiting) + len(batch.running)
        line = f"{len(batch.wanted) - left - len(batch.failed)} of {len(batch.wanted)} made"
        line += f", {len(batch.failed)} failed" if batch.failed else ""
        if batch.made_here and left:
            line += f", about {left * (time.monotonic() - batch.began) / batch.made_here / 60:.0f} min left"
        if self.interactive:
            line += "".join(f" · {number}: {what}" for number, what in sorted(dict(crew.doing).items()))
            print(f"\r{line:110.110}", end="", flush=True)
        elif line.split(", about")[0] != self.last.split(", about")[0]:
            print(line, flush=True)
        self.last = line

    def end(self) -> None:
        if self.interactive:
            print()


def cards() -> list[str]:
    """The graphics cards, by the names that ComfyUI's --cuda-device takes."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = [str(i) for i in range(torch.cuda.device_count())]
    return visible.split(",")[: len(every)] if visible else every


def starts_of(
    count: int, free: list[str], env: environment.Environment, models: Path | None, stack: contextlib.ExitStack
) -> list[Callable[[], Server]]:
    """Of so many workers, each with a working folder that no other process uses, and a card where there are some."""
    cpu = not (models and has_accelerator())
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))} if cpu and count > 1 else {}
    starts, slot = [], 0
    environment.CACHE.mkdir(exist_ok=True)
    while len(starts) < count:
        slot += 1
        try:
            stack.enter_context(lease(environment.CACHE / f"generate-{slot}.lease"))
        except Timeout:
            continue
        base = environment.base_folder(env, f"generate-{slot}", models)
        environment.clear(base / "output" / FOLDER)  # of a worker that was killed
        if not models:
            small_set.chosen().make(env.host, base / "models")
        tiny.make_inputs(base / "input")
        card = ("--cuda-device", free[len(starts) % len(free)]) if free else ()
        starts.append(
            lambda base=base, card=card: Server(env.host, base, cpu, card, variables=threads | dict(os.environ))
        )
    return starts


def run(options: argparse.Namespace) -> int:
    env = environment.running()
    small = None if options.models else small_set.chosen()
    listed = jobs.read(options.jobs, options.workflow)
    names = tuple(small.files.values()) if small else ()
    folders = [environment.ROOT / "assets"] if small else [options.models, env.host / "models"]
    wanted: dict[str, Job] = {}
    for job in listed:
        wanted.setdefault(job.identity(jobs.models_of(job, names, folders)), job)
    batch = Batch(wanted, options.out)
    again = f" ({len(listed) - len(wanted)} lines say the same as another)" if len(listed) > len(wanted) else ""
    environment.say(f"{len(wanted)} jobs{again}, {len(batch.waiting)} to make")
    crew = None
    if batch.waiting:
        free = [] if small else cards()
        count = (len(free) or 1) if options.workers == "auto" else int(options.workers)
        with contextlib.ExitStack() as stack:
            starts = starts_of(min(count, len(batch.waiting)), free, env, options.models, stack)
            crew, progress = Crew(batch, starts, small, options.minutes * 60), Progress(batch)
            try:
                crew.run(progress)
            finally:
                progress.end()
                batch.write_report()
        if crew.faults:
            raise JobError("\n".join(crew.faults))
    found = batch.write_report()
    for message in crew.broken if crew else []:
        print(message, file=sys.stderr)
    for f in found:
        if f["state"] == "failed":
            print(f"line {f['line']} failed: {f['error']}", file=sys.stderr)
    print(
        f"{sum(f['state'] == 'made' for f in found)} of {len(found)} made; {options.out / 'report.md'} names every file"
    )
    return 0 if all(f["state"] == "made" for f in found) else 1


def interrupt(*_) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workflow", default="nava_text_to_av")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--workers", default="auto")
    parser.add_argument("--minutes", type=float, default=24 * 60)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return run(options)
    except JobError as error:
        print(f"Nothing was made:\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Stopped: {error}. The same command goes on from here.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
