"""`eval_methods`: what is asked, what is refused, and the curves that come of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studio.errors import ArgumentError
from studio.evaluate.curves import curves, write_table
from studio.evaluate.intervals import share
from studio.evaluate.kept import Result, keep
from studio.evaluate.methods import chosen
from studio.jobs.plot import plot_measures
from studio.recipe import make_recipe
from studio.workspace import Workspace

METHODS = {"ceval": {"method": "choice", "task_dir": "data/ceval"}}


def asked(**more: str) -> list[str]:
    usual = {"stage": "sft", "model_name_or_path": "m", "dataset": "d", "output_dir": "o", "eval_methods": METHODS}
    try:
        make_recipe({**usual, **more})
    except ArgumentError as error:
        return error.complaints
    return []


def test_methods_need_no_held_out_rows_but_other_evaluation_does():
    assert asked() == [] == asked(eval_strategy="steps")
    (told,) = asked(eval_strategy="steps", do_eval="True")
    assert told.startswith("--do_eval True: needs rows to evaluate on")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"deepspeed": "ds.json"}, "no process holds the whole model with --deepspeed"),
        ({"stage": "rm"}, "--stage rm learns to give scores"),
        ({"do_train": "False", "val_size": "4"}, "With --do_train False, use studio eval"),
    ],
)
def test_what_cannot_be_measured_while_it_learns_is_said(more: dict[str, str], sentence: str):
    assert any(re.search(sentence, told) for told in asked(**more)), asked(**more)


def test_arguments_are_those_of_the_command_with_its_complaints():
    found, told = chosen({"a": {"method": "choice", "task_dir": "x", "n_shot": "3"}, "choice": {"task_dir": "y"}}, 5)
    assert told == [] and [(each.name, each.work) for each in found] == [
        ("a", "eval_choice"),
        ("choice", "eval_choice"),
    ]
    values = found[0].asked.flat()
    assert (values["n_shot"], values["per_device_eval_batch_size"]) == (3, 5)
    _, told = chosen({"a": {"method": "choice", "task_dir": "x", "model_name_or_path": "m"}}, 5)
    assert len(told) == 1 and "model_name_or_path" in told[0] and "the run itself says" in told[0]


def test_curves_are_read_from_what_was_kept_and_drawn(tmp_path: Path):
    place, run = Workspace(tmp_path), tmp_path / "saves" / "run"
    for step, hits in ((0, 2), (10, 5), (10, 6), (20, 7)):
        result = Result("ceval", "choice", f"step {step}", step == 0, step, {"accuracy": share(hits, 10)})
        keep([result], {}, run, place, settings={"while_training": True})
    keep([Result("choice", "choice", "m", False, None, {"accuracy": share(1, 10)})], {}, run, place)
    # The second start of a run measures a step again: the newest counts.
    ((step, value),) = [point for point in curves(run)["ceval"]["accuracy"] if point[0] == 10]
    assert (step, value.value) == (10, 0.6) and list(curves(run)) == ["ceval"]
    assert len(write_table(run).read_text().splitlines()) == 4
    assert plot_measures(curves(run), run / "a.png", "run") and (run / "a.png").read_bytes().startswith(b"\x89PNG")
    assert not plot_measures({}, run / "b.png", "run") and not (run / "b.png").exists()
