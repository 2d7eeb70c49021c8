"""The loss curve of a run as a picture, and the scores of a reward model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.jobs.progress import Point, smooth


def plot_loss(points: Sequence[Point], path: Path, title: str) -> bool:
    """Draw the training loss, raw and smoothed, and the evaluation loss over the steps as a PNG.

    Returns False, and writes nothing, when no point has a finite loss. The file appears whole.
    """
    training = _curve([(point.step, point.loss) for point in points])
    evaluation = _curve([(point.step, point.more.get("eval_loss")) for point in points])
    if not training and not evaluation:
        return False

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own instead of pyplot: no global state, and no window system is looked for.
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if training:
        steps, losses = zip(*training, strict=True)
        axes.plot(steps, losses, color="#9ecae1", linewidth=1, marker="." if len(steps) < 30 else "")
        # Over about a tenth of the curve: with few points a longer mean would lag far behind.
        axes.plot(steps, smooth(losses, keep=1 - min(1.0, max(0.05, 10 / len(losses)))), color="#08519c", linewidth=1.8)
        axes.lines[0].set_label("training loss")
        axes.lines[1].set_label("training loss, smoothed")
    if evaluation:
        steps, losses = zip(*evaluation, strict=True)
        axes.plot(steps, losses, color="#d94801", linewidth=1, marker="o", label="evaluation loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()

    _save(figure, path)
    return True


def plot_measures(curves: Mapping[str, Mapping[str, Sequence[tuple[int, Any]]]], path: Path, title: str) -> bool:
    """Draw what was measured while training over the steps as a PNG: a panel for each measure, with its intervals.

    A curve is steps with what has `value`, `low` and `high`. Returns False, and writes nothing, when there is none.
    """
    panels: dict[str, list[tuple[str, list[tuple[int, float, float, float]]]]] = {}
    for name, measures in curves.items():
        for measure, steps in measures.items():
            points = [(step, each.value, *_ends(each)) for step, each in steps if math.isfinite(each.value)]
            if points:
                panels.setdefault(measure, []).append((name, points))
    if not panels:
        return False

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 2.6 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (measure, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(len(panels), 1, number)
        for name, points in lines:
            steps, values, lows, highs = zip(*points, strict=True)
            (line,) = axes.plot(steps, values, marker="o", linewidth=1.5, label=name)
            axes.fill_between(steps, lows, highs, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set_ylabel(measure)
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("step")
    figure.suptitle(title)
    _save(figure, path)
    return True


def _ends(measure: Any) -> tuple[float, float]:
    """The interval of a measure as far as it can be drawn."""
    low, high = measure.low, measure.high
    return (low if math.isfinite(low) else measure.value), (high if math.isfinite(high) else measure.value)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        figure.savefig(beside, format="png")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _curve(values: list[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """What can be drawn: the steps with a finite value."""
    return [(step, value) for step, value in values if value is not None and math.isfinite(value)]


def plot_scores(splits: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the histograms of a reward model's scores as a PNG: chosen and rejected answers, a panel for each split.

    A split has "edges", and the counts "chosen" and "rejected" between them. The file appears whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 2.6 * len(splits)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, split) in enumerate(splits.items(), 1):
        axes = figure.add_subplot(len(splits), 1, number)
        for side, colour in (("rejected", "#d94801"), ("chosen", "#08519c")):
            axes.stairs(split[side], split["edges"], fill=True, color=colour, alpha=0.45, label=side)
        low, high = split["interval"]
        axes.set_title(
            f"{name}: {split['accuracy']:.1%} of {split['pairs']:,} pairs right ({low:.1%} to {high:.1%})", fontsize=10
        )
        axes.set_ylabel("answers")
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("score")
    figure.suptitle(title)
    _save(figure, path)
