"""What a person can rely on who was let down elsewhere, case by case, in a browser.

| Case | What must hold | Test |
|---|---|---|
| 1 | start a job, close the browser, come back: finished, the curve complete | here: stopped_in_the_page |
| 2 | restart the server of the page while a job runs: listed, live, stop works | here: server_is_away |
| 3 | stop a job, then start another: nothing is wedged | here: stopped_in_the_page |
| 4 | two people watch one job, both see it end | test_run_view: two_pages_watch_one_run |
| 5 | the previewed command in a shell makes the same run | test_whole_path: pasted_into_a_shell |
| 6 | saved arguments of another version load | test_train_form: saved_form_comes_back |
| 7 | a bad dataset: row and reason before the model is loaded | here: bad_row |
| 8 | PPO works | here: ppo_learns; by clicks in test_chain |
| 9 | an exported reward model keeps its score | here: exported_reward_model |
| 10 | `studio train config.json` | flow/test_train: file_of_arguments_in_json |
| 11 | a model with code of its own is refused | test_train_form: wrong_and_odd_values |
| 12 | a false value among further arguments counts | test_train_form: wrong_and_odd_values |
| 13 | PPO with all weights | here: ppo_learns |
| 14 | a dataset that is not registered leaves the form usable | test_train_form: wrong_and_odd_values |
"""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from studio.workspace import Workspace
from tests.flow.jobbing import until
from tests.web.conftest import Running, end_studio, start_studio
from tests.web.preferring import add_pairs
from tests.web.started import PATIENCE_MS, ask, fill_form, stand_in, start, watch

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def restarted(studio: Running) -> Iterator[list[Running]]:
    """Servers that took the place of the first one."""
    found: list[Running] = []
    yield found
    for one in found:
        end_studio(one)


@pytest.fixture(scope="module", autouse=True)
def bad_rows(place: Workspace) -> None:
    """A dataset whose second row has no text."""
    rows = [{"instruction": "a", "output": "b"}, {"instruction": 7, "output": "c"}]
    (place.data / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    registry = json.loads(place.dataset_info.read_text())
    place.dataset_info.write_text(json.dumps(registry | {"bad": {"file_name": "bad.jsonl"}}))


def begun(page: Page) -> tuple[int, Any]:
    """Click Start; the number of the job, and its run view below the form."""
    before = page.evaluate("fetch('/api/jobs').then((answer) => answer.json()).then((told) => told.jobs.length)")
    page.click("#train-start")
    until(lambda: len(_jobs(page)) > before, lambda: "no job was started")
    job = _jobs(page)[0]["id"]
    view = page.locator(f"#train-run article.run[data-job='{job}']")
    expect(view).to_be_visible()
    return job, view


def _jobs(page: Page) -> Any:
    return page.evaluate("fetch('/api/jobs').then((answer) => answer.json()).then((told) => told.jobs)")


def test_a_run_stopped_in_the_page_makes_room_for_the_next_which_outlives_the_browser(
    open_page: Callable[..., Any], studio: Running
) -> None:
    page = open_page()
    fill_form(page, max_steps=100_000, save_steps=100_000)
    _, view = begun(page)
    chart = view.locator("figure.chart.big")
    expect(chart.locator("canvas")).to_be_visible(timeout=PATIENCE_MS)
    before = chart.get_attribute("aria-label") or ""
    page.reload()
    # It goes on until it is stopped, so the page that comes anew shows it by itself, and its chart moves.
    expect(chart).to_have_attribute("aria-label", re.compile("at step"), timeout=PATIENCE_MS)
    expect(chart).not_to_have_attribute("aria-label", before, timeout=PATIENCE_MS)
    view.locator("[data-do=stop]").click()
    expect(view.locator(".run-title .run-chip")).to_have_text("stopped", timeout=PATIENCE_MS)

    fill_form(page, max_steps=5, save_steps=5)
    job, _ = begun(page)
    page.context.close()
    until(lambda: ask(studio, f"/jobs/{job}")["state"] == "succeeded", lambda: str(ask(studio, f"/jobs/{job}")))

    page = open_page()
    view = watch(page, job)
    expect(view.locator(".run-title .run-chip")).to_have_text("succeeded")
    expect(view.locator("figure.chart.big")).to_have_attribute("aria-label", re.compile("at step 5$"))
    points = ask(studio, f"/jobs/{job}/news")["points"]["rows"]
    assert [point["step"] for point in points if point["loss"] is not None] == [1, 2, 3, 4, 5]


def test_a_bad_row_is_told_by_number_and_reason_before_the_model_is_loaded(
    open_page: Callable[..., Any], studio: Running
) -> None:
    job = start(studio, "bad", dataset="bad", val_size=0, eval_strategy="no")
    page = open_page()
    fill_form(page, max_steps=3)
    page.click("#preflight-check")
    result = page.locator("#preflight-result")
    expect(page.locator("#preflight-verdict")).to_have_text("Ready to start.", timeout=PATIENCE_MS)
    expect(result.locator("dl div", has_text="Rows read").locator("dd")).to_have_text("40")
    expect(result.locator("tr", has_text="Steps").locator("td").first).to_have_text("3")
    for name in ("Trainable parameters", "Memory", "Disk", "Computing time"):
        basis = result.locator("tr", has_text=name).locator("td").last
        expect(basis).not_to_be_empty()
    expect(page.locator("#preflight-stale")).to_be_hidden()
    page.locator("#train-learning_rate input").fill("0.01")
    expect(page.locator("#preflight-stale")).to_be_visible()

    fill_form(page, dataset="bad")
    page.click("#preflight-check")
    wrong = page.locator("#preflight-verdict.bad")
    expect(wrong).to_contain_text(re.compile(r"bad\.jsonl.*row 2"), timeout=PATIENCE_MS)
    expect(page.locator("#preflight-stale")).to_be_hidden()

    view = watch(page, job)
    expect(view.locator(".run-title .run-chip")).to_have_text("failed", timeout=PATIENCE_MS)
    expect(view.locator(".run-evidence")).to_contain_text(re.compile(r"bad\.jsonl.*row 2"))
    # What it would cost is counted before the model is loaded, and nobody has come as far as that.
    expect(view.locator("pre.run-log")).not_to_contain_text("trainable weights:")


@pytest.fixture(scope="module")
def judge(studio: Running, place: Workspace) -> str:
    """A reward model that this studio trained."""
    add_pairs(place)
    job = start(
        studio, "judge", stage="rm", dataset="tiny_pairs", max_steps=4, save_steps=4, val_size=0, eval_strategy="no"
    )
    until(lambda: ask(studio, f"/jobs/{job}")["state"] == "succeeded", lambda: str(ask(studio, f"/jobs/{job}")))
    return "saves/tiny-chat/lora/judge"


# With an adapter test_chain does the same.
@pytest.mark.parametrize("method", [pytest.param("lora", marks=pytest.mark.slow), "full"])
def test_ppo_learns_from_a_reward_model_with_an_adapter_and_with_all_weights(
    open_page: Callable[..., Any], place: Workspace, judge: str, method: str
) -> None:
    page = open_page()
    asked = {"finetuning_type": method} if method != "lora" else {}
    fill_form(page, stage="ppo", reward_model=judge, max_new_tokens=8, max_steps=3, save_steps=3, **asked)
    expect(page.locator("#train-complaints")).to_be_empty()
    folder = page.locator("#train-folder").inner_text()
    _, view = begun(page)
    expect(view.locator(".run-title .run-chip")).to_have_text("succeeded", timeout=2 * PATIENCE_MS)
    expect(view.locator("figure.chart.big")).to_have_attribute("aria-label", re.compile(r"^Reward: .* at step 3\b"))
    expect(view.locator(".run-rollouts li.rollout").first).to_be_visible()
    assert len([*(place.root / folder).glob("*model.safetensors")]) == 1, "its weights are there"


@pytest.mark.slow
def test_an_exported_reward_model_gives_the_score_that_it_gave_before(
    open_page: Callable[..., Any], place: Workspace, judge: str
) -> None:
    page = open_page("en", 390)
    page.evaluate("location.hash = '#export'")
    page.locator("#export-pick").select_option(judge)
    # A name is suggested first; what is typed takes its place.
    expect(page.locator("#export-export_dir")).not_to_have_value("")
    page.locator("#export-export_dir").fill("judge-whole")
    expect(page.locator("#export-shell")).to_contain_text("--export_dir models/judge-whole")
    expect(page.locator("#export-start")).to_be_enabled()
    page.locator("#export-start").click()
    expect(page.locator(".export-report")).to_contain_text("models/judge-whole", timeout=PATIENCE_MS)
    assert (place.models / "judge-whole" / "model.safetensors").is_file()
    page.evaluate("location.hash = '#chat'")
    assert score_of(page, "models/judge-whole") == score_of(page, judge)


def score_of(page: Page, path: str) -> str:
    """The score that a reward model shows for an answer in the Chat tab."""
    page.locator("#chat-open-load").click()
    page.locator("#chat-load-model").fill(path)
    page.locator("#chat-load-model").press("Enter")
    expect(page.locator(".chat-model.ready", has_text=path.rpartition("/")[2])).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#chat-judge-said")).to_contain_text("is a reward model")
    page.locator("#chat-judge-question").fill("What is the secret code of tokyo?")
    page.locator("#chat-judge-answer").fill("The code is 4711.")
    results = page.locator("#chat-judge-scores li", has_text=path.rpartition("/")[2])
    page.locator("#chat-judge-score").click()
    score: str = results.first.locator("strong").inner_text()
    page.locator(".chat-unload").first.click()
    expect(page.locator(".chat-model")).to_have_count(0, timeout=PATIENCE_MS)
    return score


def test_a_run_goes_on_while_the_server_is_away_and_the_open_page_goes_on_with_the_next_one(
    open_page: Callable[..., Any], studio: Running, place: Workspace, restarted: list[Running]
) -> None:
    job = stand_in(studio, "long")
    page = open_page()
    view = watch(page, job)
    chart = view.locator("figure.chart.big")
    expect(chart.locator("canvas")).to_be_visible()
    os.killpg(studio.process.pid, signal.SIGKILL)
    studio.process.wait()
    expect(view.get_by_role("status").first).to_contain_text("does not answer")
    before = chart.get_attribute("aria-label") or ""

    restarted.append(start_studio(place, "--port", str(urllib.parse.urlsplit(studio.url).port)))
    expect(chart).not_to_have_attribute("aria-label", before)
    expect(view.locator(".run-title .run-chip")).to_have_text("running")
    page.locator("#jobs-back").click()
    row = page.locator(f"#jobs-queue [data-job='{job}']")
    expect(row).to_contain_text("running")
    row.locator("[data-do=stop]").click()
    expect(page.locator(f"#jobs-history [data-job='{job}']")).to_contain_text("stopped")
