"""What a run holds and what hangs together with it: checkpoints, parents, children, who depends on it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from studio.errors import WorkspaceError
from studio.jobs.job import Job
from studio.jobs.runs import RECORD, read_json, runs
from studio.model.checkpoint import can_resume, steps
from studio.model.staging import MANIFEST
from studio.workspace import Workspace, lock

Relation = Literal["run", "adapter", "export", "model", "checkpoint", "job", "missing"]
EXPORT = "export.json"
STATE = "trainer_state.json"
# Arguments of a recipe that name a folder of weights which the run needs.
NEEDS = (
    "model_name_or_path", "adapter_name_or_path", "tokenizer_name_or_path", "reward_model", "reward_model_adapters",
    "ref_model", "ref_model_adapters", "resume_from_checkpoint",
)  # fmt: skip
# What some of them are for, where that is not what learns.
_PARTS_PLAYED = {
    "reward_model": "reward model", "reward_model_adapters": "reward model", "ref_model": "reference model",
    "ref_model_adapters": "reference model",
}  # fmt: skip
# The same in the words of a command.
_FLAGS = tuple(f"--{name}" for name in NEEDS)
# exports lie in models/<name>; a folder or two more may be between.
_EXPORT_DEPTH = 3


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint of a run."""

    path: str
    step: int
    complete: bool
    resumable: bool
    metrics: Mapping[str, float]
    best: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "metrics": dict(self.metrics)}


@dataclass(frozen=True)
class Relative:
    """A folder (or a job) that a run came from, or that came from it."""

    path: str
    kind: Relation
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def checkpoints(folder: Path, place: Workspace) -> list[CheckpointRow]:
    """Every checkpoint of a run, by step; its files are looked at, not read through."""
    found = []
    for step, path in steps(folder):
        state = read_json(path / STATE) or {}
        history = state.get("log_history")
        best = state.get("best_global_step") == step
        metrics = _metrics(history if isinstance(history, list) else [], step)
        found.append(CheckpointRow(place.shown(path), step, _is_whole(path), can_resume(path), metrics, best))
    return found


def lineage(place: Workspace, folder: Path) -> tuple[list[Relative], list[Relative]]:
    """The parents of a folder and its children: one step in each direction."""
    row = read_json(folder / RECORD)
    if row is not None:
        parents = [_seen(path, place, _part_played(path, row, place)) for path in _parents(row, place)]
    else:
        record = read_json(folder / EXPORT) or {}
        parents = [_seen(Path(name), place) for name in _sources(record)]
    return parents, children(place, folder)


def children(place: Workspace, folder: Path) -> list[Relative]:
    """Runs and exports made from a folder, or from a checkpoint in it."""
    real = os.path.realpath(folder)
    found = []
    for run in runs(place):
        if os.path.realpath(run.folder) == real:
            continue
        from_it = [path for path in _parents(run.record, place) if _inside(path, real)]
        if from_it:
            kind: Relation = "adapter" if (run.folder / "adapter_config.json").is_file() else "run"
            found.append(Relative(place.shown(run.folder), kind, _part(from_it[0], real)))
    for export in exports(place):
        used = [Path(name) for name in _sources(read_json(export / EXPORT) or {})]
        from_it = [path for path in used if _inside(path, real)]
        if from_it and os.path.realpath(export) != real:
            found.append(Relative(place.shown(export), "export", _part(from_it[0], real)))
    return found


def discard_run(folder: Path, place: Workspace) -> None:
    """Remove a run's folder with everything in it, for good. Raises WorkspaceError while it works.

    Only what lies deeper in saves/ than its top, and is a run, is ever removed.
    """
    real, room = Path(os.path.realpath(folder)), Path(os.path.realpath(place.saves))
    if room not in real.parents or not (real / RECORD).is_file():
        raise WorkspaceError(
            f"only a run below {place.shown(place.saves)}/ can be removed here; {place.shown(folder)} is none. "
            "Remove it by hand if you are sure."
        )
    with lock(real, "a removal"):
        gone = real.with_name(f".trash-{real.name}-{time.monotonic_ns()}")
        real.rename(gone)  # its name goes first: a half-removed run must not be taken for a whole one
        shutil.rmtree(gone, ignore_errors=True)


def dependants(place: Workspace, folder: Path, active: Sequence[Job] = ()) -> list[Relative]:
    """What would miss the folder: its children, and jobs that wait or work and name it in their command."""
    real = os.path.realpath(folder)
    found = children(place, folder)
    for job in active:
        for path in _named(job.argv, place):
            if _inside(path, real):
                found.append(Relative(f"{job.id}", "job", job.title or job.kind))
                break
    return found


def exports(place: Workspace) -> Iterator[Path]:
    """Folders that an export made, below models/ and saves/."""
    for room in (place.models, place.saves):
        yield from _below(room, _EXPORT_DEPTH)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == EXPORT for entry in entries):
        yield folder
    elif depth > 0:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "checkpoint-")):
                yield from _below(folder / entry.name, depth - 1)


def _parents(record: Mapping[str, Any], place: Workspace) -> list[Path]:
    """The folders that a run's weights come from: as recorded at its end, before that as asked for."""
    recipe = record.get("recipe")
    asked = recipe if isinstance(recipe, dict) else {}
    parents = record.get("parents")
    named = [str(name) for name in parents if name] if isinstance(parents, list) else []
    for name in NEEDS:
        if name in ("tokenizer_name_or_path",) or (named and name in NEEDS[:2]):
            continue
        named += _names(asked.get(name))
    return [path for name in dict.fromkeys(named) if (path := _path(name, place)) is not None]


def _part_played(path: Path, record: Mapping[str, Any], place: Workspace) -> str:
    """What a parent was for besides its weights: 'reward model', 'reference model', or ''."""
    recipe = record.get("recipe")
    asked = recipe if isinstance(recipe, dict) else {}
    for name, part in _PARTS_PLAYED.items():
        if any(_path(each, place) == path for each in _names(asked.get(name))):
            return part
    return ""


def _names(value: Any) -> list[str]:
    """One name, or several: as a list, as its JSON text, or with commas between."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]
    return [str(each) for each in value] if isinstance(value, list) else [n for n in str(value or "").split(",") if n]


def _sources(record: Mapping[str, Any]) -> list[str]:
    adapters = record.get("adapters")
    return [str(name) for name in (record.get("base"), *(adapters if isinstance(adapters, list) else [])) if name]


def _named(argv: Sequence[str], place: Workspace) -> Iterator[Path]:
    """The folders of weights that a command names."""
    for index, word in enumerate(argv):
        flag, has_value, value = word.partition("=")
        if flag in _FLAGS:
            given = value if has_value else argv[index + 1] if index + 1 < len(argv) else ""
            yield from (path for name in _names(given) if (path := _path(name, place)) is not None)


def _path(name: str, place: Workspace) -> Path | None:
    if any(mark in name for mark in "\0\n\r"):
        return None
    return Path(os.path.abspath(place.root / Path(name)))


def _inside(path: Path, real: str) -> bool:
    own = os.path.realpath(path)
    return own == real or own.startswith(real.rstrip("/") + "/")


def _part(path: Path, real: str) -> str:
    """Which part of the folder it was: 'checkpoint-200', or ''."""
    own = os.path.realpath(path)
    return "" if own == real else os.path.relpath(own, real)


def _seen(path: Path, place: Workspace, note: str = "") -> Relative:
    full = path if path.is_absolute() else place.root / path
    kind: Relation = "export" if (full / EXPORT).is_file() else "model"
    if not full.is_dir():
        kind = "missing"
    elif (full / RECORD).is_file():
        kind = "run"
    elif (full.parent / RECORD).is_file():
        kind = "checkpoint"
    return Relative(place.shown(full), kind, note)


def _is_whole(folder: Path) -> bool:
    """Whether every file that the manifest lists is there in its size."""
    listed = (read_json(folder / MANIFEST) or {}).get("files")
    if not isinstance(listed, list):
        return False
    try:
        return all((folder / entry["name"]).stat().st_size == entry["size"] for entry in listed)
    except (OSError, KeyError, TypeError):
        return False


def _metrics(history: Sequence[Any], step: int) -> dict[str, float]:
    """What was measured at a step, and the last training loss up to it."""
    found: dict[str, float] = {}
    for entry in history:
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int) or entry["step"] > step:
            continue
        if entry["step"] == step:
            found |= {name: value for name, value in _numbers(entry).items() if name.startswith("eval_")}
        if isinstance(entry.get("loss"), int | float):
            found["loss"] = float(entry["loss"])
    return {name: value for name, value in found.items() if not name.endswith(("_runtime", "_per_second"))}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    finite = {name: value for name, value in values.items() if type(value) in (int, float)}
    return {str(name): value for name, value in finite.items() if abs(value) != float("inf") and value == value}
