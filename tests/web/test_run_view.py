"""A run is watched in the page: curves, log, checkpoints, its end, its failure; in as many pages as one likes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.workspace import Workspace
from tests.web.conftest import Running
from tests.web.started import PATIENCE_MS, ask, stand_in, start, watch

pytestmark = pytest.mark.web


def steps_drawn(view: Any) -> int:
    """How many points the page's loss chart has."""
    text = view.locator("figure.chart.big").get_attribute("aria-label") or ""
    found = re.search(r"at step ([\d,]+)", text)
    return int(found[1].replace(",", "")) if found else 0


def test_two_pages_watch_one_run_and_both_see_it_end(
    open_page: Callable[..., Any], studio: Running, place: Workspace
) -> None:
    # Another job has the device until both pages look: they see the run from its first step, however fast it is.
    other = stand_in(studio, "before")
    job = start(studio, "watched", max_steps=60)
    pages = [open_page(), open_page("en", 390)]
    views = [watch(page, job) for page in pages]
    for view in views:
        expect(view.locator(".run-title .run-chip")).to_have_text("queued", timeout=PATIENCE_MS)
    ask(studio, f"/jobs/{other}/kill", {})
    for view in views:
        expect(view.locator("figure.chart.big canvas")).to_be_visible(timeout=PATIENCE_MS)
    pages[0].reload()
    for view in views:
        expect(view.locator(".run-title .run-chip")).to_have_text("succeeded", timeout=PATIENCE_MS)
        expect(view.locator("figure.chart.big")).to_have_attribute("aria-label", re.compile("at step 60"))
        expect(view.locator("pre.run-log")).to_contain_text("finished: saves/tiny-chat/lora/watched")
        expect(view.locator("#run-live")).to_have_count(0)
    checkpoints = views[0].locator(".run-checkpoints tbody tr")
    expect(checkpoints).to_have_count(6)
    expect(views[0].locator("[data-do=chat]")).to_be_enabled()
    expect(views[0].locator("[data-do=stop]")).to_be_hidden()
    views[0].get_by_text("Recipe", exact=True).click()
    expect(views[0].locator(".run-fold[open]")).to_contain_text("models/tiny-chat")
    with pages[0].expect_download() as download:
        views[0].get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("step,elapsed_s,epoch,loss")
    assert len(lines) == 61


def test_a_failed_run_says_why_and_what_to_do(open_page: Callable[..., Any], studio: Running, place: Workspace) -> None:
    (place.data / "broken.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": 7}\n')
    registry = json.loads(place.dataset_info.read_text())
    place.dataset_info.write_text(json.dumps(registry | {"broken": {"file_name": "broken.jsonl"}}))
    job = start(studio, "broken", dataset="broken", val_size=0, eval_strategy="no")
    page = open_page()
    view = watch(page, job)
    expect(view.locator(".run-title .run-chip")).to_have_text("failed", timeout=PATIENCE_MS)
    card = view.locator(".run-failure")
    expect(card).to_be_visible()
    expect(card.locator(".run-cause")).not_to_be_empty()
    expect(card.locator("ol li").first).to_be_visible()
    card.get_by_role("button", name="Show in the log").click()
    expect(view.locator("pre.run-log")).to_be_focused()
    expect(view.locator("[data-do=chat]")).to_be_disabled()
    expect(view.locator("[data-do=chat]")).to_have_attribute("title", re.compile("no weights"))


def test_stop_saves_and_resume_goes_on(open_page: Callable[..., Any], studio: Running) -> None:
    job = start(studio, "stopped", max_steps=100_000, val_size=0, eval_strategy="no", save_steps=100_000)
    page = open_page()
    view = watch(page, job)
    expect(view.locator("figure.chart.big canvas")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#bar-jobs")).to_have_text("1 job running")
    view.locator("[data-do=stop]").click()
    expect(view.locator(".run-title .run-chip")).to_have_text("stopped", timeout=PATIENCE_MS)
    expect(view.locator(".run-checkpoints tbody tr")).to_have_count(1)
    reached = steps_drawn(view)
    view.locator("[data-do=resume]").click()
    expect(view.locator(".run-title .run-chip")).to_have_text("running", timeout=PATIENCE_MS)
    expect(view.locator("figure.chart.big")).to_have_attribute(
        "aria-label", re.compile(rf"step (?!{reached:,}\b)[\d,]+"), timeout=PATIENCE_MS
    )
    assert steps_drawn(view) > reached
    ask(studio, f"/jobs/{job}/kill", {})
    expect(view.locator(".run-title .run-chip")).to_have_text("killed", timeout=PATIENCE_MS)


def test_a_chart_of_ten_thousand_points_takes_more_of_them_in_little_time(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.locator("#tab-jobs-button").click()
    took_ms = page.evaluate(
        """async () => {
            const { Curve, charts } = await import(window.studio.script("chart"));
            const row = (step) => ({ step, total_steps: 20000, epoch: step / 1000, elapsed_s: step,
                loss: 2 + Math.sin(step / 50), learning_rate: 1e-4, grad_norm: 1 + Math.cos(step), tokens_per_s: 900,
                memory_gib: 3 });
            const curve = new Curve();
            curve.append(Array.from({ length: 10000 }, (_, step) => row(step)));
            const chart = charts(curve);
            document.querySelector("#jobs").prepend(chart.element);
            chart.element.scrollIntoView();
            const drawn = async () => { for (let n = 0; n < 3; n += 1) await new Promise(requestAnimationFrame); };
            while (!chart.figures.get("loss")?.plot) await drawn();
            await drawn();
            const times = [];
            for (let step = 10000; step < 10020; step += 1) {
                const began = performance.now();
                curve.append([row(step)]);
                chart.draw();
                await Promise.resolve();
                times.push(performance.now() - began);
                await drawn();
            }
            chart.destroy();
            chart.element.remove();
            return times.sort((a, b) => a - b)[10];
        }"""
    )
    # 50 ms on a quiet core; a machine that others use too is allowed more.
    assert took_ms < 150, f"an update at 10,000 points takes {took_ms:.1f} ms"
