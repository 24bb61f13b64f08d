"""The package that the registry ships: what is in it, its rules, and a clean ComfyUI that loads it from the zip alone."""

import json
import subprocess
import sys
import urllib.parse
import zipfile

import package
import pytest
import small_set
from comfy_server import Server
from PIL import Image
from shipped import ALL, BLUEPRINTS, BY_KEY
from support import HOST, ROOT
from workflow import load, to_api

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A ComfyUI working folder in which there is nothing but the unpacked zip, named as the registry names it."""
    base = tmp_path_factory.mktemp("clean")
    package.pack(base / "package.zip")
    for folder in ("models", "input", "output", "temp", "user"):
        (base / folder).mkdir()
    (base / "extra_model_paths.yaml").write_text("{}\n")
    with zipfile.ZipFile(base / "package.zip") as file:
        file.extractall(base / "custom_nodes" / FOLDER)
    return base


def test_it_holds_what_runs_and_no_more(unpacked):
    names = set(package.shipped())
    assert {"__init__.py", "pyproject.toml", "node_list.json", "tools/convert.py", "js/docs/NavaDecode/zh.md"} <= names
    assert {n.split("/")[0] for n in names if "/" in n} == {
        "js", "locales", "nava_core", "nodes", "subgraphs", "tools", "workflows"
    }  # fmt: skip
    assert [n for n in names if n.startswith("tools/")] == ["tools/convert.py"]
    assert (unpacked / "package.zip").stat().st_size < 3e6
    # in a process of its own: it puts its pack in front of the host's modules
    command = [sys.executable, "-I", "tools/convert.py", "--help"]
    run = subprocess.run(command, cwd=unpacked / "custom_nodes" / FOLDER, capture_output=True, text=True)
    assert run.returncode == 0 and "--dtype" in run.stdout, run.stderr


def test_it_keeps_the_registrys_rules(unpacked):
    """exec, eval, hidden programs, unsafe loading, shells; several statements in a line."""
    rules = "S102,S301,S302,S307,S310,S506,S602,S604,S605,S606,S607,E702"
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", rules, "."]
    found = subprocess.run(command, cwd=unpacked / "custom_nodes", capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_its_description_is_complete(tmp_path):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    described, comfy = tomllib.loads(text), tomllib.loads(text)["tool"]["comfy"]
    assert "comfyui" not in described["project"]["name"].lower(), "the registry's rule"
    assert comfy["PublisherId"] and comfy["DisplayName"] == "ComfyUI-NAVA"
    pack = sys.modules["comfyui_nava"]
    assert comfy["requires-comfyui"] == f">={pack.OLDEST_HOST}"
    requirements = (ROOT / "requirements.txt").read_text().splitlines()
    assert described["project"]["dependencies"] == [r for r in requirements if not r.startswith("#")]
    assert package.changes("v" + described["project"]["version"])
    with pytest.raises(SystemExit, match="but pyproject"):
        package.changes("v99.0.0")
    for name, size in (("Icon", (400, 400)), ("Banner", (1260, 540))):
        path = ROOT / comfy[name]
        assert Image.open(path).size == size and path.stat().st_size < 100_000
    filled = tomllib.loads(package.with_addresses(text, "https://example.org/a/b", "https://example.org/raw/v1"))
    assert filled["tool"]["comfy"]["Icon"] == "https://example.org/raw/v1/assets/icon.png"
    assert filled["project"]["urls"]["Issues"] == "https://example.org/a/b/issues"


def test_the_editor_has_the_small_sets_of_now():
    written = json.loads((ROOT / "js" / "small_sets.json").read_text(encoding="utf-8"))
    assert written == small_set.for_editor(), "python tools/make_workflows.py HOST writes them anew"


def test_an_old_host_is_told_so(tmp_path):
    """In one sentence, before anything else fails."""
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("pack", {str(ROOT / "__init__.py")!r})
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
"""
    for version, message in (
        ("0.29.9", "needs ComfyUI 0.30.0 or newer, and this is 0.29.9"),
        ("0.30.0", ""),
        ("1.0", ""),
    ):
        (tmp_path / "comfyui_version.py").write_text(f"__version__ = {version!r}\n")
        run = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert (message in run.stderr and run.returncode == 1) if message else run.returncode == 0, run.stderr


def test_a_clean_host_loads_it(unpacked):
    """Every node of the list, every workflow in the template browser, and the names in Chinese."""
    with Server(HOST, unpacked) as server:
        info = server.get("/object_info")
        listed = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))
        assert {k for k in info if k.startswith("Nava")} == set(listed), "python tools/make_docs.py HOST writes it anew"
        templates = server.get("/workflow_templates")
        assert templates.keys() == {FOLDER} and set(templates[FOLDER]) == {f.file for f in ALL}
        for flow in ALL:
            served = server.get(f"/api/workflow_templates/{FOLDER}/{urllib.parse.quote(flow.file)}.json")
            assert served == load(flow.path) and to_api(served, info)
        blueprints = {e["name"]: i for i, e in server.get("/global_subgraphs").items() if e["source"] == "custom_node"}
        assert blueprints.keys() == {b.file for b in BLUEPRINTS.values()}
        for key, blueprint in BLUEPRINTS.items():
            served = json.loads(server.get(f"/global_subgraphs/{blueprints[blueprint.file]}")["data"])
            assert served == load(blueprint.path)
            flat, whole = (to_api(document, info) for document in (served, load(BY_KEY[key].path)))
            assert {k.split(":")[1]: n["class_type"] for k, n in flat.items()} == {
                k.split(":")[1]: n["class_type"] for k, n in whole.items() if ":" in k
            }, "it is the workflow's own subgraph"
        assert server.get("/i18n")["zh"]["nodeDefs"].keys() == set(listed)
        log = server.log.read_text(encoding="utf-8", errors="replace")
        assert "IMPORT FAILED" not in log
