"""What was measured of a model, beside its base: the shape of a result, its difference, and the files it is kept in.

`<run>/eval/<time>-<name>.json` for a run and its checkpoints, `evaluations/<model>/<time>-<name>.json` in the
workspace for any other model. Light: no torch.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studio import __version__
from studio.errors import ArgumentError, StudioError
from studio.evaluate.intervals import Measure as Measure
from studio.evaluate.intervals import paired
from studio.workspace import Workspace, write_json, write_text

SCHEMA = 1
FOLDER, ELSEWHERE = "eval", "evaluations"
# Rows that a result carries for people to look at; the values of all rows are kept beside them.
SHOWN = 200
ALL = "all"


@dataclass(frozen=True)
class Result:
    """What one task found of one model.

    `name` is what the task is called in curves and files ("choice"), `task` its kind, `model` the folder as a person
    would type it. `base`: whether this is what the others are compared with. `step` is the optimizer step of a
    checkpoint, None where there is none. `measures` are those over everything, `groups` those of a subject,
    category or dataset. `rows` are for people to look at, the first `SHOWN`.
    `values` holds one number a row under the name of a measure, for all rows in their order, `members` the numbers of
    the rows in each group: of these two a paired difference is made. `notes` are sentences for people.
    """

    name: str
    task: str
    model: str
    base: bool
    step: int | None
    measures: dict[str, Measure]
    groups: dict[str, dict[str, Measure]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    members: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As it stands in files and in the result of a job."""
        plain = asdict(self)
        plain["measures"] = {name: each.as_json() for name, each in self.measures.items()}
        plain["groups"] = {
            group: {name: each.as_json() for name, each in found.items()} for group, found in self.groups.items()
        }
        plain["rows"] = self.rows[:SHOWN]
        plain["values"] = {name: [_finite(value) for value in each] for name, each in self.values.items()}
        return plain

    @classmethod
    def of_json(cls, plain: Mapping[str, Any]) -> Result:
        """From a kept file."""
        groups = {group: _measures(found) for group, found in plain["groups"].items()}
        return cls(**{**plain, "measures": _measures(plain["measures"]), "groups": groups})


def _measures(plain: Mapping[str, Any]) -> dict[str, Measure]:
    return {name: Measure.of_json(each) for name, each in plain.items()}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def group_differences(model: Result, base: Result) -> dict[str, dict[str, Measure]]:
    """Model minus base of every measure that both know row by row, for each group of rows that both have.

    It is the mean difference of the same rows; `all` is that over everything.
    Rows are the same where both have as many: a task gives every model the same ones in the same order.
    """
    both = [name for name, values in model.values.items() if len(base.values.get(name, ())) == len(values)]
    groups = {name: rows for name, rows in model.members.items() if base.members.get(name) == rows}
    found: dict[str, dict[str, Measure]] = {}
    for name, measure in model.measures.items():
        if name not in both or name not in base.measures:
            continue
        mine, theirs = model.values[name], base.values[name]
        for group, rows in {ALL: range(len(mine)), **groups}.items():
            if rows:
                one, other = ([side[row] for row in rows] for side in (mine, theirs))
                found.setdefault(group, {})[name] = paired(one, other, measure.better)
    return found


Differences = Mapping[str, Mapping[str, Mapping[str, Measure]]]
"""Model → group → measure → difference from the base."""


def keep(
    results: Sequence[Result], differences: Differences, run: Path | None, place: Workspace, *, settings: Any = None
) -> Path:
    """Write one evaluation as JSON, whole or not at all; the file's path.

    `run` is the run folder that it is of, or None. Every model is in the one file, the base too.
    """
    first = next((each for each in results if not each.base), results[0])
    folder = run / FOLDER if run is not None else place.root / ELSEWHERE / _word(Path(first.model).name)
    path = _free(folder, f"{time.strftime('%Y%m%d-%H%M%S')}-{_word(first.name)}", ".json")
    write_json(path, document(results, differences, settings))
    return path


def document(results: Sequence[Result], differences: Differences, settings: Any = None) -> dict[str, Any]:
    """What the file holds: {"schema", "studio", "time", "name", "task", "settings", "results", "differences"}."""
    first = next((each for each in results if not each.base), results[0])
    return {
        "schema": SCHEMA,
        "studio": __version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "name": first.name,
        "task": first.task,
        "settings": settings or {},
        "results": [each.as_json() for each in results],
        "differences": plain_differences(differences),
    }


def plain_differences(differences: Differences) -> dict[str, Any]:
    """Differences as they stand in files: {model: {group: {measure: {value, low, high, count, better}}}}."""
    return {
        model: {group: {name: each.as_json() for name, each in found.items()} for group, found in groups.items()}
        for model, groups in differences.items()
    }


def export(paths: Sequence[str], kept: Mapping[str, Any], place: Workspace, *, overwrite: bool) -> list[Path]:
    """Write a kept evaluation as `.csv` (a line for each model, group and measure) or `.json` files.

    Raises ArgumentError for another ending or a file that is there and may not be overwritten.
    """
    targets = export_targets(paths, place, overwrite=overwrite)
    for path in targets:
        if path.suffix == ".json":
            write_json(path, kept)
        else:
            write_text(path, as_csv(kept))
    return targets


def export_targets(paths: Sequence[str], place: Workspace, *, overwrite: bool) -> list[Path]:
    """Where exports go, looked at before anything is computed. Raises ArgumentError as `export`."""
    told, targets = [], []
    for asked in paths:
        path = place.target(asked)
        if path.suffix not in (".csv", ".json"):
            told.append(f"--export {asked}: must end in .csv or .json. Name such a file.")
        elif path.exists() and not overwrite:
            told.append(f"--export {asked}: must be a new file; it exists already. Choose another name, "
                        "or set --overwrite_export True.")  # fmt: skip
        targets.append(path)
    if told:
        raise ArgumentError(told)
    return targets


def as_csv(kept: Mapping[str, Any]) -> str:
    """One line for each model, group and measure, with its interval and its difference from the base."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["value", "low", "high", "count"]
    writer.writerow(["model", "base", "step", "task", "group", "measure", *names, *(f"difference_{n}" for n in names)])
    for result in kept["results"]:
        apart = kept["differences"].get(result["model"], {})
        for group, measures in {ALL: result["measures"], **result["groups"]}.items():
            for name, found in measures.items():
                other = apart.get(group, {}).get(name, {})
                head = [result["model"], result["base"], result["step"], result["task"], group, name]
                writer.writerow([*head, *(found[n] for n in names), *(other.get(n) for n in names)])
    return out.getvalue()


def read_kept(path: Path) -> dict[str, Any]:
    """One kept evaluation. Raises StudioError for a file that is none."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"), parse_constant=_number, parse_float=_number)
        if int(held["schema"]) > SCHEMA:
            told = f"it is of schema {held['schema']}, and this studio reads {SCHEMA}"
        elif told := _amiss(held):
            told = f"its {told} cannot be what was written"
        else:
            return dict(held)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
    raise StudioError(f"{path} cannot be read as a kept evaluation ({told}). Move it aside.")


def _number(word: str) -> float:
    """Raises ValueError for one that JSON has not."""
    if not math.isfinite(value := float(word)):
        raise ValueError(f"{word} is no number of JSON")
    return value


def _amiss(held: dict[str, Any]) -> str:
    """The first thing that is not of the kind that `keep` writes, else ""."""
    apart = held["differences"]
    if not isinstance(held["time"], str):
        return "time"
    if not isinstance(apart, dict) or not all(isinstance(each, dict) for each in apart.values()):
        return "differences"
    results = held["results"]
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        return "results"
    kinds = {"measures": dict, "groups": dict, "model": str, "rows": list}
    return next((name for each in results for name, kind in kinds.items() if not isinstance(each[name], kind)), "")


def kept_of(run: Path) -> list[Path]:
    """The kept evaluations of a run, oldest first."""
    return sorted((run / FOLDER).glob("*.json")) if (run / FOLDER).is_dir() else []


def _word(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80] or "model"


def _free(folder: Path, stem: str, ending: str) -> Path:
    names = (f"{stem}{ending}", *(f"{stem}-{number}{ending}" for number in range(2, 1000)))
    return next(path for name in names if not (path := folder / name).exists())
