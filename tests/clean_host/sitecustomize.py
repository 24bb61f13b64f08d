"""On a Python's path: the nodes and the core of the pack at $NAVA_ONLY_PROMISED import only what a clean ComfyUI of today installs. The host's own imports are left alone."""

import builtins
import os
import sys

FOLDERS = tuple(os.path.join(os.path.realpath(os.environ["NAVA_ONLY_PROMISED"]), f, "") for f in ("nodes", "nava_core"))
HOST = {name.partition(".")[0] for name in os.listdir(os.environ["NAVA_HOST"])}
# the import names of requirements.txt of ComfyUI 0.46
PROMISED = {
    "PIL", "aiohttp", "av", "blake3", "comfy_aimdo", "comfy_kitchen", "einops", "numpy", "psutil", "pydantic", "requests",
    "safetensors", "scipy", "sentencepiece", "tokenizers", "torch", "torchsde", "torchvision", "tqdm", "transformers", "yaml",
}  # fmt: skip
GONE = os.environ.get("NAVA_GONE_NAME", "")  # module:name that the host shall not have
usual = builtins.__import__


def promised(name, globals=None, locals=None, fromlist=(), level=0):
    asking = (globals or {}).get("__file__") or ""
    if level == 0 and os.path.realpath(asking).startswith(FOLDERS):
        top = name.partition(".")[0]
        if GONE and name == GONE.partition(":")[0] and GONE.partition(":")[2] in (fromlist or ()):
            raise ImportError(f"cannot import name {GONE.partition(':')[2]!r} from {name!r}")
        if top not in HOST | PROMISED and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {top!r} (hidden: no clean ComfyUI installs it)", name=top)
    return usual(name, globals, locals, fromlist, level)


builtins.__import__ = promised
