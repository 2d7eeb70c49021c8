"""The training form in a browser: its fields, what is chosen in them, the command that it says."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import expect


def command(page: Any) -> Any:
    return page.locator("#train-command-text")


def field(page: Any, name: str) -> Any:
    """The input of an argument that Gradio draws."""
    return page.locator(f"#train-{name} input, #train-{name} textarea, #top-{name} input").first


def choose(page: Any, name: str, word: str) -> None:
    """Pick a word in a list of Gradio's."""
    field(page, name).click()
    page.locator("li[role=option]", has_text=re.compile(f"^\\W*{re.escape(word)}\\s*$")).locator("visible=true").click()


def choose_model(page: Any, path: str = "models/tiny-chat") -> None:
    page.fill("#top-model_name_or_path", path)
    page.keyboard.press("Escape")
    expect(command(page)).to_contain_text(path.split("/")[-1])


def choose_dataset(page: Any, name: str = "tiny_sft") -> None:
    page.fill("#train-dataset", name)
    page.keyboard.press("Enter")
    expect(page.locator("#train-dataset-field .studio-chip", has_text=name)).to_be_visible()


def ready(page: Any) -> None:
    choose_model(page)
    choose_dataset(page)
    expect(page.locator("#train-start")).to_be_enabled()
