"""NavaParallel on the real server: two processes on the CPU make the clip that one makes, and their faults are told."""

import multiprocessing
import threading
import time

import comfy.sd
import psutil
import pytest
import torch
from comfy_server import ServerError
from safetensors.torch import load_file, save_file
from workflow import set_inputs

LORA = "parallel.safetensors"
WORKER = "worker_main.py"
CASES = ("nava_text_to_av", "nava_dialogue_two_voices", "nava_image_to_av", "nava_text_to_speech", "nava_foley")


def of_kind(prompt: dict, kind: str) -> list[str]:
    return [key for key, node in prompt.items() if node["class_type"] == kind]


def between(prompt: dict, kind: str, **inputs) -> dict:
    """The prompt with a MODEL node between the loader and all that take its model."""
    (loader,) = of_kind(prompt, "NavaModelLoader")
    prompt = {
        key: {**node, "inputs": {k: [kind, 0] if v == [loader, 0] else v for k, v in node["inputs"].items()}}
        for key, node in prompt.items()
    }
    return {**prompt, kind: {"class_type": kind, "inputs": {"model": [loader, 0], **inputs}}}


def to_latents(prompt: dict) -> dict:
    """The prompt up to its samplers, whose latents are saved."""
    prompt = {k: v for k, v in prompt.items() if not v["class_type"].startswith(("Save", "Preview"))}
    for key in of_kind(prompt, "SamplerCustomAdvanced"):
        alone = any(n["inputs"].get("mode") == "audio" for n in prompt.values())
        parts = [[key, 0]] if alone else [["split", 0], ["split", 1]]
        if not alone:
            prompt["split"] = {"class_type": "LTXVSeparateAVLatent", "inputs": {"av_latent": [key, 0]}}
        for i, part in enumerate(parts):
            prompt[f"save {i}"] = {
                "class_type": "SaveLatent",
                "inputs": {"samples": part, "filename_prefix": "parallel"},
            }
    return prompt


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """The workers that a process has started, this one or another."""
    return [p for p in psutil.Process(pid).children() if any(WORKER in part for part in p.cmdline())]


@pytest.fixture(scope="module")
def made(server):
    """made(prompt) -> its latents."""

    def make(prompt, **given):
        history = server.queue(prompt, **given)
        return [load_file(f)["latent_tensor"] for f in sorted(server.outputs(history, ".latent"))]

    yield make
    server.post("/free", {"unload_models": True, "free_memory": True})


@pytest.fixture(scope="module")
def lora(base, files):
    """A LoRA of two layers."""
    random, weights = torch.Generator().manual_seed(4), {}
    for layer in ("single_blocks.0.ffn.0", "text_embedding.0"):
        rows, columns = files["model"].model.diffusion_model.get_submodule(layer).weight.shape
        weights[f"diffusion_model.{layer}.lora_B.weight"] = torch.randn(rows, 4, generator=random)
        weights[f"diffusion_model.{layer}.lora_A.weight"] = torch.randn(4, columns, generator=random) * 0.3
    (base / "models" / "loras").mkdir(exist_ok=True)
    save_file(weights, base / "models" / "loras" / LORA)
    return weights


def wait_for(there, seconds: float = 10):
    """What `there()` gives, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_worker_killed_while_it_loads(made, workflow, server):
    """The prompt fails with a message; the tests below show that the next ones run."""
    prompt = between(to_latents(workflow("nava_text_to_av")), "NavaParallel", devices="cpu:2")
    killing = threading.Thread(target=lambda: wait_for(lambda: workers_of(server.pid), 60)[0].kill())
    killing.start()
    with pytest.raises(
        ServerError, match=r"worker \d \(cpu\) was killed \(SIGKILL\) while it loaded the model; .* queue it again"
    ):
        made(prompt)
    killing.join()
    assert not workers_of(server.pid)


@pytest.mark.parametrize("name", CASES)
def test_the_clip_of_one_process(made, workflow, server, name):
    prompt = to_latents(workflow(name))
    alone = made(prompt)
    shared = made(between(prompt, "NavaParallel", devices="cpu:2"))
    assert len(workers_of(server.pid)) == 2 and len(shared) == len(alone)
    for a, b in zip(shared, alone, strict=True):
        assert a.shape == b.shape and torch.isfinite(b).all()
        error = (a - b).abs().max().item()
        print(f"{name}: {error:.1e}")
        assert error < 1e-4


def test_a_lora_reaches_the_workers(made, workflow, server, lora, nava, files):
    """Put on before the node as behind it; what the workers patch is what one process patches."""
    plain, chosen = to_latents(workflow("nava_text_to_av")), {"lora_name": LORA, "strength_model": 0.7}
    with_lora = between(plain, "LoraLoaderModelOnly", **chosen)
    alone = made(with_lora)
    assert (alone[0] - made(plain)[0]).abs().max() > 1e-3
    before = between(between(plain, "NavaParallel", devices="cpu:2"), "LoraLoaderModelOnly", **chosen)
    behind = between(with_lora, "NavaParallel", devices="cpu:2")
    patcher, _ = comfy.sd.load_lora_for_models(files["model"], None, lora, 0.7, 0)
    patcher.patch_model(torch.device("cpu"))
    wanted = nava("worker").patched_hash(patcher)
    patcher.unpatch_model(torch.device("cpu"))
    for times, prompt in enumerate((before, behind), 1):
        assert max((a - b).abs().max() for a, b in zip(made(prompt), alone, strict=True)) < 1e-4
        said = f"2 patched weights, SHA-256 {wanted} in each of 2 workers"
        assert server.log.read_text(encoding="utf-8").count(said) == times


def test_a_worker_killed_in_a_pass(made, workflow, server):
    prompt = between(to_latents(workflow("nava_text_to_av")), "NavaParallel", devices="cpu:2")
    set_inputs(prompt, "NavaScheduler", steps=50)

    def kill(kind, _):
        if kind == "progress" and (there := workers_of(server.pid)):
            there[-1].kill()

    with pytest.raises(ServerError, match=r"worker \d \(cpu\) was killed \(SIGKILL\) in a pass"):
        made(prompt, on_event=kill)
    assert not workers_of(server.pid)


@pytest.fixture
def shared(nava, files):
    """shared(timeout) -> the tiny model over two processes, not started yet."""
    yield lambda timeout: nava("parallel").parallel(files["model"], ["cpu", "cpu"], timeout)
    for patcher in files["model"].model.parallel.values():
        patcher.model.workers.stop()
    files["model"].model.parallel.clear()


def test_a_worker_that_hangs(shared):
    with pytest.raises(
        RuntimeError, match=r"no answer within 0\.3 s while it loaded the model from worker 0 \(cpu\), worker 1 \(cpu\)"
    ):
        shared(0.3).model.workers.start()
    assert not workers_of()


def test_unloading_models_ends_them(shared):
    import comfy.model_management

    model = shared(60)
    comfy.model_management.load_models_gpu([model])
    errors = []

    def start():
        try:
            model.model.workers.start()
        except Exception as error:
            errors.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    wait_for(lambda: len(workers_of()) == 2)
    comfy.model_management.unload_all_models()
    starting.join(20)
    assert not starting.is_alive() and not workers_of() and not model.model.workers.processes


def test_none_is_left_when_the_driver_is_killed(shared):
    driver = multiprocessing.get_context("fork").Process(target=shared(60).model.workers.start)
    driver.start()
    orphans = wait_for(lambda: len(found := workers_of(driver.pid)) == 2 and found)
    driver.kill()
    driver.join()
    _, left = psutil.wait_procs(orphans, timeout=10)
    assert not [p for p in left if p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ("cpu", "none of auto"),
        ("cpu:1", "not 2 to 64"),
        ("cuda:0", "none of auto"),
        ("cuda:0,1", "no card 0 here .cards: none.. ComfyUI was started with --cpu"),
        ("two", "'two' is none of auto, cards as cuda:0,1"),
    ],
)
def test_wrong_devices(nava, devices, told):
    with pytest.raises(ValueError, match=f"NavaParallel, devices: .*{told}"):
        nava("parallel").chosen_devices(devices)
    assert nava("parallel").NavaParallel.validate_inputs(devices).startswith("NavaParallel, devices")


def test_without_cards_auto_leaves_the_model(nava, files):
    found = nava("parallel").NavaParallel.execute(files["model"], "auto")
    assert found[0] is files["model"] and "no card here" in found.ui["text"][0]


def test_what_workers_do_not_take_over_is_refused(nava, files, shared):
    node = nava("parallel").NavaParallel
    changed = files["model"].clone()
    changed.add_object_patch("diffusion_model.head", torch.nn.Identity())
    with pytest.raises(ValueError, match=r"replaced parts of the network \(diffusion_model.head\)"):
        node.execute(changed, "cpu:2")
    model = shared(60)
    with pytest.raises(ValueError, match="Take one off"):
        node.execute(model, "cpu:2")
    with pytest.raises(ValueError, match="Merge or save the MODEL from before"):
        model.get_key_patches()
    with pytest.raises(ValueError, match="this node splits each pass"):
        model.deepclone_multigpu()
    with pytest.raises(ValueError, match="Take it off, or use NAVA Attention"):
        nava("parallel").kernel_of({"optimized_attention_override": print})
