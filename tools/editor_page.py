"""The real editor in a real chromium, as tests and makers of pictures open it."""

import shutil
from pathlib import Path

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"]  # fmt: skip
READY = "window.app?.extensionManager && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 500"
RUN = """() => new Promise((done) => {
  for (const end of ["execution_success", "execution_error"])
    window.app.api.addEventListener(end, (e) => done(e.detail.exception_message ?? null), { once: true });
  window.app.queuePrompt(0);
})"""


def chromium() -> str | None:
    """Where the browser is, if one is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def launch(playwright):
    return playwright.chromium.launch(executable_path=chromium(), args=FLAGS)


def enter(page, address: str) -> None:
    """Go to the editor; return when it knows all nodes. page.complaints grows by what the console says."""
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.goto(f"http://{address}/")
    page.wait_for_function(READY, timeout=180_000)
    set_option(page, "Comfy.TutorialCompleted", True)


def ours(complaints: list[str]) -> list[str]:
    """Those about the pack's files."""
    return [c for c in complaints if "nava" in c.lower() and "huggingface" not in c and "Security Policy" not in c]


def set_option(page, name: str, value) -> None:
    page.evaluate("([name, value]) => window.app.extensionManager.setting.set(name, value)", [name, value])


def open_document(page, document: dict, name: str | None = None) -> None:
    """Open an editor workflow as the template browser does, in a tab of that name."""
    page.evaluate(
        "([d, name]) => window.app.loadGraphData(d, true, true, name, { openSource: 'template' })", [document, name]
    )


def run(page) -> str | None:
    """Queue the open workflow and wait for its end; the message of its error, or None."""
    return page.evaluate(RUN)


def save_picture(page, path: Path, quality: int = 82) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path), type="jpeg", quality=quality)
