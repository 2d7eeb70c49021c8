"""The Jobs tab: the queue in order, history by search, runs beside each other, and what a deletion takes away."""

from __future__ import annotations

import json
import re
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.flow.jobbing import until
from tests.web.conftest import Running
from tests.web.started import PATIENCE_MS, ask, fill_form, stand_in, start, watch

pytestmark = pytest.mark.web


def test_the_queue_is_ordered_filtered_compared_and_cleared(open_page: Callable[..., Any], studio: Running) -> None:
    first = start(studio, "first", max_steps=100_000, eval_strategy="no", val_size=0, save_steps=100_000)
    second = start(studio, "second", learning_rate=0.001)
    third = start(studio, "third", max_steps=7)
    page = open_page()
    page.locator("#bar-jobs").click(timeout=PATIENCE_MS)
    queue = page.locator("#jobs-queue > li")
    expect(queue).to_have_count(3, timeout=PATIENCE_MS)
    expect(queue.nth(1)).to_contain_text("second")
    queue.nth(2).get_by_role("button", name="Earlier in the queue").click()
    expect(queue.nth(1)).to_contain_text("third")
    expect(queue.nth(1).get_by_role("button", name="Earlier in the queue")).to_be_disabled()

    for job in (second, third):
        page.locator(f"#jobs-queue [data-job='{job}'] [data-do=stop]").click()
        expect(page.locator(f"#jobs-history [data-job='{job}']")).to_contain_text("stopped", timeout=PATIENCE_MS)
    page.locator("#jobs-search").fill("second")
    expect(page.locator("#jobs-history > li")).to_have_count(1)
    page.locator("#jobs-search").fill("")

    expect(page.locator("#jobs-compare")).to_be_disabled()
    for job in (second, third):
        page.locator(f"#jobs-history [data-job='{job}'] input").check()
    page.locator("#jobs-compare").click()
    differs = page.locator(".compare-table")
    expect(differs).to_contain_text("learning_rate", timeout=PATIENCE_MS)
    expect(differs).to_contain_text("max_steps")
    expect(differs).not_to_contain_text("finetuning_type")
    page.locator("#jobs-back").click()

    page.locator(f"#jobs-queue [data-job='{first}'] .run-link").click()
    expect(page).to_have_url(f"{studio.url}/#jobs/{first}")
    page.reload()
    expect(page.locator(f"#jobs-opened [data-job='{first}'] h3")).to_have_text(
        "tiny-chat/lora/first", timeout=PATIENCE_MS
    )
    page.locator("#jobs-back").click()

    gone = page.locator(f"#jobs-history [data-job='{third}']")
    gone.get_by_role("button", name="Delete").click()
    expect(page.locator("dialog")).to_contain_text("Nothing depends on it")
    page.locator("dialog").get_by_role("button", name="Delete").click()
    expect(gone).to_have_count(0)
    ask(studio, f"/jobs/{first}/kill", {})


def test_how_many_jobs_run_at_a_time_is_a_setting(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("zh", 390)
    page.locator("#bar-jobs").click(timeout=PATIENCE_MS)
    page.locator("#jobs-settings").click()
    page.locator("#jobs-setting-grace_s").fill("33")
    page.locator("dialog").get_by_role("button", name="保存").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert ask(studio, "/settings")["grace_s"] == 33
    assert page.url.endswith("#jobs")


def test_a_run_is_cloned_and_goes_on_from_one_of_its_checkpoints(
    open_page: Callable[..., Any], studio: Running
) -> None:
    job = start(studio, "whole", max_steps=100_000, save_steps=4, eval_strategy="no", val_size=0)
    page = open_page()
    view = watch(page, job)
    rows = view.locator(".run-checkpoints tbody tr")
    # The list of checkpoints is not read every second.
    expect(view.locator("figure.chart.big")).to_have_attribute(
        "aria-label", re.compile(r"at step (9|\d[\d,]+)"), timeout=PATIENCE_MS
    )
    view.locator("[data-do=stop]").click()
    expect(view.locator(".run-title .run-chip")).to_have_text("stopped", timeout=PATIENCE_MS)

    view.locator("[data-do=clone]").click()
    expect(page.locator("#train-dataset-field .studio-chip")).to_have_count(1)
    expect(page.locator("#train-dataset-field .studio-chip")).to_contain_text("tiny_sft")
    expect(page.locator("#train-command-text")).to_contain_text("--max_steps 100000")
    expect(page.locator("#train-folder")).not_to_have_text("saves/tiny-chat/lora/whole")
    expect(page.locator("#train-start")).to_be_enabled()

    page.locator("#tab-jobs-button").click()
    step = int(rows.nth(1).locator("th").inner_text().split()[0])
    rows.nth(1).get_by_role("button", name="Resume from here").click()
    page.locator("dialog").get_by_role("button", name="Resume").click()
    expect(page).not_to_have_url(re.compile(f"#jobs/{job}$"))
    again = int(page.url.rpartition("/")[2])
    view = page.locator(f"#jobs-opened article.run[data-job='{again}']")
    expect(view.locator("figure.chart.big canvas")).to_be_visible(timeout=PATIENCE_MS)
    expect(view.locator("pre.run-log")).to_contain_text(f"checkpoint-{step}")
    expect(view.locator(".run-title .run-chip")).to_have_text("running", timeout=PATIENCE_MS)
    ask(studio, f"/jobs/{again}/kill", {})
    expect(view.locator(".run-title .run-chip")).to_have_text("killed", timeout=PATIENCE_MS)
    points = ask(studio, f"/jobs/{again}/news")["points"]["rows"]
    steps = [point["step"] for point in points]
    assert steps == list(range(1, len(steps) + 1)), "no step twice and none left out"


def test_a_run_that_others_were_made_from_is_not_deleted_unasked(
    open_page: Callable[..., Any], studio: Running
) -> None:
    job = stand_in(studio, "parent", words=("--steps", "1"))
    until(lambda: ask(studio, f"/jobs/{job}")["state"] == "succeeded", lambda: "it does not end")
    run, export, child = (studio.place.root / each for each in ("saves/parent", "models/made-of-it", "saves/child"))
    for folder, name, record in (
        (run, "run.json", {"schema": 1, "recipe": {}}),
        (export, "export.json", {"adapters": ["saves/parent/checkpoint-1"]}),
        (child, "run.json", {"schema": 1, "recipe": {}, "parents": ["saves/parent"]}),
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(record))
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(studio, f"/jobs/{job}?files=true", method="DELETE")
    told = json.load(refused.value)["error"]
    assert refused.value.code == 409 and "saves/child" in told and "models/made-of-it" in told

    page = open_page()
    watch(page, job)
    asked = page.locator("dialog")
    for answer in ("Cancel", "Delete"):
        assert run.is_dir()
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(asked).to_contain_text("These need it")
        expect(asked.locator("li")).to_have_count(2)
        asked.get_by_label("Delete its folder").check()
        asked.get_by_role("button", name=answer).click()
        expect(asked).to_have_count(0)
    expect(page.locator(f"#jobs-history [data-job='{job}']")).to_have_count(0)
    assert not run.exists()


def test_chat_and_training_do_not_share_a_device_and_say_who_has_it(
    open_page: Callable[..., Any], studio: Running
) -> None:
    training = stand_in(studio, "learns")
    until(lambda: ask(studio, f"/jobs/{training}")["state"] == "running", lambda: "it does not start")
    page = open_page()
    page.locator("#tab-chat-button").click()
    page.locator("#chat-open-load").click()
    page.locator("#chat-load-model").fill("models/tiny-chat")
    page.locator("#chat-load-model").press("Enter")
    wrong = page.locator("#chat-load-wrong")
    expect(wrong).to_contain_text("a model for chat needs a device that no training job has")
    expect(wrong).to_contain_text("learns")
    wrong.get_by_role("button", name=f"Open job {training}").click()
    view = page.locator(f"#jobs-opened article.run[data-job='{training}']")
    view.locator("[data-do=stop]").click()
    expect(view.locator(".run-title .run-chip")).to_have_text("stopped")

    chat = stand_in(studio, "chats", kind="serve")
    until(lambda: ask(studio, f"/jobs/{chat}")["state"] == "running", lambda: "it does not start")
    page.locator("#tab-train-button").click()
    fill_form(page, max_steps=2)
    page.locator("#train-start").click()
    waits = page.locator("#train-run article.run")
    expect(waits.locator(".run-title .run-chip")).to_have_text("queued")
    expect(waits.locator(".run-why")).to_contain_text(re.compile(rf"waits for the processor: job {chat} \(chats\)"))
    waits.locator("[data-do=stop]").click()
    expect(waits.locator(".run-title .run-chip")).to_have_text("stopped")
    ask(studio, f"/jobs/{chat}/kill", {})
