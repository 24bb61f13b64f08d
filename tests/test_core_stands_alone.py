"""nava_core runs without ComfyUI."""

import ast
import subprocess
import sys

from support import ROOT

HOST_MODULES = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "folder_paths",
    "nodes",
    "node_helpers",
    "server",
}


def test_no_host_import_in_the_source():
    for file in (ROOT / "nava_core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            assert not {n.split(".")[0] for n in names} & HOST_MODULES, f"{file.name} imports {names}"


def test_imports_without_the_host():
    code = (
        "import sys, nava_core; nava_core.flow_sigmas(3);"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('comfy', 'comfy_api', 'folder_paths')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
