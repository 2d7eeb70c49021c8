"""The loss curve."""

from __future__ import annotations

import math
import struct
from pathlib import Path

from studio.jobs.plot import plot_loss
from studio.jobs.progress import Point


def test_a_run_becomes_a_png_with_nothing_left_beside_it(tmp_path: Path):
    points = [Point(step, loss=3 / step) for step in range(1, 50)]
    points += [Point(step, more={"eval_loss": 3.2 / step}) for step in (10, 20)]
    path = tmp_path / "training_loss.png"
    assert plot_loss(points, path, "tiny, sft")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 800
    assert height > 400
    assert [each.name for each in tmp_path.iterdir()] == ["training_loss.png"]


def test_a_single_step_and_a_loss_that_is_not_finite_are_drawn(tmp_path: Path):
    assert plot_loss([Point(1, loss=2.0), Point(2, loss=math.nan)], tmp_path / "a.png", "short")


def test_without_any_loss_there_is_no_picture(tmp_path: Path):
    assert not plot_loss([Point(1), Point(2, loss=math.inf)], tmp_path / "a.png", "none")
    assert not list(tmp_path.iterdir())
