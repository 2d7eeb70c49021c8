"""What the browser needs for the stages beyond supervised fine-tuning: their datasets, and a form filled by clicks."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Page, expect

from studio.workspace import Workspace
from tests.conftest import sft_rows
from tests.web.started import PATIENCE_MS

# Fields of the form that Gradio draws, by the box that they stand in.
LISTS = ("finetuning_type",)


def add_pairs(place: Workspace) -> None:
    """Datasets `tiny_pairs`, a right answer against one that says nothing, and `tiny_judged`."""
    rows = sft_rows()
    pairs = [{"instruction": row["instruction"], "chosen": row["output"], "rejected": "No."} for row in rows]
    judged = [{**row, "output": row["output"] if n % 2 else "No.", "label": n % 2 == 1} for n, row in enumerate(rows)]
    for name, found in (("tiny_pairs", pairs), ("tiny_judged", judged)):
        (place.data / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    sides = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    entries = {
        "tiny_pairs": {"file_name": "tiny_pairs.json", "ranking": True, "columns": sides},
        "tiny_judged": {"file_name": "tiny_judged.json", "columns": {
            "prompt": "instruction", "response": "output", "kto_tag": "label"}},
    }  # fmt: skip
    registry = json.loads(place.dataset_info.read_text(encoding="utf-8"))
    place.dataset_info.write_text(json.dumps(registry | entries), encoding="utf-8")


def begin_form(page: Page, *, stage: str, model: str, dataset: str, method: str, run: str, **values: Any) -> None:
    """Fill an empty form by clicks: models and datasets from what is offered, the rest typed."""
    page.locator("#tab-train-button").click()
    page.click("#train-reset")
    page.locator("#train-stage").select_option(stage)
    pick(page, "top-model_name_or_path", model)
    pick(page, "train-dataset", dataset)
    page.locator("#top-finetuning_type input").click()
    page.locator("li[role=option]:visible", has_text=re.compile(f"^\\W*{method}\\s*$")).click()
    page.fill("#train-name", run)
    for name, value in values.items():
        set_field(page, name, str(value))
    expect(page.locator("#train-start")).to_be_enabled()
    for name, value in {"stage": stage, "model_name_or_path": model, "dataset": dataset, **values}.items():
        expect(page.locator("#train-command-text")).to_contain_text(f"--{name} {value}")
    expect(page.locator("#train-folder")).to_have_text(re.compile(rf"^saves/[\w-]+/{method}/{run}$"))


def pick(page: Page, field: str, value: str) -> None:
    """Choose one of what a field offers, as a person does who types a part of it."""
    page.locator(f"#{field}").click()
    page.fill(f"#{field}", value)
    page.locator(f"#{field}-options li", has=page.get_by_text(value, exact=True)).click()


def set_field(page: Page, name: str, value: str) -> None:
    """Write into a field, found by its name where it stands in a closed group."""
    basic = page.locator(f"#train-{name} input, #train-{name} textarea")
    if basic.count():
        basic.first.fill(value)
        return
    page.fill("#train-search", name)
    one = page.locator(f"#train-{name}")
    if page.locator(f"#train-{name}-options").count():
        pick(page, f"train-{name}", value)
    else:
        one.fill(value)
    page.fill("#train-search", "")


def start_and_see(page: Page, run: str, charts: tuple[str, ...], steps: int) -> Any:
    """Click Start, wait for the end, see the charts; the run view. It may have ended before anybody looked."""
    page.locator("#train-start").click()
    view = page.locator("#train-run article.run", has=page.locator("h3", has_text=re.compile(f"/{run}$")))
    expect(view).to_be_visible(timeout=PATIENCE_MS)
    chip = view.locator(".run-title .run-chip")
    expect(chip).to_have_text(re.compile("succeeded|failed|killed|lost"), timeout=2 * PATIENCE_MS)
    assert chip.inner_text() == "succeeded", view.locator("pre.run-log").inner_text()
    for title in charts:
        chart = view.locator("figure.chart", has=page.locator("figcaption", has_text=re.compile(f"^{title}")))
        expect(chart).to_have_attribute("aria-label", re.compile(rf"at step {steps}\b"), timeout=PATIENCE_MS)
        chart.scroll_into_view_if_needed()
        expect(chart.locator("canvas")).to_be_visible()
    return view
