"""What the nodes use of ComfyUI beside its public API is there, and takes what it took."""

import json

import host_names
from support import HOST


def test_every_name_of_the_host_is_there(nava):
    nava("host")
    known, here = json.loads(host_names.KNOWN.read_text(encoding="utf-8")), host_names.of_this_host()
    version = (HOST / "comfyui_version.py").read_text(encoding="utf-8").split('"')[1]
    new = sorted(here.keys() - known["names"].keys())
    assert not new, f"python tests/host_names.py HOST writes them down: {new}"
    gone = [f"ComfyUI {version} has no {name} any more" for name, what in here.items() if what == "gone"]
    changed = [
        f"ComfyUI {version}: {name} takes {here[name]}, it took {known['names'][name]} in {known['version']}"
        for name in here
        if here[name] not in ("gone", known["names"][name])
    ]
    print("\n".join(changed) or "nothing has changed")
    assert not gone, "\n".join(gone)
    assert version != known["version"] or not changed, "\n".join(changed)


def test_a_gone_name_is_seen():
    import ast

    names = host_names.names_in(
        ast.parse("import comfy.utils\nfrom comfy import ops as o\ncomfy.utils.no_such(1)\no.nothing")
    )
    assert {"comfy.utils.no_such", "comfy.ops.nothing"} <= names
    assert host_names.signature_of(host_names.resolved("comfy.utils.no_such")[2]) == "gone"
