"""Files that are not what their name says, told in one sentence each."""

from pathlib import Path


class CheckpointError(ValueError):
    """A model file cannot be used; the message names the file, the fault and the remedy."""


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


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """What to say of a file that safetensors or torch could not read. torch's own advice to load unsafely is not passed on."""
    if path.suffix in (".safetensors", ".sft"):
        return CheckpointError(
            f"{path.name} is not a complete safetensors file ({error}). "
            "The download was probably cut short: compare its size with the source and fetch it again."
        )
    text = str(error)
    if "weights_only" in text or "Weights only" in text or "Unsupported" in text:
        return CheckpointError(
            f"{path.name} cannot be read safely as a PyTorch file: it holds something other than weights, which could run "
            "as a program. Take a .safetensors file, or one from the model's own source."
        )
    reason = next(iter(text.splitlines()), "") or type(error).__name__
    return CheckpointError(
        f"{path.name} cannot be read safely as a PyTorch file ({reason}). The download was probably cut short: fetch it again."
    )
