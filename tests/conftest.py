"""The pack is imported as ComfyUI imports it: by path, under a name of its own, beside the host's own modules."""

import importlib.util
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT, HOST, PACK = TESTS.parent, Path(os.environ["NAVA_HOST"]), "comfyui_nava"

sys.path[:0] = [str(HOST), str(ROOT / "tools"), str(TESTS)]
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]  # our `nodes` must not hide the host's

# Files of more than 5 s of processor time, longest first, so that no worker is left with a long one at the end.
LONGEST = [f"test_{name}" for name in (
    "workflows", "editor_graph", "generate", "editor", "training", "formats", "parallel_node", "shipped_in_editor", "prompt_editor",
    "nodes", "compatibility", "flatten", "package", "host_stages", "parallel", "storyboard", "evaluate", "hold", "counted", "best_of",
)]  # fmt: skip


def pytest_configure(config):
    hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out or config.getoption("collectonly"):  # what only hands out tests to workers needs none of this
        import_pack()


def import_pack():
    from comfy.cli_args import args

    args.cpu = True
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    pack = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = pack
    spec.loader.exec_module(pack)
    # Tests of the core say `import nava_core`; it is the pack's own copy.
    core = importlib.import_module(f"{PACK}.nava_core")
    for module in (core.__name__, *(m.name for m in pkgutil.walk_packages(core.__path__, f"{core.__name__}."))):
        sys.modules[module.removeprefix(f"{PACK}.")] = importlib.import_module(module)


def pytest_collection_modifyitems(items):
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def inference():
    """As the host runs nodes."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def golden():
    """Golden tensors of a file, by name without ending."""
    from safetensors.torch import load_file
    from support import DATA

    return lambda name: load_file(DATA / f"{name}.safetensors")


@pytest.fixture(scope="session")
def golden_metadata():
    from support import metadata

    return metadata


@pytest.fixture(scope="session")
def nava():
    """The pack's node modules, by name: nava("guide").NavaGuider."""
    return lambda name: importlib.import_module(f"{PACK}.nodes.{name}")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A ComfyUI working folder with the tiny set and the sample inputs."""
    import environment
    import tiny

    name = f"test-{os.getpid()}"
    folder = environment.base_folder(environment.Environment(Path(sys.executable), HOST, False), name)
    shared = environment.CACHE / "tiny"  # made once, used by every run
    tiny.make(HOST, shared)
    for file in shared.rglob("*"):
        if file.is_file() and file.suffix != ".part":  # that one is being written by another run
            target = folder / "models" / file.relative_to(shared)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)
    tiny.make_inputs(folder / "input")
    shutil.copy(ROOT / "tests" / "language_model.py", folder / "custom_nodes")
    yield folder
    environment.clear(folder)


@pytest.fixture(scope="module")
def files(nava, base):
    """The tiny set, loaded with the pack's own loaders."""
    import folder_paths
    from comfy_extras.nodes_lt_audio import LTXVAudioVAELoader
    from tiny import FILES

    for kind in FILES:
        folder_paths.add_model_folder_path(kind, str(base / "models" / kind), is_default=True)
    load, voice = nava("load"), nava("voice")
    return {
        "model": load.NavaModelLoader.execute(FILES["diffusion_models"], "default")[0],
        "clip": load.NavaTextEncoderLoader.execute(FILES["text_encoders"], "default")[0],
        "video_vae": load.NavaVideoVAELoader.execute(FILES["vae"])[0],
        "audio_vae": LTXVAudioVAELoader.execute(FILES["checkpoints"])[0],
        "encoder": voice.NavaVoiceEncoderLoader.execute(FILES["audio_encoders"])[0],
    }


@pytest.fixture(scope="session")
def server(base):
    """A real ComfyUI server with the pack."""
    from comfy_server import Server

    with Server(HOST, base) as running:
        yield running


@pytest.fixture(scope="session")
def trainings(tmp_path_factory):
    """trainings.start(config, folder) -> a process that trains, see trainings.py."""
    from trainings import Trainings

    if not hasattr(os, "fork"):
        pytest.skip("processes are forked here")
    running = Trainings(tmp_path_factory.mktemp("trainings"))
    yield running
    running.end()


@pytest.fixture(scope="session")
def object_info(server):
    return server.get("/object_info")


class Disk:
    """A folder with room for 8 KB, a disk of its own where one may be mounted; else files cannot grow beyond that size."""

    def __init__(self, folder):
        self.folder = folder
        mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "small", str(folder)]
        self.own = shutil.which("mount") and not subprocess.run(mount, capture_output=True).returncode
        if not self.own:
            resource = pytest.importorskip("resource")
            self.limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, self.limit[1]))

    def forbid_writing(self):
        if self.own:
            subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)
        else:
            self.folder.chmod(0o500)

    def end(self):
        if self.own:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
        else:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, self.limit)
            self.folder.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder)
    yield disk
    disk.end()


@pytest.fixture(scope="module")
def browser():
    """A real chromium, closed with its module: playwright keeps an event loop running that other tests could not have theirs beside."""
    from editor_page import chromium, launch

    if chromium() is None:
        if os.environ.get("NAVA_BROWSER_NEEDED"):
            pytest.fail("no chromium here, and NAVA_BROWSER_NEEDED is set")
        pytest.skip("no chromium here: install Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="module")
def editor(browser, server):
    """A page with the real editor, loaded."""
    from editor_page import enter

    page = browser.new_page(viewport={"width": 1280, "height": 720})
    enter(page, server.address)
    yield page
    page.close()


@pytest.fixture
def workflow(object_info):
    """workflow(name) -> an API prompt from the editor file, on the tiny set, small and short."""
    from shipped import BY_KEY
    from small_set import RANDOM
    from workflow import load, to_api

    def read(name):
        document = load(BY_KEY[name].path)
        RANDOM.apply(document, object_info)
        return to_api(document, object_info)

    return read
