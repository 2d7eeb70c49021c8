"""The form that every work has: what is wrong, the command, start, the bar, the result, a reload, stop, languages."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.conftest import json_lines
from tests.web.conftest import Running
from tests.web.started import ask
from tests.web.working import LONG_MS, done, fill, opened, shell, start

pytestmark = pytest.mark.web

LINE = "The old bridge of {0} has twelve arches, and people walk over it every morning to buy bread number {0}."


@pytest.fixture(scope="module", autouse=True)
def rows(studio: Running) -> None:
    """A dataset with mark-up, a telephone number, a short row and a row that stands twice."""
    texts = [LINE.format(number) for number in range(30)]
    texts += [
        f"<p>{texts[0]} <b>Indeed</b> it does so.</p>",
        "Call 13812345678 if the bridge is closed tomorrow.",
        "no",
        texts[1],
    ]
    folder = studio.place.data
    (folder / "raw.jsonl").write_text(json_lines({"text": text} for text in texts), encoding="utf-8")
    path = studio.place.dataset_info
    registry = json.loads(path.read_text())
    path.write_text(
        json.dumps({**registry, "raw": {"file_name": "raw.jsonl", "columns": {"prompt": "text"}}}, indent=1)
    )


def test_a_work_is_filled_started_and_read_again_after_a_reload(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("en")
    page.evaluate("location.hash = '#datasets'")
    page.locator("#datasets-table tr[data-name=raw] .datasets-link").click()
    page.locator("[data-prepare=clean]").click()
    view = page.locator(".work[data-work=clean]")
    expect(view.locator(".studio-chip", has_text="raw")).to_be_visible()
    # What is still wanted is told before it is wrong, and Start says why it is disabled.
    expect(view.locator("#work-clean-complaints .wanted")).to_contain_text("Folder to write")
    expect(view.locator("#work-clean-start")).to_be_disabled()
    assert view.locator("#work-clean-start").get_attribute("title")
    fill(view, "clean", output_dir="data/tidy", name="tidy", min_length=8)
    expect(shell(view, "clean")).to_contain_text("studio data clean --dataset raw --output_dir data/tidy --name tidy")
    expect(view.locator("#work-clean-yaml")).to_contain_text("min_length: 8")
    expect(view.locator("#work-clean-facts")).to_contain_text("data/tidy")
    outcome = done(start(view, "clean"))
    expect(outcome).to_contain_text("34")
    expect(outcome.locator("[data-step=min_length] del")).to_have_text("no")
    expect(outcome.locator("[data-step=exact_duplicates] .work-sample")).to_have_count(1)
    outcome.locator("[data-step=remove_html]").evaluate("each => { each.open = true; }")
    expect(outcome.locator("[data-step=remove_html] .work-text del").first).to_be_visible()
    assert (studio.place.data / "tidy" / "clean.json").is_file()
    # That its own name and folder stand now is nobody's mistake.
    expect(view.locator("#work-clean-complaints li")).to_have_count(2)
    expect(view.locator("#work-clean-complaints li:not(.wanted)")).to_have_count(0)
    # A reload keeps the form and the job; a page of somebody else sees the job.
    page.reload()
    expect(view.locator("#work-clean-output_dir")).to_have_value("data/tidy")
    expect(view.locator(".work-outcome")).to_contain_text("34")
    other = opened(open_page("zh"), "datasets", "prepare:clean", "clean")
    expect(other.locator(".work-job .run-chip.succeeded")).to_have_text("已完成")
    # What it made goes on into a training, of the stage that learns such rows.
    view.locator("[data-next=use]").click()
    expect(page.locator("#train-stage")).to_have_value("pt")
    expect(page.locator("#train-command-text")).to_contain_text("--dataset tidy")


def test_a_complaint_stands_at_its_field(open_page: Callable[..., Any]) -> None:
    page = open_page("en")
    view = opened(page, "datasets", "prepare:clean", "clean")
    fill(view, "clean", dataset=["raw"], output_dir="data/raw.jsonl", near_threshold="2")
    expect(view.locator("#work-clean-near_threshold-complaint")).to_contain_text("at most 1")
    expect(view.locator("#work-clean-start")).to_be_disabled()
    # As a Chinese keyboard writes it.
    fill(view, "clean", near_threshold="０.７", languages="zh，en")
    expect(shell(view, "clean")).to_contain_text("--languages zh,en --near_threshold 0.7")
    expect(view.locator("#work-clean-near_threshold-complaint")).to_be_hidden()
    expect(view.locator("#work-clean-output_dir-complaint")).to_contain_text("there already")
    fill(view, "clean", output_dir="../elsewhere")
    expect(view.locator("#work-clean-output_dir-complaint")).to_contain_text("outside the folders")
    view.locator("#work-clean-clear").click()
    expect(view.locator("#work-clean-near_threshold")).to_have_value("0.8")
    expect(view.locator(".studio-chip")).to_have_count(0)


def test_a_job_shows_its_bar_and_can_be_stopped(open_page: Callable[..., Any], studio: Running) -> None:
    many = studio.place.data / "many.jsonl"
    with many.open("w", encoding="utf-8") as file:
        for number in range(400_000):
            file.write(json.dumps({"text": LINE.format(number)}) + "\n")
    page = open_page("zh")
    view = opened(page, "datasets", "prepare:shard", "shard")
    fill(view, "shard", train_file=["data/many.jsonl"], output_dir="data/many_shards", shuffle=True, zstd_level=19)
    card = start(view, "shard")
    # What it does is said in the language of the page.
    expect(card.locator(".work-state")).to_have_text(re.compile("正在(打乱|写出).*%"), timeout=LONG_MS)
    card.locator("#work-shard-stop").click()
    expect(card.locator(".run-chip.stopped")).to_be_visible(timeout=LONG_MS)
    expect(card.locator(".work-state")).to_contain_text("没有留下写了一半的内容")
    assert not (studio.place.data / "many_shards").exists()
    many.unlink()


def test_shards_are_made_and_a_failure_shows_its_cause(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("zh")
    view = opened(page, "datasets", "prepare:shard", "shard")
    fill(view, "shard", dataset=["raw"], output_dir="data/pieces", name="pieces", shard_rows=10)
    outcome = done(start(view, "shard"))
    expect(outcome.locator(".work-tile", has_text="分片数")).to_contain_text("4")
    outcome.locator(".report-shards > summary").click()
    expect(outcome.locator(".report-shards tbody tr")).to_have_count(4)
    expect(outcome.locator(".report-shards tbody tr").first).to_contain_text("shard-00000.jsonl.zst")
    assert len(list((studio.place.data / "pieces").glob("*.zst"))) == 4
    (studio.place.data / "broken.jsonl").write_text('{"text": "whole"}\n{"text": \n' * 40, encoding="utf-8")
    view.locator("#work-shard-clear").click()
    fill(view, "shard", train_file=["data/broken.jsonl"], output_dir="data/never")
    card = start(view, "shard")
    expect(card.locator(".run-chip.failed")).to_be_visible(timeout=LONG_MS)
    expect(card.locator(".run-failure")).to_contain_text("broken.jsonl")
    assert not (studio.place.data / "never").exists()


def test_the_works_of_a_tab_are_reached_by_the_keyboard(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("en")
    opened(page, "vocabulary", "extend", "tokenizer-extend")
    page.locator("#works-tokenizer-extend").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#works-tokenizer-train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#works-tokenizer-train")).to_be_focused()
    expect(page.locator(".work[data-work=tokenizer-train]")).to_be_visible()
    assert {each["name"] for each in ask(studio, "/works")} >= {"clean", "shard", "tokenizer-extend", "eval_choice"}
