"""ComfyUI-NAVA from a fresh machine: `python run.py demo`, `python run.py test`, `python run.py serve`.

Standard library only. Everything it makes lies in .venv and .cache beside this file.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))
import environment


def in_environment(env: environment.Environment, *command: str) -> int:
    """Run a command with the environment's Python; Ctrl-C reaches it too, so it ends first. SIGTERM is handed on."""
    variables = {
        **os.environ,
        "NAVA_HOST": str(env.host),
        "PYTHONUTF8": "1",
        "NAVA_PARENT": str(os.getpid()),
    }
    process = subprocess.Popen([str(env.python), *command], cwd=environment.ROOT, env=variables)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def demo(options: argparse.Namespace, _: list[str]) -> int:
    env = environment.prepare()
    models = ["--models", str(options.models.resolve())] if options.models else []
    given = Path(options.workflow)
    workflow = (
        str(given.resolve()) if given.is_file() else options.workflow
    )  # a path is the caller's, not this folder's
    return in_environment(env, "tools/demo.py", workflow, *models)


def serve(options: argparse.Namespace, _: list[str]) -> int:
    env = environment.prepare()
    models = ["--models", str(options.models.resolve())] if options.models else []
    return in_environment(env, "tools/serve.py", "--port", str(options.port), *models)


def convert(options: argparse.Namespace, _: list[str]) -> int:
    env = environment.prepare()
    files = [str(options.source.resolve()), str(options.target.resolve())]
    return in_environment(env, "tools/convert.py", *files, "--dtype", options.dtype)


def bench(options: argparse.Namespace, _: list[str]) -> int:
    env, out = environment.prepare(), ["--out", str(options.out.resolve())]
    if options.gpu:
        return in_environment(env, "tools/bench_gpu.py", *out)
    return in_environment(env, "tools/bench.py", *out, *(["--load"] if options.load else []))


def train(options: argparse.Namespace, _: list[str]) -> int:
    env = environment.prepare()
    # accelerate takes its place in the group from what torch's launcher says; its own starts one process on a CPU
    launch = (
        ["-m", "torch.distributed.run", "--nproc_per_node", str(options.processes)] if options.processes > 1 else []
    )
    out = ["--out", str(options.out)] if options.out else []
    return in_environment(env, *launch, "-m", "training.make", str(options.config), *out)


def evaluate(options: argparse.Namespace, _: list[str]) -> int:
    if options.compare:
        folders = [str(folder.resolve()) for folder in options.compare]
        return in_environment(environment.prepare(), "tools/evaluate.py", "--compare", *folders)
    if options.best_of:
        return in_environment(environment.prepare(), "tools/evaluate.py", "--best-of", str(options.best_of.resolve()))
    arguments = [str(options.prompts.resolve()), "--out", str(options.out.resolve())]
    arguments += ["--seeds", str(options.seeds), "--first-seed", str(options.first_seed), "--shard", options.shard]
    if options.workflow:
        file = Path(options.workflow)
        arguments += ["--workflow", str(file.resolve()) if file.is_file() else options.workflow]
    if options.models:
        arguments += ["--models", str(options.models.resolve())]
    for name in ("set", "through"):
        arguments += [f"--{name}={value}" for value in getattr(options, name)]
    arguments += [f"--{name}" for name in ("again", "study", "card") if getattr(options, name)]
    arguments += [f"--only={options.only}"] if options.only else []
    return in_environment(environment.prepare(), "tools/evaluate.py", *arguments)


def generate(options: argparse.Namespace, _: list[str]) -> int:
    file = Path(options.workflow)
    arguments = [str(options.jobs.resolve()), "--out", str(options.out.resolve()), "--workers", options.workers]
    arguments += ["--workflow", str(file.resolve()) if file.is_file() else options.workflow]
    arguments += ["--models", str(options.models.resolve())] if options.models else []
    return in_environment(environment.prepare(), "tools/generate.py", *arguments, "--minutes", str(options.minutes))


def longer(options: argparse.Namespace, _: list[str]) -> int:
    arguments = ["--out", str(options.out.resolve()), "--clips", str(options.clips)]
    arguments += ["--models", str(options.models.resolve())] if options.models else []
    arguments += ["--shots", *map(str, options.shots)] if options.shots else []
    return in_environment(environment.prepare(), "tools/longer.py", *arguments)


def soak(options: argparse.Namespace, _: list[str]) -> int:
    arguments = ["--kills", str(options.kills), "--seed", str(options.seed), "--out", str(options.out.resolve())]
    if options.jobs:
        return in_environment(environment.prepare(), "tools/soak_generate.py", "--jobs", str(options.jobs), *arguments)
    return in_environment(environment.prepare(), "tools/soak.py", "--minutes", str(options.minutes), *arguments)


def package(options: argparse.Namespace, _: list[str]) -> int:
    arguments = ["--out", str(options.out.resolve()), "--steps", str(options.steps)]
    return in_environment(environment.prepare(), "tools/try_package.py", *arguments)


# a file stays with one worker, so that its server, models and pages are made once; tests/conftest.py orders the files
TWO_WORKERS = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
# what depends on the host's parts most: formats and kernels, each workflow once. The editor's tests follow when they are green there
ON_NEWEST = [f"tests/test_{name}.py" for name in (
    "workflows", "formats", "clean_host", "host_parity", "audio", "voice",
)]  # fmt: skip


def test(options: argparse.Namespace, rest: list[str]) -> int:
    env = environment.prepare(options.newest)
    if whole_suite(rest):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.newest and whole_suite(rest):
        return in_environment(env, "-m", "pytest", *TWO_WORKERS, *ON_NEWEST, *rest)
    for check in (["check"], ["format", "--check"]):
        code = in_environment(env, "-m", "ruff", *check, "--quiet", ".")
        if code:
            print("ruff found something: `ruff check --fix .` and `ruff format .` mend most of it")
            return code
    if not whole_suite(rest):
        return in_environment(env, "-m", "pytest", *rest)
    return in_environment(env, "-m", "pytest", *TWO_WORKERS, *rest)


def whole_suite(rest: list[str]) -> bool:
    """Whether these arguments of pytest leave it to two workers: not where they name files or tests, or say how to run."""
    own = re.compile(
        r"-[vqxl]*[knms]|--(pdb|trace|co|collect-only|dist|numprocesses|capture|lf|ff|sw|last-failed|failed-first|stepwise)(=|$)"
    )
    return not any(own.match(word) or Path(word.split("::")[0]).is_file() for word in rest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    with_models = argparse.ArgumentParser(add_help=False)
    with_models.add_argument(
        "--models", type=Path, help="a folder of real model files, laid out as ComfyUI's models folder"
    )
    one = commands.add_parser("demo", parents=[with_models], help="make a clip and say where it is")
    one.add_argument(
        "--workflow", default="nava_text_to_av", help="a workflow by name, with or without .json, or by path"
    )
    two = commands.add_parser("serve", parents=[with_models], help="ComfyUI with the pack, for a browser")
    two.add_argument("--port", type=int, default=8188)
    tests = commands.add_parser(
        "test", help="lint and all tests, by two workers; anything more goes to pytest (-k NAME)"
    )
    tests.add_argument(
        "--newest",
        action="store_true",
        help="on the newest parts of ComfyUI: formats, voices, parity, each workflow once",
    )
    three = commands.add_parser("convert", help="write a checkpoint in another number format, in bounded memory")
    three.add_argument("source", type=Path)
    three.add_argument("target", type=Path)
    three.add_argument("--dtype", choices=["bf16", "fp8", "int8", "mxfp8", "nvfp4", "q8_0"], required=True)
    four = commands.add_parser("bench", help="speed, memory and precision, as a table, JSON and a plot")
    four.add_argument("--out", type=Path, default=Path("bench"), help="folder for bench.json and bench.svg")
    four.add_argument(
        "--load", action="store_true", help="also load a file of more than 4 GB (written and removed again)"
    )
    four.add_argument(
        "--gpu",
        action="store_true",
        help="the released model on this machine's graphics card, inside ComfyUI, in 8 minutes",
    )
    five = commands.add_parser(
        "train", help="train a model from a config file; start it again to go on where it stopped"
    )
    five.add_argument("config", type=Path, help="a file of training/configs, or one like them")
    five.add_argument("--out", type=Path, help="folder for checkpoints, log and result; default runs/NAME")
    five.add_argument("--processes", type=int, default=1, help="processes that share each step (accelerate)")
    six = commands.add_parser(
        "evaluate", parents=[with_models], help="make, measure and compare the clips of a prompt list"
    )
    six.add_argument(
        "prompts",
        type=Path,
        nargs="?",
        help="JSONL as released, a Seed-TTS list, or a Verse-Bench style folder or list",
    )
    six.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for clips, scores and report")
    six.add_argument("--seeds", type=int, default=4, help="clips of each prompt")
    six.add_argument("--first-seed", type=int, default=1)
    six.add_argument("--workflow", help="a workflow by name or by path; by default as the row needs")
    six.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help="may be repeated")
    six.add_argument(
        "--through", action="append", default=[], metavar="NODE", help="a MODEL node behind the loader, as EasyCache"
    )
    six.add_argument("--shard", default="1/1", help="2/4: the second quarter of the prompts, for one of four machines")
    six.add_argument("--again", action="store_true", help="measure finished clips again")
    six.add_argument(
        "--study",
        action="store_true",
        help="alignment scales, timbre, EasyCache, steps, each against the workflow's own",
    )
    six.add_argument("--only", metavar="NAMES", help="with --study: these parts of it, as align_0,steps_4")
    six.add_argument("--card", action="store_true", help="NAVA-mini too on the graphics card, if there is one")
    six.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="compare two such folders, B minus A")
    six.add_argument(
        "--best-of", type=Path, metavar="A", help="of such a folder with several seeds: does choosing the best one help"
    )
    seven = commands.add_parser(
        "longer", parents=[with_models], help="measure holding, guides and continued clips (docs/longer.md)"
    )
    seven.add_argument("--out", type=Path, default=Path("longer"), help="folder for clips, scores and table")
    seven.add_argument("--clips", type=int, default=32, help="prompts times seeds")
    seven.add_argument(
        "--shots", type=int, nargs="+", default=[], help="only the memory of storyboards of so many shots"
    )
    eight = commands.add_parser("soak", help="a server under a mix of everything: does it grow, is what it saves whole")
    eight.add_argument("--minutes", type=float, default=10)
    eight.add_argument("--kills", type=int, default=0, help="servers killed while they save, after that")
    eight.add_argument(
        "--jobs", type=int, help="instead: generate so many over two workers, killed at random, against undisturbed"
    )
    eight.add_argument("--seed", type=int, default=1)
    eight.add_argument("--out", type=Path, default=Path("soak"), help="folder for soak.json and soak.svg")
    nine = commands.add_parser(
        "generate", parents=[with_models], help="make the clips of a file of jobs, on every card (docs/generate.md)"
    )
    nine.add_argument("jobs", type=Path, help="JSONL: prompt, seed, picture, voices, size, seconds, set … a line")
    nine.add_argument("--out", type=Path, default=Path("generated"), help="folder for clips and report")
    nine.add_argument("--workflow", default="nava_text_to_av", help="a workflow by name or by path")
    nine.add_argument("--workers", default="auto", help="so many ComfyUI; auto: one for each graphics card")
    nine.add_argument("--minutes", type=float, default=24 * 60, help="a job that takes longer is begun again")
    ten = commands.add_parser("package", help="pack the zip, and run its workflows in a ComfyUI that has it alone")
    ten.add_argument("--out", type=Path, default=Path("package.zip"))
    ten.add_argument("--steps", type=int, default=3)
    options, rest = parser.parse_known_args()
    if options.command == "generate" and options.workers != "auto" and not re.fullmatch("[1-9][0-9]*", options.workers):
        parser.error(f"--workers {options.workers}: a number from 1, or auto")
    if options.command == "evaluate" and sum(map(bool, (options.prompts, options.compare, options.best_of))) != 1:
        parser.error("evaluate takes a prompt list, or --compare A B, or --best-of A")
    for file in (getattr(options, "prompts", None), options.jobs if options.command == "generate" else None):
        if file and not file.exists():
            parser.error(f"{file}: there is no such file or folder")
    if rest and options.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if getattr(options, "models", None) and not options.models.is_dir():
        parser.error(f"--models {options.models}: there is no such folder")
    try:
        actions = {
            "demo": demo,
            "serve": serve,
            "test": test,
            "convert": convert,
            "bench": bench,
            "evaluate": evaluate,
            "generate": generate,
            "longer": longer,
            "train": train,
            "soak": soak,
            "package": package,
        }
        return actions[options.command](options, rest)
    except environment.SetupError as error:
        print(f"Setting up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
