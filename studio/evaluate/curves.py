"""The numbers that a run's own evaluations found, step by step: for pictures and tables. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.evaluate.intervals import Measure
from studio.evaluate.kept import FOLDER, as_csv, kept_of, read_kept
from studio.workspace import write_text

TABLE = "evaluations.csv"
# What the files of a run's own evaluations say of themselves.
WHILE_TRAINING = "while_training"
Curve = list[tuple[int, Measure]]


def own_evaluations(run: Path) -> Iterator[dict[str, Any]]:
    """What a run kept while it learned, oldest first; a file that cannot be read must not end a run, and is passed."""
    for path in kept_of(run):
        try:
            held = read_kept(path)
        except StudioError:
            continue
        if held["settings"].get(WHILE_TRAINING):
            yield held


def curves(run: Path) -> dict[str, dict[str, Curve]]:
    """Name of an evaluation → measure → its value at each step, ascending; of several at a step the newest."""
    found: dict[str, dict[str, dict[int, Measure]]] = {}
    for held in own_evaluations(run):
        for result in held["results"]:
            for name, value in result["measures"].items():
                steps = found.setdefault(held["name"], {}).setdefault(name, {})
                steps[int(result["step"])] = Measure.of_json(value)
    return {name: {measure: sorted(steps.items()) for measure, steps in measures.items()}
            for name, measures in found.items()}  # fmt: skip


def write_table(run: Path) -> Path:
    """All numbers of a run's own evaluations as one CSV beside them, a line for each step, group and measure."""
    rows: dict[tuple[str, int], str] = {}
    head = ""
    for held in own_evaluations(run):
        last = held["results"][-1]
        head, *lines = as_csv({**held, "results": [last]}).splitlines()
        rows[held["name"], int(last["step"])] = "".join(f"{held['name']},{line}\n" for line in lines)
    target = run / FOLDER / TABLE
    write_text(target, f"name,{head}\n" + "".join(text for _, text in sorted(rows.items())))
    return target
