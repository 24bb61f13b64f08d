"""ComfyUI-NAVA: picture and sound made together, as ordinary ComfyUI nodes."""

import importlib.util
import re

WEB_DIRECTORY = "./js"
OLDEST_HOST = "0.30.0"


def refuse_old_host() -> None:
    """Raise ImportError where ComfyUI is older than the interfaces that the nodes use; without one, nothing is checked."""
    if importlib.util.find_spec("comfyui_version") is None:
        return
    from comfyui_version import __version__

    if tuple(map(int, re.findall(r"\d+", __version__)[:3])) < tuple(map(int, OLDEST_HOST.split("."))):
        raise ImportError(
            f"ComfyUI-NAVA needs ComfyUI {OLDEST_HOST} or newer, and this is {__version__}. Update ComfyUI, or remove this folder."
        )


refuse_old_host()


async def comfy_entrypoint():
    """Called by ComfyUI; the nodes are imported here so that the folder can be imported without a host."""
    from .nodes import NavaExtension

    return NavaExtension()
