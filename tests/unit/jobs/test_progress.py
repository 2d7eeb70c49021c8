"""The progress file: one flat line a point, torn ends, and cutting for a resume."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from studio.errors import StudioError
from studio.jobs.progress import Point, Progress, cut_after, read, smooth

NUMBERS = some.none() | some.floats(allow_nan=False)


def written(path: Path, *points: Point) -> Path:
    with Progress(path) as progress:
        for point in points:
            progress.append(point)
    return path


@given(some.integers(0), NUMBERS, NUMBERS, some.dictionaries(some.sampled_from(["eval_loss", "kl"]), NUMBERS))
def test_a_point_comes_back_from_its_line(step: int, loss: float | None, rate: float | None, more: dict):
    point = Point(step, loss=loss, learning_rate=rate, more=more)
    assert Point.parse(point.line()) == point


def test_a_line_is_flat_and_always_has_step_and_loss():
    assert json.loads(Point(3, more={"eval_loss": 0.5}).line()) == {"step": 3, "loss": None, "eval_loss": 0.5}


def test_a_loss_that_is_not_finite_stays_readable_json():
    line = Point(1, loss=math.nan, grad_norm=math.inf).line()
    assert json.loads(line) == {"step": 1, "loss": "nan", "grad_norm": "inf"}
    assert math.isnan(Point.parse(line).loss)
    assert Point.parse(line).grad_norm == math.inf


def test_a_stage_may_not_take_a_common_name():
    with pytest.raises(ValueError, match="epoch"):
        Point(1, more={"epoch": 1.0}).line()


def test_a_reader_sees_a_point_while_the_file_is_open(tmp_path: Path):
    with Progress(tmp_path / "run" / "progress.jsonl") as progress:
        progress.append(Point(1, loss=2.0))
        assert read(progress.path) == [Point(1, loss=2.0)]


def test_a_torn_last_line_is_ignored_and_the_next_point_does_not_join_it(tmp_path: Path):
    path = written(tmp_path / "progress.jsonl", Point(1, loss=2.0))
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert read(path) == [Point(1, loss=2.0)]
    written(path, Point(2, loss=1.5))
    assert read(path) == [Point(1, loss=2.0), Point(2, loss=1.5)]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path):
    path = tmp_path / "progress.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\nnonsense\n{"step": 2, "loss": 1.0}\n')
    with pytest.raises(StudioError, match="line 2 is 'nonsense'"):
        read(path)


def test_a_file_that_is_not_there_has_no_points(tmp_path: Path):
    assert read(tmp_path / "none.jsonl") == []


def test_cutting_leaves_no_step_to_stand_twice(tmp_path: Path):
    path = written(tmp_path / "progress.jsonl", *(Point(step, loss=1.0) for step in range(1, 6)))
    cut_after(path, 3)
    written(path, Point(4, loss=0.5), Point(5, loss=0.4))
    assert [point.step for point in read(path)] == [1, 2, 3, 4, 5]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["progress.jsonl"]


def test_cutting_keeps_the_values_of_the_stage(tmp_path: Path):
    path = written(tmp_path / "progress.jsonl", Point(1, more={"eval_loss": 2.0}), Point(2))
    cut_after(path, 1)
    assert read(path) == [Point(1, more={"eval_loss": 2.0})]


def test_smoothing_starts_at_the_first_value_and_stays_between_the_extremes():
    smoothed = smooth([4.0, 2.0, 3.0, 1.0])
    assert smoothed[0] == pytest.approx(4.0)
    assert all(1.0 <= value <= 4.0 for value in smoothed)
    assert smooth([5.0] * 4) == pytest.approx([5.0] * 4)


def test_smoothing_passes_over_a_value_that_is_not_finite():
    smoothed = smooth([2.0, math.nan, 2.0])
    assert math.isnan(smoothed[1])
    assert smoothed[2] == pytest.approx(2.0)
