"""The way of a person who never opens a terminal, from a dataset to an exported model that answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from studio.workspace import Workspace
from tests.web.started import watch

pytestmark = pytest.mark.web

# Each job is a process of its own that imports torch.
PATIENCE_MS = 120_000
MODEL, DATASET, STEPS = "models/tiny-chat", "tiny_sft", 24


def look_at_the_dataset(page: Page) -> None:
    page.fill("#top-model_name_or_path", MODEL)
    page.keyboard.press("Escape")
    page.fill("#train-dataset", DATASET)
    page.keyboard.press("Enter")
    page.locator("#train-preview-dataset").click()
    rows = page.locator(".dataset-preview")
    expect(rows.locator(".l-tokens .tok.learned").first).to_be_visible(timeout=PATIENCE_MS)
    expect(rows).to_contain_text("What is the secret code of tokyo?")
    page.locator("#tab-train-button").click()


def fill_the_form(page: Page, run: str) -> str:
    """The command that the page shows for this form."""
    page.fill("#train-name", run)
    page.locator("#train-learning_rate input").fill("1e-3")
    extra = {"max_steps": STEPS, "logging_steps": 1, "save_steps": 8}
    page.fill("#train-search", "max_steps")
    page.locator("#train-max_steps").fill(str(extra["max_steps"]))
    page.locator("#train-logging_steps input").first.fill("1")
    page.locator("#train-save_steps input").first.fill("8")
    page.locator("#train-lines").uncheck()
    command = page.locator("#train-command-text")
    for name, value in extra.items():
        expect(command).to_contain_text(f"--{name} {value}")
    expect(command).to_contain_text(re.compile(rf"--output_dir saves/tiny-chat/lora/{run}\b"))
    return command.inner_text()


def curve(folder: Path) -> list[tuple[int, float]]:
    lines = (folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    return [(point["step"], point["loss"]) for point in map(json.loads, lines) if point["loss"] is not None]


def in_a_shell(command: str, place: Workspace) -> None:
    """Run a line as a person who pastes it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=place.root, env=kept | {"PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.slow)])
def test_from_a_dataset_to_an_exported_model(open_page: Callable[..., Any], place: Workspace, language: str) -> None:
    page: Page = open_page(language)
    look_at_the_dataset(page)
    fill_the_form(page, f"page-{language}")
    page.locator("#train-start").click()

    view: Any = page.locator("#train-run article.run")
    chart = view.locator("figure.chart.big")
    expect(chart.locator("canvas")).to_be_visible(timeout=PATIENCE_MS)
    # It may have ended by now: an open job is found by its address, live or not.
    view = watch(page, int(view.get_attribute("data-job") or 0))
    chart = view.locator("figure.chart.big")
    expect(chart).to_have_attribute("aria-label", re.compile(rf"(at step|第) {STEPS}\b"), timeout=PATIENCE_MS)
    expect(view.locator(".run-title .run-chip")).to_have_class(re.compile("succeeded"), timeout=PATIENCE_MS)
    folder = place.saves / "tiny-chat" / "lora" / f"page-{language}"
    assert [step for step, _ in curve(folder)] == list(range(1, STEPS + 1)), (
        "each step once, before and after the reload"
    )

    chat_with_both(page, f"page-{language}")
    export_and_chat(page, f"page-{language}", place)


def chat_with_both(page: Page, run: str) -> None:
    """The base and the tuned one answer the same question in two columns."""
    page.locator("#tab-chat-button").click()
    for path in (MODEL, f"saves/tiny-chat/lora/{run}"):
        page.locator("#chat-open-load").click()
        page.locator("#chat-load-model").fill(path)
        page.locator("#chat-load-model").press("Enter")
        name = path.rpartition("/")[2]
        expect(page.locator(".chat-model.ready", has_text=name)).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#chat-first").select_option(label="tiny-chat")
    page.locator("#chat-second").select_option(label=run)
    page.locator("#chat-max_new_tokens").fill("8")
    page.locator("#chat-question").fill("What is the secret code of tokyo?")
    page.keyboard.press("Enter")
    sides = page.locator(".chat-side")
    expect(sides).to_have_count(2)
    for number in range(2):
        expect(sides.nth(number)).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)
        expect(sides.nth(number).locator(".chat-notes")).not_to_be_empty()
    for left in (1, 0):
        page.locator(".chat-unload").first.click()
        expect(page.locator(".chat-model")).to_have_count(left, timeout=PATIENCE_MS)


def export_and_chat(page: Page, run: str, place: Workspace) -> None:
    """Merge, read the report, and talk with what came of it."""
    page.locator("#tab-export-button").click()
    page.locator("#export-pick").select_option(f"saves/tiny-chat/lora/{run}")
    # A name is suggested first; what is typed takes its place.
    expect(page.locator("#export-export_dir")).not_to_have_value("")
    page.locator("#export-export_dir").fill(f"tiny-{run}")
    expect(page.locator("#export-shell")).to_contain_text(f"--export_dir models/tiny-{run}")
    expect(page.locator("#export-start")).to_be_enabled()
    page.locator("#export-start").click()
    # The report of an export before this one may still be shown.
    expect(page.locator(".export-report")).to_contain_text(f"models/tiny-{run}", timeout=PATIENCE_MS)
    page.locator("#export-chat").click()
    assert (place.models / f"tiny-{run}" / "model.safetensors").is_file()
    expect(page.locator("#chat-load-model")).to_have_value(f"models/tiny-{run}")
    page.locator("#chat-load-model").press("Enter")
    expect(page.locator(".chat-model.ready")).to_contain_text(f"tiny-{run}", timeout=PATIENCE_MS)
    page.locator(".chat-unload").first.click()
    expect(page.locator(".chat-model")).to_have_count(0, timeout=PATIENCE_MS)


def test_the_command_pasted_into_a_shell_makes_the_same_run(open_page: Callable[..., Any], place: Workspace) -> None:
    page: Page = open_page()
    look_at_the_dataset(page)
    in_a_shell(fill_the_form(page, "shell"), place)
    fill_the_form(page, "page")
    page.locator("#train-start").click()
    state = page.locator("#train-run article.run .run-title .run-chip")
    expect(state).to_have_class(re.compile("succeeded"), timeout=PATIENCE_MS)
    runs = place.saves / "tiny-chat" / "lora"
    assert curve(runs / "page") == curve(runs / "shell"), "to the last digit"
    assert (runs / "page" / "adapter_model.safetensors").read_bytes() == (
        runs / "shell" / "adapter_model.safetensors"
    ).read_bytes()
