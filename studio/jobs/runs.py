"""Run folders, read without the store: how each run stands, its checkpoints, its parents and children.

A run that was started in a terminal is known by its folder alone. It runs while the process named in
`run.json` lives and the folder's lock is held; else the record tells how it ended.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from studio import errors
from studio.jobs import failure
from studio.jobs.identity import alive, boot_id
from studio.jobs.job import Identity, State
from studio.workspace import Workspace, write_json

RECORD, LOG, PROGRESS, LOCK = "run.json", "log.txt", "progress.jsonl", ".studio.lock"
# saves/<model>/<method>/<run>, and room for a folder or two more.
DEPTH = 5
# A record is small; something else of that name is not read.
MOST_BYTES = 64 * 2**20
_TAIL = 64 * 2**10
# The line with which an attempt begins its part of the log.
_HEAD = re.compile(r"^\S+ \S+ studio \S+: studio train ", re.MULTILINE)
# What the record calls an end → the exit code of the command that ended so.
_CODES = {each.__name__: each.exit_code for each in vars(errors).values() if isinstance(each, type)
          and issubclass(each, errors.StudioError)}  # fmt: skip


@dataclass(frozen=True)
class RunRow:
    """One run folder. Times are seconds since 1970; `record` is its run.json."""

    folder: Path
    state: State
    record: Mapping[str, Any]
    reason: str = ""
    """The kind of failure (`jobs.failure`), or ''."""
    sentence: str = ""

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Every start, the last one last."""
        found = self.record.get("attempts")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    @property
    def recipe(self) -> dict[str, str]:
        """Name of an argument → its text, as it was frozen when the run began."""
        found = self.record.get("recipe")
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    @property
    def process(self) -> Identity | None:
        """The process of the last attempt."""
        return process_in(self.attempts[-1]) if self.attempts else None

    @property
    def job(self) -> int | None:
        """The number of the job whose last attempt this was; None for one started outside."""
        found = self.attempts[-1].get("job") if self.attempts else None
        return found if isinstance(found, int) else None

    @property
    def argv(self) -> tuple[str, ...]:
        """The words after `studio` that make this run again; () when the record names no training."""
        with contextlib.suppress(ValueError):
            words = shlex.split(str(self.record.get("command", "")))
            at = words.index("studio") + 1
            # A record may come from anywhere: nothing but a training is ever started from one.
            if at <= 2 and words[at : at + 1] == ["train"]:
                return tuple(words[at:])
        return ()

    @property
    def started(self) -> float | None:
        """When its last attempt began."""
        return seconds(self.attempts[-1].get("started")) if self.attempts else seconds(self.record.get("started"))

    @property
    def created(self) -> float | None:
        """When it was first started."""
        return seconds(self.record.get("started"))

    @property
    def ended(self) -> float | None:
        """When its last attempt ended, as far as it could say so."""
        return seconds(self.attempts[-1].get("ended")) if self.attempts else None


def runs(place: Workspace, *, known: Container[str] = ()) -> list[RunRow]:
    """Every run below saves/ and every one that is pointed to, newest first.

    Those of `known` (folders with all links followed) are read only while some process holds them.
    """
    held = held_files() if known else None
    found = {}
    top, real_top = str(place.saves), os.path.realpath(place.saves)
    for folder in folders(place):
        name = str(folder)
        # What lies below saves/ was reached without links: following them again would cost most of the time.
        below = name.startswith(f"{top}/")
        real = real_top + name[len(top) :] if below else os.path.realpath(folder)
        if real not in known or held is None or _inode(folder / LOCK) in held:
            found[real] = folder
    rows = [row for folder in found.values() if (row := read_run(folder)) is not None]
    return sorted(rows, key=lambda row: row.started or 0, reverse=True)


def folders(place: Workspace) -> Iterator[Path]:
    """The run folders, without reading them."""
    yield from _below(place.saves, DEPTH)
    pointers = place.root / ".studio" / "runs"
    for path in sorted(pointers.glob("*.json")) if pointers.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            folder = Path(json.loads(path.read_text(encoding="utf-8"))["folder"])
            if (folder / RECORD).is_file():
                yield folder


def point_to(folder: Path, place: Workspace) -> None:
    """Leave a note in the workspace of a run whose folder lies outside saves/, so that it is listed too."""
    real = os.path.realpath(folder)
    if Path(os.path.realpath(place.saves)) in Path(real).parents:
        return
    name = hashlib.sha256(os.fsencode(real)).hexdigest()[:20]
    with contextlib.suppress(OSError, UnicodeEncodeError):  # a workspace that may not be written is no reason to fail
        write_json(place.root / ".studio" / "runs" / f"{name}.json", {"folder": real})


def read_run(folder: Path) -> RunRow | None:
    """A run folder as it stands now, or None when it has no record that can be read."""
    record = read_json(folder / RECORD)
    if record is None or not isinstance(record.get("recipe"), dict):
        return None
    row = RunRow(folder, "running", record)
    if record.get("finished"):
        return RunRow(folder, "succeeded", record)
    last = row.attempts[-1] if row.attempts else {}
    if "ended" not in last and _works(row):
        return row
    return _ended(row, last)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a small file, or None. What was read is kept until the file is another one."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
        return None
    return _read_json(path, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=2048)
def _read_json(path: Path, _inode: int, _size: int, _time_ns: int) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock on a file, such as a run's `.studio.lock`.

    It is read from the kernel's list: trying the lock would refuse a run that starts this moment.
    """
    inode = _inode(path)
    if not inode:
        return False
    held = held_files()
    return held is None or inode in held  # without the list the process alone must tell


def held_files() -> set[str] | None:
    """The inodes of all files on which some process holds a lock; None where the kernel does not tell."""
    try:
        listed = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    locks = [words for line in listed if len(words := line.split()) > 5]
    return {words[5].rpartition(":")[2] for words in locks if words[1] == "FLOCK"}


def _inode(path: Path) -> str:
    try:
        return str(path.stat().st_ino)
    except OSError:
        return ""


def process_in(attempt: Mapping[str, Any]) -> Identity | None:
    """The identity that an attempt names."""
    try:
        told = attempt["process"]
        return Identity(str(told["boot_id"]), int(told["pid"]), int(told["start_ticks"]))
    except (KeyError, TypeError, ValueError):
        return None


def tail(path: Path, size: int = _TAIL) -> str:
    """The last bytes of a text file; '' when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def seconds(told: Any) -> float | None:
    """Seconds since 1970 for a time of the record."""
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except (ValueError, OverflowError):
        return None


def _works(row: RunRow) -> bool:
    process = row.process
    return is_held(row.folder / LOCK) and (process is None or alive(process))


def _ended(row: RunRow, last: Mapping[str, Any]) -> RunRow:
    """How a run ended that does not work any more and is not finished."""
    outcome, told = str(last.get("outcome", "")), str(last.get("reason", ""))
    if outcome == "finished":  # all that lacked was the last word of the record
        return RunRow(row.folder, "succeeded", row.record)
    if outcome:
        found = failure.classify(_CODES.get(outcome, 1), 0, told)
        state: State = "stopped" if found.kind == "stopped" else "paused" if found.kind == "disk_full" else "failed"
        return RunRow(row.folder, state, row.record, "" if state == "stopped" else found.kind, told.partition("\n")[0])
    said = tail(row.folder / LOG)
    said = said[max((found.start() for found in _HEAD.finditer(said)), default=0) :]
    if "Traceback (most recent call last)" in said:
        found = failure.classify(1, 0, said)
        return RunRow(row.folder, "failed", row.record, found.kind, found.evidence)
    # While the machine is up since, nothing but a signal ends a process without a word.
    kind = "killed" if row.process is not None and row.process.boot_id == boot_id() else "lost"
    return RunRow(row.folder, "lost", row.record, kind, failure.of_kind(kind).cause)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Run folders in a folder and those in it; what lies inside a run is not looked at."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == RECORD for entry in entries):
        yield folder
        return
    if depth > 0:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                yield from _below(folder / entry.name, depth - 1)
