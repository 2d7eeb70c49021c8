"""A job or a run looked at from outside: its folder, its log, how far it is, why it failed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.jobs import failure
from studio.jobs.failure import Failure
from studio.jobs.job import ENDED, Job
from studio.jobs.runs import LOG, PROGRESS, RunRow, is_held, tail
from studio.jobs.store import folder_of
from studio.workspace import Workspace

_TAIL = 16 * 2**10
# The line with which the supervisor begins an attempt in the log of a job.
_ATTEMPT = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d attempt \d+: .*\n", re.MULTILINE)


def folder_in(found: Job | RunRow) -> Path | None:
    """The folder that it writes."""
    if isinstance(found, RunRow):
        return found.folder
    return Path(found.output) if found.output else None


def log_path(found: Job | RunRow, place: Workspace) -> Path:
    """What it said: everything of a job, for a run that was started outside what it kept."""
    if isinstance(found, RunRow):
        return _own(found.folder, LOG)
    own = folder_of(place, found.id) / LOG
    return own if own.is_file() or not found.output else _own(Path(found.output), LOG)


def progress_path(found: Job | RunRow, place: Workspace) -> Path:
    """Where it tells how far it is."""
    if isinstance(found, RunRow):
        return _own(found.folder, PROGRESS)
    own = found.kind == "train" and found.output
    return _own(Path(found.output), PROGRESS) if own else folder_of(place, found.id) / PROGRESS


def own_path(found: Job | RunRow, name: str) -> Path | None:
    """A file that it keeps in the folder that it writes; None when it writes none."""
    folder = folder_in(found)
    return _own(folder, name) if folder else None


def _own(folder: Path, name: str) -> Path:
    """A file of a run; a link belongs to somebody else, a pipe would be waited for: neither counts as there."""
    path = folder / name
    plain = not path.is_symlink() and (path.is_file() or not path.exists())
    return path if plain else folder / f".{name}.link"


def last_point(path: Path) -> dict[str, Any] | None:
    """The last whole line of a progress file, with the last loss, reward and speed that were measured; else None."""
    lines = tail(path, _TAIL).split("\n")[:-1]
    rows = [row for line in lines[-64:] if (row := point(line)) is not None]
    if not rows:
        return None
    known = {}
    for name in ("loss", "reward", "tokens_per_s"):
        measured = [row[name] for row in rows if row.get(name) is not None]
        known[name] = measured[-1] if measured else None
    return {**rows[-1], **known}


def point(line: str | bytes) -> dict[str, Any] | None:
    """A line as plain values; numbers that are not finite, which JSON has no word for, become None."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    return {name: None if value in ("nan", "inf", "-inf") else value for name, value in row.items()}


def card(found: Job | RunRow, place: Workspace) -> Failure | None:
    """Why it ended badly: cause, evidence, remedy; None where nothing did."""
    if isinstance(found, RunRow):
        evidence = failure.last_line(tail(log_path(found, place))) if found.state == "lost" else found.sentence
        return failure.of_kind(found.reason, evidence) if found.reason else None
    ended_badly = found.state in ("failed", "killed", "lost") or found.reason in failure.KINDS
    if found.state not in ENDED or not ended_badly:
        return None
    log = tail(log_path(found, place))
    if found.state == "lost":
        return failure.of_kind("lost", failure.last_line(log))
    heads = list(_ATTEMPT.finditer(log))
    made = failure.classify(
        found.exit_code or 0, found.signal, log[heads[-1].end() :] if heads else log, found.wish
    )  # fmt: skip
    if found.reason in failure.KINDS and made.kind != found.reason:
        return failure.of_kind(found.reason, found.sentence)
    return made


def recipe_in(argv: Sequence[str]) -> dict[str, str]:
    """The values that a command names, before the run has frozen them itself."""
    found: dict[str, str] = {}
    words = list(argv[1:])
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, has_value, value = word[2:].partition("=")
        following = words[index + 1] if index + 1 < len(words) and not words[index + 1].startswith("--") else "True"
        found[name] = value if has_value else following
    return found


def has_worker(place: Workspace) -> bool:
    """Whether a worker takes jobs from the queue of the workspace."""
    return is_held(place.root / ".studio" / "worker.lock")
