"""The list of jobs made anew from folders: what `.studio/jobs/` and the run folders tell, the store need not keep."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.jobs import steps
from studio.jobs.identity import alive, identity_of, marked
from studio.jobs.job import ENDED, KINDS, STATES, Attempt, Identity, Job
from studio.jobs.runs import RunRow, read_json, runs
from studio.jobs.store import Store
from studio.workspace import Workspace


def rebuild(store: Store, place: Workspace) -> list[Job]:
    """List again, under their numbers, the jobs whose folders are there and which the store lacks.

    One whose processes still work is listed as running, with its supervisor, so that nothing starts twice; one
    that never began waits again; one of which nobody knows how it ended is lost.
    """
    by_job = {row.job: row for row in runs(place) if row.job is not None}
    restored = []
    folder = place.root / ".studio" / "jobs"
    names = [entry.name for entry in folder.iterdir() if entry.name.isdecimal()] if folder.is_dir() else []
    for id in sorted(int(name) for name in names):
        job = _from_folder(folder / str(id), id, place, by_job.get(id))
        if job is not None and steps.restore(store, job, _attempts(job)):
            restored.append(job)
    for id, row in sorted(by_job.items()):
        if str(id) not in names and row.argv:
            job = _from_run(id, row, place)
            if steps.restore(store, job, _attempts(job)):
                restored.append(job)
    return restored


def _from_folder(folder: Path, id: int, place: Workspace, row: RunRow | None) -> Job | None:
    """A job as its own folder tells it."""
    told = read_json(folder / "job.json") or {}
    argv, kind = told.get("argv"), told.get("kind")
    if not isinstance(argv, list) or not argv or kind not in KINDS:
        return None
    environment = told.get("environment")
    parent = told.get("parent")
    job = Job(
        id=id, kind=kind, argv=tuple(map(str, argv)), state="queued", title=str(told.get("title") or ""),
        devices=tuple(map(str, told.get("devices") or ())), output=str(told.get("output") or ""),
        created=_number(told.get("created")) or 0.0, request=str(told.get("request") or ""), place=float(id),
        parent=parent if isinstance(parent, int) else None,
        environment={str(name): str(value) for name, value in environment.items()}
        if isinstance(environment, dict) else {},
    )  # fmt: skip
    end = read_json(folder / "exit.json")
    supervisor, attempt = _supervisor(folder, place, id)
    if supervisor is not None:
        process = identity_of(_first(folder))
        return replace(job, state="running", attempt=attempt, supervisor=supervisor, process=process,
                       started=_started(folder))  # fmt: skip
    if end is not None and end.get("state") in STATES:
        return _ended(job, end, folder)
    if not (folder / "supervisor.pid").exists() and not marked(place, id):
        return job
    if row is not None and row.state in ENDED:
        return replace(job, state=row.state, attempt=max(len(row.attempts), 1), started=row.started, ended=row.ended,
                       reason=row.reason, sentence=row.sentence)  # fmt: skip
    return replace(job, state="lost", attempt=1, started=_started(folder), ended=_started(folder), reason="lost",
                   sentence="The list of jobs was lost while it ran, and nobody knows how it ended.")  # fmt: skip


def _ended(job: Job, end: Mapping[str, Any], folder: Path) -> Job:
    code, ended = end.get("exit_code"), _number(end.get("ended"))
    return replace(
        job, state=end["state"], attempt=int(_number(end.get("attempt")) or 1), ended=ended,
        started=min(_started(folder) or ended or 0.0, ended or 0.0), exit_code=code if isinstance(code, int) else None,
        signal=int(_number(end.get("signal")) or 0), reason=str(end.get("reason") or ""),
        sentence=str(end.get("sentence") or ""),
    )  # fmt: skip


def _from_run(id: int, row: RunRow, place: Workspace) -> Job:
    """A job of which only the run is left."""
    state = row.state if row.state in ENDED else "lost"
    return Job(
        id=id, kind="train", argv=row.argv, state=state, attempt=max(len(row.attempts), 1),
        title=place.shown(row.folder).removeprefix("saves/"), output=os.path.realpath(row.folder),
        created=row.created or 0.0, started=row.started, ended=row.ended or row.started, reason=row.reason,
        sentence=row.sentence, place=float(id),
    )  # fmt: skip


def _attempts(job: Job) -> list[Attempt]:
    """The one attempt that is known."""
    if job.attempt == 0:
        return []
    return [Attempt(job.attempt, job.state, job.started or job.created, job.ended, job.exit_code, job.signal,
                    job.reason, job.sentence)]  # fmt: skip


def _supervisor(folder: Path, place: Workspace, id: int) -> tuple[Identity | None, int]:
    """The living supervisor of a job and its attempt: the pid it wrote down must still be its command."""
    try:
        pid = int((folder / "supervisor.pid").read_text(encoding="ascii").split()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        at = words.index("studio.jobs.supervisor")
        root, number, attempt = words[at + 1 : at + 4]
    except (OSError, ValueError, IndexError):
        return None, 0
    is_it = Path(root) == place.root and number == str(id) and attempt.isdecimal()
    found = identity_of(pid) if is_it else None
    return (found, int(attempt)) if alive(found) else (None, 0)


def _first(folder: Path) -> int:
    """The number of the process that the supervisor started, as it wrote it down; 0 when it did not."""
    try:
        return int((folder / "process.pid").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _started(folder: Path) -> float | None:
    """When its last attempt began: the supervisor writes its number then."""
    try:
        return (folder / "supervisor.pid").stat().st_mtime
    except OSError:
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
