"""The run folder: what was asked, what came of it, and whether a start begins, goes on or refuses.

`run.json` holds the recipe, the environment, the data's hashes, the decisions and each attempt. Its
`finished` is written last, so a folder without it is unfinished.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from studio import __version__
from studio.command import to_shell, to_text
from studio.errors import ResumeError, SchemaError, StudioError
from studio.jobs.identity import identity_of
from studio.jobs.launch import is_main, main_first, visible_devices
from studio.jobs.runs import RECORD, point_to
from studio.model.checkpoint import can_resume, clear_leftovers, finish_interrupted, newest_good, steps, verify
from studio.model.staging import aside
from studio.recipe import Recipe
from studio.workspace import Workspace, lock, write_json

SCHEMA = 1
# These say where and how to start, not what is learned: a run may go on under other values of them.
FREE = {"output_dir", "overwrite_output_dir", "resume_from_checkpoint", "overwrite_cache", "preprocessing_num_workers"}
PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "trl", "bitsandbytes",
    "deepspeed",
)  # fmt: skip


@dataclass
class Run:
    """One run folder, held by this process."""

    folder: Path
    record: dict[str, Any]
    resume: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def resumed_step(self) -> int:
        """The step that was the last one when the checkpoint to go on from was written; else 0."""
        if self.resume is None:
            return 0
        state = json.loads((self.resume / "trainer_state.json").read_text(encoding="utf-8"))
        return int(state["global_step"])

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
    folder = place.target(recipe.training.output_dir)
    if not is_main(os.environ):
        with main_first("folder"):
            yield _joined(recipe, folder, place)
        return
    notes = []
    inspect(recipe, folder, place)  # refuse before the folder gets so much as a lock file
    if overwrites(recipe, folder) and folder.is_dir() and _holds_something(folder):
        with lock(folder, "a run"):
            old = aside(folder)
            folder.rename(old)
        notes = [f"the folder that was there is kept as {place.shown(old)}"]
    with lock(folder, "a run"):
        with main_first("folder"):
            run = _decide(recipe, folder, place)
            run.notes[:0] = notes
            clear_leftovers(folder)
            run.write()  # from here on the folder is known as this run's, however the process ends
            point_to(folder, place)
        yield run


def overwrites(recipe: Recipe, folder: Path) -> bool:
    """Whether what stands in the folder is to make room: not for another attempt of the job that began it."""
    if not recipe.training.overwrite_output_dir:
        return False
    job = whose()["job"]
    try:
        record = read_record(folder) if job is not None else None
    except StudioError:
        return True
    begun = record is not None and any(attempt.get("job") == job for attempt in record["attempts"])
    return not begun or record is None or bool(differences(record["recipe"], recipe))


def _joined(recipe: Recipe, folder: Path, place: Workspace) -> Run:
    """The run as the main process opened it, for the processes beside it."""
    record = read_record(folder)
    assert record is not None, "the main process writes the record first"
    resumed = record["attempts"][-1]["resumed_from"]
    asked = recipe.training.resume_from_checkpoint
    return Run(folder, record, (place.path(asked) if asked else folder / resumed) if resumed else None)


def _holds_something(folder: Path) -> bool:
    """Whether there is more than the lock and what a killed process left half written."""
    return any(entry.name != ".studio.lock" and entry.suffix != ".part" for entry in folder.iterdir())


def read_record(folder: Path) -> dict[str, Any] | None:
    """A folder's run.json, or None when it has none. Raises SchemaError, StudioError."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema, _ = int(record["schema"]), {**record["recipe"]}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise StudioError(f"{path} cannot be read as the record of a run. Choose another output_dir.") from None
    if schema > SCHEMA:
        raise SchemaError(
            f"{path} was written by a newer studio (schema {schema}; this one, {__version__}, reads "
            f"{SCHEMA}). Update the studio."
        )
    return dict(record)


def inspect(recipe: Recipe, folder: Path, place: Workspace) -> dict[str, Any] | None:
    """The record to go on from, or None for a new run. Raises StudioError when neither can be."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise StudioError(f"--output_dir {folder} must be a folder; {path} is a file. Choose another name.")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise StudioError(
            f"--output_dir {folder} cannot be written: this user may not write in {there}. "
            "Choose another folder, or change its rights."
        )
    if not folder.is_dir() or not _holds_something(folder):
        return None
    if overwrites(recipe, folder):
        _refuse_to_move(recipe, folder, place)
        return None
    way_out = "Choose another output_dir, or --overwrite_output_dir True moves the old folder aside."
    record = read_record(folder)
    if record is None:
        names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:6])
        raise StudioError(f"--output_dir {folder} must be a run of the studio or empty; it holds {names}. {way_out}")
    differing = differences(record["recipe"], recipe)
    if differing and "data" not in record and not steps(folder):
        return None  # it was refused before it loaded a weight, and now the command was corrected
    if differing:
        raise StudioError(f"{folder} holds a run of another recipe: {'; '.join(differing)}. {way_out}")
    if record.get("finished"):
        raise StudioError(f"{folder} holds this run, finished on {record['finished']}; nothing was touched. {way_out}")
    return record


def _refuse_to_move(recipe: Recipe, folder: Path, place: Workspace) -> None:
    """Raise StudioError for a folder that holds what this command needs, or the workspace itself."""
    asked = (recipe.model.model_name_or_path, recipe.model.tokenizer_name_or_path, recipe.data.dataset_dir,
             *recipe.data.train_file, *recipe.data.validation_file, recipe.data.sample_policy_file,
             *recipe.model.adapter_name_or_path, recipe.training.resume_from_checkpoint,
             recipe.training.deepspeed)  # fmt: skip
    real = folder.resolve()
    rooms = (place.root, place.data, place.models, place.saves)
    for path in (*rooms, *(place.path(name) for name in asked if name)):
        if real == path.resolve() or (path.exists() and real in path.resolve().parents):
            raise StudioError(
                f"--overwrite_output_dir True would move {folder} aside, but the command needs "
                f"{place.shown(path)}, which lies there. Choose another output_dir."
            )


def differences(before: dict[str, str], recipe: Recipe) -> list[str]:
    """What another recipe says otherwise: 'lora_rank was 8, is 16'."""
    now = _plain(recipe)
    names = [name for name in {**before, **now} if name not in FREE and before.get(name) != now.get(name)]
    return [f"{name} was {before.get(name, 'unset')}, is {now.get(name, 'unset')}" for name in names]


def _plain(recipe: Recipe) -> dict[str, str]:
    return {"stage": recipe.stage, **{name: to_text(value) for name, value in recipe.changes().items()}}


def _decide(recipe: Recipe, folder: Path, place: Workspace) -> Run:
    record = None if overwrites(recipe, folder) else inspect(recipe, folder, place)
    finish_interrupted(folder)
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
    begun = {"started": now(), "resumed_from": run.resume.name if run.resume else None, **whose()}
    begun |= {"python": platform.python_version(), "packages": versions(), "machine": machine()}
    if run.resume is not None and run.record["attempts"]:
        differing = otherwise(run.record["attempts"][-1], begun)
        begun["differs"] = differing
        if differing:
            run.notes.append(
                f"warning: not an exact resume: {'; '.join(differing)}. The run goes on, but its numbers may differ "
                "from those of a run without a break."
            )
    run.record["attempts"].append(begun)
    return run


def machine() -> dict[str, str]:
    """What of a machine numbers depend on beside packages: how many processes, how many GPUs, which processor."""
    return {"processes": os.environ.get("WORLD_SIZE", "1"), "GPUs": str(visible_devices(os.environ)),
            "processor": _processor(), "threads": os.environ.get("OMP_NUM_THREADS", "")}  # fmt: skip


def _processor() -> str:
    """The name of the processor; its instructions decide in which order sums are taken."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return platform.processor()


def otherwise(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of an attempt is not as in the one before: 'torch was 2.11, is 2.12'."""
    told = []
    for group in ("packages", "machine"):
        old, new = before.get(group) or {}, now[group]
        names = [name for name in {**old, **new} if old and old.get(name) != new.get(name)]
        told += [f"{name} was {old.get(name) or 'unset'}, is {new.get(name) or 'unset'}" for name in names]
    if before.get("python", now["python"]) != now["python"]:
        told.append(f"Python was {before['python']}, is {now['python']}")
    return told


def whose() -> dict[str, Any]:
    """Which process makes an attempt, and for which job: by it others know whether the run still works."""
    own, job = identity_of(os.getpid()), os.environ.get("STUDIO_JOB_ID", "")
    return {"process": asdict(own) if own else None, "job": int(job) if job.isdigit() else None}


def _asked_checkpoint(path: Path) -> Path:
    if not path.is_dir():
        raise ResumeError(f"--resume_from_checkpoint {path} must be a checkpoint folder; there is none.")
    wrong = verify(path) or ("" if can_resume(path) else "it has no optimizer state to go on with")
    if wrong:
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
