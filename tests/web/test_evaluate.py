"""The Evaluate tab: each work once, beside the base; and the evaluations of a run in the Jobs tab."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.conftest import CITIES, json_lines
from tests.web.conftest import Running
from tests.web.started import start as start_training
from tests.web.working import LONG_MS, done, fill, opened, shell, start

pytestmark = pytest.mark.web

MODEL = "models/tiny-chat"


@pytest.fixture(scope="module", autouse=True)
def files(studio: Running) -> None:
    """Questions with letters, prompts with answers, pairs; all about cities."""
    folder = studio.place.data
    cities = list(CITIES)
    letters = {"C": "no", "D": "12", "answer": "B"}
    exam = [
        {"subject": subject, "question": f"The code of {city}?", "A": city, "B": city[::-1].upper(), **letters}
        for subject in ("codes", "cities")
        for city in cities
    ]
    (folder / "exam.jsonl").write_text(json_lines(exam), encoding="utf-8")
    pairs = [{"prompt": f"Say {city}.", "chosen": city, "rejected": "no"} for city in cities]
    (folder / "pairs.jsonl").write_text(json_lines(pairs), encoding="utf-8")
    path = studio.place.dataset_info
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    registry = json.loads(path.read_text())
    path.write_text(
        json.dumps({**registry, "pairs": {"file_name": "pairs.jsonl", "ranking": True, "columns": columns}})
    )


def measured(view: Locator, work: str, **values: Any) -> Locator:
    """Fill a work of this tab for the tiny model beside another one, and wait for its numbers."""
    fill(view, work, model_name_or_path=MODEL, baseline_model="models/tiny", **values)
    return done(start(view, work))


def test_questions_are_measured_beside_the_base(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("en")
    view = opened(page, "evaluate", "choice", "eval_choice")
    expect(page.locator(".work-past")).to_contain_text("Nothing was measured yet")
    # The model above the tabs is where it starts, until another one is named here.
    own, top = view.locator("#work-eval_choice-model_name_or_path"), page.locator("#top-model_name_or_path")
    page.evaluate("location.hash = '#train'")
    top.fill("models/tiny")
    expect(own).to_have_value("models/tiny")
    top.fill("")
    expect(own).to_have_value("")
    view = opened(page, "evaluate", "choice", "eval_choice")
    fill(view, "eval_choice", task_dir="data/nothing")
    # Before the model is named nothing is looked for; then the folder that is not there is told at its field.
    fill(view, "eval_choice", model_name_or_path=MODEL)
    expect(view.locator("#work-eval_choice-complaints")).to_contain_text("data/nothing")
    outcome = measured(view, "eval_choice", task_dir="data/exam.jsonl")
    accuracy = outcome.locator("[data-measure=accuracy]")
    expect(accuracy.locator("tbody tr")).to_have_count(2)
    expect(accuracy.locator("tbody tr").first).to_contain_text("tiny (base)")
    expect(accuracy.locator(".work-interval .range")).to_have_count(2)
    expect(accuracy.locator("tbody tr").last).to_contain_text(" to ")
    groups = outcome.locator(".work-groups tbody")
    expect(groups).to_contain_text("codes")
    expect(groups).to_contain_text("cities")
    # Question by question: what both give each letter.
    row = outcome.locator(".eval-choice").first
    expect(row.locator("tbody tr")).to_have_count(4)
    expect(row.locator("tr.answer")).to_contain_text("B")
    expect(row.locator("td.pick")).to_have_count(2)
    kept = list(Path(studio.place.root).glob("evaluations/*/*.json"))
    assert len(kept) == 1
    # It stays in the list of what was measured, and is opened and saved from there.
    row = page.locator("#past-table tbody tr")
    expect(row).to_contain_text("Single choice")
    expect(row).to_contain_text("Accuracy")
    row.locator("button").press("Enter")
    expect(page.locator("#past-opened [data-measure=accuracy] tbody tr")).to_have_count(2)
    with page.expect_download() as saved:
        page.locator("#past-csv").click()
    assert Path(saved.value.path()).read_text().startswith("model,base,step,task,group,measure")
    # Who has named a model keeps it.
    top.fill("models/tiny")
    expect(page.locator("#train-command-text")).to_contain_text("models/tiny")
    expect(own).to_have_value(MODEL)


def test_answers_stand_beside_each_other(open_page: Callable[..., Any]) -> None:
    view = opened(open_page("zh"), "evaluate", "answers", "eval_answers")
    outcome = measured(view, "eval_answers", dataset=["tiny_sft"], max_samples="3", max_new_tokens="8")
    expect(outcome.locator("[data-measure=bleu] tbody tr")).to_have_count(2)
    rows = outcome.locator(".eval-row")
    expect(rows).to_have_count(3)
    expect(rows.first.locator(".work-sides > div")).to_have_count(2)
    expect(rows.first).to_contain_text("参考答案")


def test_text_and_pairs_are_measured(open_page: Callable[..., Any]) -> None:
    page = open_page("en", 800)
    view = opened(page, "evaluate", "text", "eval_text")
    outcome = measured(view, "eval_text", dataset=["tiny_pt"], cutoff_len="64")
    expect(outcome.locator("[data-measure=bits_per_character] tbody tr")).to_have_count(2)
    expect(outcome.locator("[data-measure=bits_per_character]")).to_contain_text("lower is better")
    view = opened(page, "evaluate", "pairs", "eval_pairs")
    outcome = measured(view, "eval_pairs", dataset=["pairs"])
    expect(outcome.locator("[data-measure=likelihood_accuracy] tbody tr")).to_have_count(2)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_named_benchmarks_say_what_they_need(open_page: Callable[..., Any]) -> None:
    view = opened(open_page("en"), "evaluate", "harness", "eval_harness")
    fill(view, "eval_harness", model_name_or_path=MODEL, tasks=["gsm8k"])
    expect(shell(view, "eval_harness")).to_contain_text("studio eval harness")
    card = start(view, "eval_harness")
    expect(card.locator(".run-chip.failed")).to_be_visible(timeout=LONG_MS)
    expect(card.locator(".run-failure")).to_contain_text("needs lm-eval, which is not installed")


@pytest.mark.slow
def test_a_run_shows_its_evaluations_over_its_steps(open_page: Callable[..., Any], studio: Running) -> None:
    page = open_page("en")
    first = start_training(studio, "measured", max_steps=20, save_steps=10, eval_strategy="no", val_size=0)
    second = start_training(studio, "measured-too", max_steps=10, save_steps=10, eval_strategy="no", val_size=0)
    view = opened(page, "evaluate", "choice", "eval_choice")
    for job, run in ((first, "measured"), (second, "measured-too")):
        page.evaluate("(hash) => { location.hash = hash; }", f"#jobs/{job}")
        expect(page.locator(f"#jobs-opened article[data-job='{job}'] .run-chip.succeeded")).to_be_visible(
            timeout=LONG_MS
        )
        view = opened(page, "evaluate", "choice", "eval_choice")
        folder = next(studio.place.saves.glob(f"*/lora/{run}"))
        fill(
            view,
            "eval_choice",
            model_name_or_path=studio.place.shown(folder),
            task_dir="data/exam.jsonl",
            checkpoints="all",
        )
        done(start(view, "eval_choice"))
    page.evaluate("(hash) => { location.hash = hash; }", f"#jobs/{first}")
    page.reload()
    part = page.locator(".run-evaluations")
    expect(part.locator("[data-evaluation=choice] .step-chart circle")).not_to_have_count(0)
    part.locator("details summary", has_text="Row by row").click()
    expect(part.locator(".eval-choice").first).to_be_visible()
    page.locator("#jobs-back").click()
    for job in (first, second):
        page.locator(f".jobs-row[data-job='{job}'] input[type=checkbox]").check()
    page.locator("#jobs-compare").click()
    expect(page.locator(".compare .run-evaluations [data-measure=accuracy] tbody tr")).to_have_count(3)
