"""Writes the pictures of the page in docs/: python docs/write_pictures.py.

A studio of its own on a new workspace, the embedded model tuned on `identity_demo` as `make demo` does it, and Debian's
Chromium (or the one in STUDIO_TEST_BROWSER) that looks at it. Takes some minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

DOCS = Path(__file__).resolve().parent
TOP = DOCS.parent
MODEL = "SmolLM2-135M-Instruct"
DATASET = "identity_demo"
COMMAND = (
    f"studio train --stage sft --model_name_or_path models/{MODEL} --dataset {DATASET} --cutoff_len 256 --lora_rank 16 "
    "--learning_rate 5e-4 --num_train_epochs 3 --per_device_train_batch_size 8 --logging_steps 1"
)
# A step takes seconds, and there are 36.
PATIENCE_MS = 1_200_000


def main() -> int:
    """Take the pictures."""
    if not (TOP / "models" / MODEL).is_dir():
        subprocess.run([sys.executable, "-m", "studio.model.embedded"], cwd=TOP, check=True)
    program = os.environ.get("STUDIO_TEST_BROWSER") or shutil.which("chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        started(workspace(Path(folder))) as address,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=program)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US", color_scheme="light")
        page.goto(address)
        preview(page)
        train(page)
        browser.close()
    return 0


def workspace(folder: Path) -> Path:
    """A workspace with the model and the one dataset."""
    for name in ("data", "models", "saves"):
        (folder / name).mkdir()
    (folder / "models" / MODEL).symlink_to(TOP / "models" / MODEL, target_is_directory=True)
    entry = json.loads((TOP / "dataset_info.json").read_text("utf-8"))[DATASET]
    (folder / "dataset_info.json").write_text(json.dumps({DATASET: entry}), encoding="utf-8")
    shutil.copy(TOP / "data" / entry["file_name"], folder / "data")
    return folder


@contextmanager
def started(place: Path) -> Iterator[str]:
    """A studio that runs, and its address; it ends with its worker."""
    words = [sys.executable, "-m", "studio", "--workspace", str(place), "webui", "--port", "0"]
    with subprocess.Popen(
        words, cwd=place, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(TOP)}
    ) as process:
        assert process.stdout is not None
        try:
            yield next(line[line.index("http") :].split()[0] for line in process.stdout if "token=" in line)
        finally:
            process.terminate()
            process.wait(60)
            worker = place / ".studio" / "worker.pid"
            if worker.is_file():
                os.kill(int(worker.read_text().split()[0]), 15)


def preview(page: Page) -> None:
    """A row of the dataset with the tokens that are learned."""
    page.fill("#top-model_name_or_path", f"models/{MODEL}")
    page.keyboard.press("Escape")
    page.fill("#train-dataset", DATASET)
    page.keyboard.press("Enter")
    page.locator("#train-preview-dataset").click()
    expect(page.locator(".dataset-preview .l-tokens .tok.learned").first).to_be_visible(timeout=PATIENCE_MS)
    page.locator(".dataset-preview").scroll_into_view_if_needed()
    page.screenshot(path=DOCS / "studio-preview.png")
    page.locator("#tab-train-button").click()


def train(page: Page) -> None:
    """The form with its command, and the curve of the run when it has ended."""
    page.click("#train-paste")
    page.fill("#paste-text", COMMAND)
    page.click("#paste-fill")
    page.fill("#train-name", "first")
    expect(page.locator("#train-start")).to_be_enabled()
    expect(page.locator(".studio-toast")).to_have_count(0, timeout=30_000)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=DOCS / "studio-train.png")
    page.click("#train-start")
    run = page.locator("#train-run article.run")
    number = run.get_attribute("data-job", timeout=PATIENCE_MS)
    page.evaluate("(hash) => { location.hash = hash; }", f"#jobs/{number}")
    chip = page.locator(f"#jobs-opened article.run[data-job='{number}'] .run-title .run-chip")
    expect(chip).to_have_text("succeeded", timeout=PATIENCE_MS)
    chip.evaluate("(chip) => chip.closest('article.run').scrollIntoView()")
    page.screenshot(path=DOCS / "studio-run.png")


if __name__ == "__main__":
    sys.exit(main())
