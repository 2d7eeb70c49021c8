"""The jobs of a workspace in one SQLite file: what was asked, in which order, where each stands.

Every change is one transaction that holds only if the job still stands where the change begins, so that
page, terminal, worker and supervisors may all write at any time. An attempt's number is its fence: what an
old attempt has to say after a new one began is dropped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from studio.errors import StudioError
from studio.jobs import rows, schema
from studio.jobs.job import ENDED, Attempt, Job, Kind, State, Wish
from studio.workspace import Workspace, write_json

DEFAULTS = {"cpu_jobs": 1, "jobs_per_gpu": 1, "serve_jobs_per_device": 2, "light_jobs": 1, "grace_s": 120,
            "retries": 3}  # fmt: skip


def folder_of(place: Workspace, id: int) -> Path:
    """Where a job keeps its log, its result and what it tells while it works."""
    return place.root / ".studio" / "jobs" / str(id)


def store_of(place: Workspace) -> Store:
    """The store of a workspace."""
    return Store(place.root / ".studio" / "studio.db")


class Store:
    """Jobs by number; safe from several processes and threads."""

    def __init__(self, path: Path, *, busy_s: float = schema.BUSY_S) -> None:
        self.path = path
        self._place = Workspace(path.parent.parent)
        self._questions = schema.Door(path, busy_s, creates=False)
        self._changes = schema.Door(path, busy_s, creates=True)

    def close(self) -> None:
        """Let the file go; the next call opens it again."""
        self._questions.close()
        self._changes.close()

    # What a person or the page asks.

    def submit(
        self, kind: Kind, argv: Sequence[str], *, title: str = "", devices: Sequence[str] = (), output: str = "",
        request: str = "", parent: int | None = None, environment: Mapping[str, str] | None = None,
    ) -> Job:  # fmt: skip
        """A new job at the end of the queue; the same `request` again gives the job it made.

        Raises WorkspaceError naming the job that waits or works and has the same output folder.
        """
        real = os.path.realpath(self._place.path(output)) if output else ""
        asked = Job(
            0, kind, tuple(argv), "queued", title=title, devices=tuple(devices), output=real, created=time.time(),
            request=request, parent=parent, environment=dict(environment or {}),
        )  # fmt: skip
        with self.writing() as db:
            if request and (row := db.execute("select * from job where request = ?", (request,)).fetchone()):
                return rows.job(row)
            rows.refuse_second_writer(db, real)
            id = rows.insert(db, rows.plain_values(asked) | {"id": None, "place": rows.last_place(db)})
            folder = folder_of(self._place, id)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            job = rows.get(db, id)
            write_json(folder / "job.json", rows.definition(job))
        return job

    def get(self, id: int) -> Job:
        """One job. Raises StudioError when there is none of this number."""
        with self.reading() as db:
            return rows.get(db, id)

    def jobs(
        self, *, states: Sequence[State] = (), kinds: Sequence[Kind] = (), limit: int = 200, before: int | None = None
    ) -> list[Job]:
        """The newest first; `before` gives those older than a job."""
        where, values = ["id < ?"], [min(max(before, 0), rows.GREATEST) if before is not None else rows.GREATEST]
        for column, names in (("state", states), ("kind", kinds)):
            if names:
                where.append(f"{column} in ({', '.join('?' * len(names))})")
                values += list(names)  # type: ignore[arg-type]  # numbers and names
        with self.reading() as db:
            text = f"select * from job where {' and '.join(where)} order by id desc limit ?"
            return [rows.job(row) for row in db.execute(text, (*values, limit))]

    def outputs(self, kind: Kind) -> dict[str, int]:
        """The folders that jobs of a kind write or wrote → the newest such job: cheaper than the jobs themselves."""
        text = "select output, max(id) as id from job where kind = ? and output != '' group by output"
        with self.reading() as db:
            return {row["output"]: row["id"] for row in db.execute(text, (kind,))}

    def queue(self) -> list[Job]:
        """Those that wait, in the order in which they will start."""
        with self.reading() as db:
            return [rows.job(row) for row in db.execute("select * from job where state = 'queued' order by place, id")]

    def order(self) -> tuple[int, ...]:
        """The numbers of those that wait, in their order: much cheaper than the jobs themselves."""
        with self.reading() as db:
            found = db.execute("select id from job where state = 'queued' order by place, id")
            return tuple(row["id"] for row in found)

    def wish(self, id: int, wish: Wish) -> Job:
        """Ask for a job's end: `stop` saves first, `pause` too and keeps its place for Resume, `kill` does not.

        Raises StudioError when it has ended.
        """
        with self.writing() as db:
            job = rows.get(db, id)
            if job.state == "queued":
                state = "paused" if wish == "pause" else "stopped"
                # Or it would start after all, were the list made anew from the folders.
                end = {"schema": 1, "attempt": job.attempt, "state": state, "ended": time.time(), "wish": wish}
                write_json(folder_of(self._place, id) / "exit.json", end)
                text = "update job set state = ?, ended = ?, wish = ?, reason = '', sentence = '' where id = ?"
                db.execute(text, (state, time.time(), wish, id))
            elif job.state in ENDED:
                raise StudioError(f"only a job that waits or works can be asked to end; {job.name} is {job.state}.")
            elif job.wish != "kill":
                db.execute("update job set wish = ? where id = ?", (wish, id))
            return rows.get(db, id)

    def again(self, id: int) -> Job:
        """Queue a job that ended once more; its next start is another attempt. Raises StudioError while it works."""
        with self.writing() as db:
            job = rows.get(db, id)
            if job.active:
                raise StudioError(f"only a job that has ended can start again; {job.name} is {job.state}.")
            rows.refuse_second_writer(db, job.output)
            db.execute(
                "update job set state = 'queued', wish = '', place = ?, started = null, ended = null, exit_code = null,"
                " signal = 0, reason = '', sentence = '', boot_id = '', supervisor_pid = null, process_pid = null"
                " where id = ?",
                (rows.last_place(db), id),
            )
            return rows.get(db, id)

    def move(self, id: int, before: int | None) -> None:
        """Put a waiting job before another one, or at the end. Raises StudioError when either does not wait."""
        with self.writing() as db:
            waiting = list(self.order())
            for asked in (id, before):
                if asked is not None and asked not in waiting:
                    job = rows.get(db, asked)
                    raise StudioError(f"only jobs that wait have a place in the queue; {job.name} is {job.state}.")
            if id != before:
                waiting.remove(id)
                waiting.insert(len(waiting) if before is None else waiting.index(before), id)
            db.executemany("update job set place = ? where id = ?", enumerate(waiting, 1))

    def remove(self, id: int) -> None:
        """Forget a job that has ended, with its own folder; a run's folder stays. Raises StudioError."""
        with self.writing() as db:
            job = rows.get(db, id)
            if job.active:
                raise StudioError(
                    f"only a job that has ended can be removed; {job.name} is {job.state}. Stop it first."
                )
            db.execute("delete from attempt where job = ?", (id,))
            db.execute("delete from job where id = ?", (id,))
        shutil.rmtree(folder_of(self._place, id), ignore_errors=True)

    def attempts(self, id: int) -> list[Attempt]:
        """Every start of a job, the first one first."""
        with self.reading() as db:
            found = db.execute("select * from attempt where job = ? order by number", (id,)).fetchall()
        return [Attempt(**{name: row[name] for name in row.keys() if name != "job"}) for row in found]  # noqa: SIM118

    def setting(self, name: str) -> int:
        """A number that a person may change: how many jobs at a time, how long a stop may take."""
        with self.reading() as db:
            row = db.execute("select value from setting where name = ?", (_known(name),)).fetchone()
        return int(row["value"]) if row else DEFAULTS[name]

    def set_setting(self, name: str, value: int) -> None:
        """Change it. Raises StudioError for an unknown name or a number that makes no sense."""
        least = 0 if name in ("grace_s", "retries") else 1
        if not least <= value <= 100_000:
            raise StudioError(f"{name} must be a number from {least} to 100,000; got {value}.")
        with self.writing() as db:
            db.execute("insert or replace into setting values (?, ?)", (_known(name), value))

    def version(self) -> int:
        """Another number after every change: cheap enough to ask many times a second."""
        with self.reading() as db:
            return int(db.execute("select value from fact where name = 'version'").fetchone()[0])

    # The file.

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The tables, for a question; a writer that waits does not keep it."""
        with self._questions.open() as db:
            yield db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, whole or not at all; the version moves on when it changed anything."""
        with self._changes.open() as db:
            db.execute("begin immediate")
            before = db.total_changes
            try:
                yield db
                if db.total_changes != before:
                    db.execute("update fact set value = value + 1 where name = 'version'")
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise


def _known(name: str) -> str:
    if name not in DEFAULTS:
        raise StudioError(f"a setting is one of {', '.join(DEFAULTS)}; there is no {name!r}.")
    return name
