"""The run folder: what was asked, what came of it, and whether a start begins, goes on or refuses.

`run.json` holds the recipe, the environment, the data's hashes, the decisions and each attempt. Its
`finished` is written last, so a folder without it is unfinished.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from studio import __version__
from studio.command import to_shell, to_text
from studio.errors import ResumeError, SchemaError, StudioError
from studio.model.checkpoint import clear_leftovers, newest_good, steps, verify
from studio.model.staging import aside
from studio.recipe import Recipe
from studio.workspace import Workspace, lock, write_json

SCHEMA = 1
RECORD = "run.json"
# These say how to start, not what is learned: a run may go on under other values of them.
FREE = {"overwrite_output_dir", "resume_from_checkpoint", "overwrite_cache", "preprocessing_num_workers"}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "trl")


@dataclass
class Run:
    """One run folder, held by this process."""

    folder: Path
    record: dict[str, Any]
    resume: Path | None = None
    notes: list[str] = field(default_factory=list)

    def write(self, **facts: Any) -> None:
        """Change the record and write it whole."""
        self.record.update(facts)
        write_json(self.folder / RECORD, self.record)

    def check_data(self, hashes: dict[str, str]) -> None:
        """Refuse to go on with other data than the run began with. Raises ResumeError."""
        before = self.record.get("data", {}).get("hashes")
        if self.resume is None or before is None or before == hashes:
            return
        names = sorted(set(before) ^ set(hashes) | {n for n in before if before[n] != hashes.get(n)})
        raise ResumeError(
            f"the data must be what the run began with, but {', '.join(names)} changed since. "
            "Put the old file back, or start anew with another output_dir or --overwrite_output_dir True."
        )


@contextlib.contextmanager
def open_run(recipe: Recipe, place: Workspace) -> Iterator[Run]:
    """Hold the recipe's output folder and decide: begin, go on, or refuse.

    Raises WorkspaceError when another run holds the folder, StudioError when it holds a finished run,
    a run of another recipe or something else, SchemaError for a newer record.
    """
    folder = place.path(recipe.training.output_dir)
    if folder.exists() and not folder.is_dir():
        raise StudioError(f"--output_dir {folder} must be a folder; it is a file. Choose another name.")
    if recipe.training.overwrite_output_dir and folder.is_dir() and _holds_something(folder):
        with lock(folder, "a run"):
            old = aside(folder)
            folder.rename(old)
        notes = [f"the folder that was there is kept as {place.shown(old)}"]
    else:
        notes = []
        inspect(recipe, folder)  # refuse before the folder gets so much as a lock file
    with lock(folder, "a run"):
        run = _decide(recipe, folder, place)
        run.notes[:0] = notes
        clear_leftovers(folder)
        yield run


def _holds_something(folder: Path) -> bool:
    return any(entry.name != ".studio.lock" for entry in folder.iterdir())


def read_record(folder: Path) -> dict[str, Any] | None:
    """A folder's run.json, or None when it has none. Raises SchemaError, StudioError."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = int(record["schema"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise StudioError(
            f"{path} cannot be read as the record of a run. Choose another output_dir."
        ) from None
    if schema > SCHEMA:
        raise SchemaError(
            f"{path} was written by a newer studio (schema {schema}; this one, {__version__}, reads "
            f"{SCHEMA}). Update the studio."
        )
    return dict(record)


def inspect(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """The record to go on from, or None for a new run. Raises StudioError when neither can be."""
    if not folder.is_dir() or not _holds_something(folder):
        return None
    way_out = "Choose another output_dir, or --overwrite_output_dir True moves the old folder aside."
    record = read_record(folder)
    if record is None:
        names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:6])
        raise StudioError(
            f"--output_dir {folder} must be a run of the studio or empty; it holds {names}. {way_out}"
        )
    if differing := differences(record["recipe"], recipe):
        raise StudioError(f"{folder} holds a run of another recipe: {'; '.join(differing)}. {way_out}")
    if record.get("finished"):
        raise StudioError(
            f"{folder} holds this run, finished on {record['finished']}; nothing was touched. {way_out}"
        )
    return record


def differences(before: dict[str, str], recipe: Recipe) -> list[str]:
    """What another recipe says otherwise: 'lora_rank was 8, is 16'."""
    now = _plain(recipe)
    names = [name for name in {**before, **now} if name not in FREE and before.get(name) != now.get(name)]
    return [f"{name} was {before.get(name, 'unset')}, is {now.get(name, 'unset')}" for name in names]


def _plain(recipe: Recipe) -> dict[str, str]:
    return {"stage": recipe.stage, **{name: to_text(value) for name, value in recipe.changes().items()}}


def _decide(recipe: Recipe, folder: Path, place: Workspace) -> Run:
    record = inspect(recipe, folder)
    if record is None:
        record = {
            "schema": SCHEMA,
            "studio": __version__,
            "command": to_shell(recipe),
            "recipe": _plain(recipe),
            "started": now(),
            "finished": None,
            "attempts": [],
        }
    run = Run(folder, record)
    if asked := recipe.training.resume_from_checkpoint:
        run.resume = _asked_checkpoint(place.path(asked))
    elif steps(folder):
        run.resume, run.notes = newest_good(folder)
        if run.resume is None:
            told = " ".join(run.notes)
            raise ResumeError(
                f"{folder} has no checkpoint to go on from: {told} "
                "Start over with --overwrite_output_dir True, which keeps the old folder."
            )
    begun = {"started": now(), "resumed_from": run.resume.name if run.resume else None}
    run.record["attempts"].append({**begun, "python": platform.python_version(), "packages": versions()})
    return run


def _asked_checkpoint(path: Path) -> Path:
    if not path.is_dir():
        raise ResumeError(f"--resume_from_checkpoint {path} must be a checkpoint folder; there is none.")
    if wrong := verify(path):
        raise ResumeError(f"--resume_from_checkpoint {path} cannot be used: {wrong}. Choose another.")
    return path


def now() -> str:
    """The time, to the second, with the zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def versions() -> dict[str, str]:
    """Versions of the packages a run depends on."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
