"""Checkpoints of a run: written whole or not at all, verified before they are trusted.

A folder is called `checkpoint-N` only when its manifest (every file's size and SHA-256) stands,
and the manifest is written last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from studio.model.staging import MANIFEST, seal
from studio.workspace import sync_folder

NAME = re.compile(r"^checkpoint-(\d+)$")
HALF = ".tmp-checkpoint"
TRASH = ".trash-"


def half_folder(run: Path) -> Path:
    """Where the next checkpoint is written; its name says that it is not complete."""
    return run / HALF


def begin(run: Path) -> Path:
    """An empty folder for the next checkpoint; what an interrupted save left is removed."""
    folder = half_folder(run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def complete(run: Path, step: int) -> Path:
    """Sync the half-written checkpoint, list its files, and give it its name."""
    target = run / f"checkpoint-{step}"
    seal(half_folder(run))
    sync_folder(half_folder(run))
    old = put_aside(target) if target.exists() else None
    half_folder(run).rename(target)
    try:
        sync_folder(run)
    except OSError:
        discard(target)  # whether its name lasts, nobody knows
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return target


def finish_interrupted(run: Path) -> None:
    """Give a checkpoint its name that was whole when its process ended just before that."""
    half = half_folder(run)
    if not (half / MANIFEST).is_file() or verify(half):
        return
    step = json.loads((half / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]
    if not (target := run / f"checkpoint-{step}").exists():
        half.rename(target)
        sync_folder(run)


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder; 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def steps(run: Path) -> list[tuple[int, Path]]:
    """Checkpoints by step, oldest first."""
    if not run.is_dir():
        return []
    found = [(int(match[1]), path) for path in run.iterdir() if (match := NAME.match(path.name))]
    return sorted(found)


def prune(run: Path, keep: int | None, best: Path | None) -> list[Path]:
    """Remove all but the newest `keep` checkpoints; the best one always stays."""
    if keep is None:
        return []
    kept = {path for _, path in steps(run)[-keep:]}
    gone = [path for _, path in steps(run) if path not in kept and path != best]
    for path in gone:
        discard(path)
    return gone


def discard(folder: Path) -> None:
    """Take a folder's name away first, so that a half-removed one is never taken for whole."""
    shutil.rmtree(put_aside(folder), ignore_errors=True)


def put_aside(folder: Path) -> Path:
    """Take a folder's name away; what is left over is removed at the next start."""
    trash = folder.with_name(f"{TRASH}{folder.name}-{time.monotonic_ns()}")
    folder.rename(trash)
    return trash


def clear_leftovers(run: Path) -> None:
    """Remove what interrupted saves and removals left."""
    for path in run.glob(".t*"):
        if path.name.startswith((HALF, TRASH)):
            shutil.rmtree(path, ignore_errors=True)
    for path in run.glob(".*.part"):
        path.unlink()


def verify(folder: Path) -> str:
    """What is wrong with a complete-looking folder, or '' when every file is as listed."""
    try:
        listed: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return "it has no manifest, so it was never complete"
    except (ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    for entry in listed:
        path = folder / entry["name"]
        if not path.is_file():
            return f"{entry['name']} is missing"
        if path.stat().st_size != entry["size"]:
            return f"{entry['name']} has {path.stat().st_size} bytes, {entry['size']} were written"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                return f"{entry['name']} is not what was written (its SHA-256 differs)"
    return ""


def newest_good(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint a run can go on from, and a sentence for each that was passed over.

    Damaged ones are moved aside when there is a good one to go on from; without one all stay where
    they are, so that the next start is refused too instead of beginning at zero. One without
    optimizer state always stays.
    """
    damaged: list[tuple[Path, str]] = []
    told: list[str] = []
    for _, path in reversed(steps(run)):
        if wrong := verify(path):
            damaged.append((path, f"{path.name} cannot be used: {wrong}."))
        elif can_resume(path):
            return path, [*told, *(_move_aside(*each) for each in damaged)]
        else:
            told.append(f"{path.name} was saved without the optimizer's state: a run cannot go on from it.")
    return None, [*told, *(sentence for _, sentence in damaged)]


def _move_aside(path: Path, sentence: str) -> str:
    aside = path.with_name(f".bad-{path.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    path.rename(aside)
    return f"{sentence} It was moved aside to {aside.name}."


def can_resume(folder: Path) -> bool:
    """Whether a checkpoint holds what a run needs to go on exactly."""
    state = any(folder.glob("optimizer*")) or any(folder.glob("global_step*"))
    return state and (folder / "trainer_state.json").is_file()
