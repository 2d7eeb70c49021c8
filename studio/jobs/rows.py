"""A row of the store ⇄ a job."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from studio.errors import StudioError, WorkspaceError
from studio.jobs.job import ENDED, Identity, Job

# Columns that hold what the field of the same name holds.
PLAIN = ("id", "kind", "state", "attempt", "title", "output", "wish", "created", "started", "ended", "exit_code",
         "signal", "reason", "sentence", "place", "parent")  # fmt: skip
# No number of a job is greater: what comes from outside may be.
GREATEST = 1 << 62
_ENDED = ", ".join(f"'{state}'" for state in ENDED)


def definition(job: Job) -> dict[str, Any]:
    """What was asked, as `job.json` keeps it: the job can be listed again from it."""
    return {
        "schema": 1, "id": job.id, "kind": job.kind, "argv": list(job.argv), "title": job.title,
        "devices": list(job.devices), "output": job.output, "request": job.request, "parent": job.parent,
        "environment": job.environment, "created": job.created,
    }  # fmt: skip


def insert(db: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """Add a job; its number."""
    marks = ", ".join("?" * len(values))
    made = db.execute(f"insert into job ({', '.join(values)}) values ({marks})", tuple(values.values()))
    return int(made.lastrowid or 0)


def last_place(db: sqlite3.Connection) -> float:
    """The place behind everything that waits."""
    return float(db.execute("select coalesce(max(place), 0) + 1 from job where state = 'queued'").fetchone()[0])


def refuse_second_writer(db: sqlite3.Connection, output: str) -> None:
    """Raise WorkspaceError when a job that waits or works has this output folder."""
    row = output and db.execute(
        f"select * from job where output = ? and state not in ({_ENDED})", (output,)
    ).fetchone()  # fmt: skip
    if row:
        other = job(row)
        raise WorkspaceError(
            f"{output} must be written by one job at a time; {other.name} has it and is {other.state}. "
            "Wait for it to end, stop it, or choose another output folder."
        )


def get(db: sqlite3.Connection, id: int) -> Job:
    """One job. Raises StudioError when there is none of this number."""
    # Beyond what SQLite can hold there is none either.
    row = db.execute("select * from job where id = ?", (id,)).fetchone() if abs(id) <= GREATEST else None
    if row is None:
        raise StudioError(f"there is no job {id}. studio jobs list shows those there are.")
    return job(row)


def plain_values(job: Job) -> dict[str, Any]:
    """The columns of a job, without those of its processes."""
    return {name: getattr(job, name) for name in PLAIN} | {
        "argv": json.dumps(job.argv),
        "devices": json.dumps(job.devices),
        "environment": json.dumps(job.environment),
        "request": job.request or None,
    }


def job(row: sqlite3.Row) -> Job:
    """The job of a row. One that cannot be read has no command, so that it fails alone and hides no other."""
    try:
        argv, devices, environment = (json.loads(row[name]) for name in ("argv", "devices", "environment"))
        environment = {str(name): str(value) for name, value in environment.items()}
    except (ValueError, TypeError, AttributeError):
        argv, devices, environment = [], [], {}
    return Job(
        **{name: row[name] for name in PLAIN},
        argv=tuple(map(str, argv)),
        devices=tuple(map(str, devices)),
        request=row["request"] or "",
        supervisor=_identity(row, "supervisor"),
        process=_identity(row, "process"),
        environment=environment,
    )


def _identity(row: sqlite3.Row, whose: str) -> Identity | None:
    pid = row[f"{whose}_pid"]
    return Identity(row["boot_id"], pid, row[f"{whose}_ticks"]) if pid is not None else None
