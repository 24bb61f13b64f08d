"""Files: names for new ones, writing them whole, and those that are not what their name says, told in one sentence each."""

import errno
import os
import pickle
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

# Of the bytes that a file system has for a name (255), some are left for what the pack puts behind it.
MOST_LETTERS, MOST_BYTES = 100, 200
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    *(f"{d}{n}" for d in ("com", "lpt") for n in "0123456789¹²³"),
}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CheckpointError(ValueError):
    """A model file cannot be used; the message names the file, the fault and the remedy."""


class WriteError(OSError):
    """A file could not be written; the message names it, the fault and the remedy. `full`: for want of room."""

    def __init__(self, path: Path, error: OSError | SafetensorError):
        told = re.search(r"\(os error (\d+)\)", str(error))  # what safetensors says of the system's errors
        number = int(told[1]) if told else getattr(error, "errno", None)
        if re.search(r"requested and \d+ written", str(error)):  # numpy's words for a write that was cut short
            number = errno.ENOSPC
        self.full = number in FULL
        self.reason = os.strerror(number) if number else str(error)
        remedy = "Free some space, or choose another disk" if self.full else "Choose a folder that may be written to"
        if number == errno.ENAMETOOLONG:
            remedy = "Choose a shorter name"
        super().__init__(f"{path} cannot be written: {self.reason}. {remedy}")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """`with whole(path) as part:` writes `part`, which gets its final name when the block ends well, and is removed when not.

    Raises WriteError for what the system or safetensors say; another error passes.
    """
    part = path.with_name(path.name + ".part")
    try:
        with writing(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):  # of a read-only file system, even where there is no such file
            part.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises WriteError about `path` for what the system or safetensors say within the block."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise WriteError(path, error) from error


def file_name(text: str) -> str:
    """A text as the name of a file or folder that Windows, macOS and Linux all take, in the one spelling of its letters.

    Raises ValueError saying why it cannot be one. Names that differ in case only are one file on some systems: the caller's matter.
    """
    name = unicodedata.normalize("NFC", text.strip())
    fault = None
    if not name or name.startswith("."):
        fault = "it is empty or begins with a dot"
    elif set(name) & set('/\\:*?"<>|') or not name.isprintable():
        fault = 'letters such as / \\ : * ? " < > | are not for names'
    elif name.endswith("."):
        fault = "Windows drops a dot at the end"
    elif name.split(".")[0].rstrip().casefold() in DEVICES:
        fault = "Windows keeps this name for a device"
    elif len(name) > MOST_LETTERS or len(name.encode()) > MOST_BYTES:
        fault = f"it is longer than {MOST_LETTERS} letters, or {MOST_BYTES} bytes"
    if fault:
        shown = name if len(name) <= 40 else f"{name[:39]}…"
        raise ValueError(f"{shown!r} cannot be a file name ({fault}): use letters, digits, spaces, - and _")
    return name


def refuse_foreign_content(path: Path) -> None:
    """Raise CheckpointError for an empty file, a web page or a pointer file under a model's name."""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({error.strerror or error})") from error
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise CheckpointError(f"{path.name} is empty. Download it again.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path.name} is a web page, not a model: the link led to a page about the file, or to a login. "
            "Download the file itself."
        )
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path.name} is a pointer file of Git LFS, not the model: run `git lfs pull` in its repository, or "
            "download the file itself."
        )


SAFETENSORS = (".safetensors", ".sft", ".latent")


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """What to say of a model file that could not be read. Only a file that is really damaged is called so.

    torch's own advice to load unsafely is not passed on.
    """
    text, kind = str(error), path.suffix.lower()
    reason = next(iter(text.splitlines()), "") or type(error).__name__
    if kind in SAFETENSORS and is_whole(path):
        return CheckpointError(
            f"{path.name} could not be read ({reason}). The file itself is whole: the fault lies elsewhere."
        )
    if kind in SAFETENSORS:
        return CheckpointError(
            f"{path.name} is not a complete safetensors file ({reason}). "
            "The download was probably cut short: compare its size with the source and fetch it again."
        )
    if kind == ".gguf":
        return CheckpointError(
            f"{path.name} is not a GGUF file that can be read ({reason}). "
            "The download was probably cut short: compare its size with the source and fetch it again."
        )
    if "weights_only" in text or "Weights only" in text or "Unsupported" in text:
        return CheckpointError(
            f"{path.name} cannot be read safely as a PyTorch file: it holds something other than weights, which could run "
            "as a program. Take a .safetensors file, or one from the model's own source."
        )
    damaged = isinstance(error, (EOFError, pickle.UnpicklingError, OSError)) or "PytorchStreamReader" in text
    advice = (
        "The download was probably cut short: fetch it again."
        if damaged
        else "Take a .safetensors file, or one from the model's own source."
    )
    return CheckpointError(f"{path.name} cannot be read safely as a PyTorch file ({reason}). {advice}")


def is_whole(path: Path) -> bool:
    """Whether a safetensors file has the length that its header tells."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False
