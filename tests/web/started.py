"""Jobs started in a studio that runs: asked without a browser, filled into the form, or run by a stand-in."""

from __future__ import annotations

import json
import urllib.request
from contextlib import closing
from typing import Any

from playwright.sync_api import Page, expect

from studio.jobs.store import store_of
from tests.flow.jobbing import STANDIN
from tests.web.conftest import Running

# A job starts in a process of its own that imports torch: slow on a machine that others use too.
PATIENCE_MS = 90_000


def ask(studio: Running, path: str, body: dict[str, Any] | None = None, method: str = "") -> Any:
    """A question to the server, without a browser."""
    request = urllib.request.Request(
        f"{studio.url}/api{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {studio.token}", "Content-Type": "application/json"},
        method=method or ("GET" if body is None else "POST"),
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def start(studio: Running, run: str, **values: Any) -> int:
    """Queue a training of the tiny model; its number."""
    asked = {
        "model_name_or_path": "models/tiny-chat", "stage": "sft", "finetuning_type": "lora", "dataset": "tiny_sft",
        "logging_steps": 1, "save_steps": 10, "max_steps": 30, "val_size": 0.2, "eval_strategy": "steps",
        "eval_steps": 10,
    }  # fmt: skip
    return int(ask(studio, "/jobs", {"values": asked | values, "run_name": run, "request": run})["id"])


def stand_in(studio: Running, name: str, *, kind: str = "train", words: tuple[str, ...] = ()) -> int:
    """Queue a job that does nothing for long, without loading a library; its number."""
    argv = ["train", "--output_dir", f"saves/{name}", "--steps", "100000", "--step_s", "0.05", *words]
    with closing(store_of(studio.place)) as store:
        # A stand-in for a loaded model is one as far as its device goes.
        job = store.submit(kind, argv, title=name, output=f"saves/{name}", environment=STANDIN)  # type: ignore[arg-type]
    return job.id


def fill_form(page: Page, **values: Any) -> None:
    """Fill the training form for the tiny model, as somebody does who brings a command along."""
    asked = {
        "stage": "sft", "model_name_or_path": "models/tiny-chat", "dataset": "tiny_sft", "logging_steps": 1, **values
    }  # fmt: skip
    page.click("#train-paste")
    page.fill("#paste-text", " ".join(["studio train", *(f"--{name} {value}" for name, value in asked.items())]))
    page.click("#paste-fill")
    for name, value in asked.items():
        expect(page.locator("#train-command-text")).to_contain_text(f"--{name} {value}")


def watch(page: Page, job: int) -> Any:
    """Open a job by its address; the run view."""
    page.evaluate("(hash) => { location.hash = hash; }", f"#jobs/{job}")
    page.reload()
    view = page.locator(f"#jobs-opened article.run[data-job='{job}']")
    expect(view).to_be_visible(timeout=PATIENCE_MS)
    return view
