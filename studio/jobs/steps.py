"""The steps of an attempt, as worker and supervisor write them: queued → starting → running → stopping → its end.

Each holds only for the attempt that it names and only forwards: a step of an old attempt, or one that comes
after the end, changes nothing and returns False.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from studio.jobs import rows
from studio.jobs.job import ENDED, Attempt, Identity, Job, State
from studio.jobs.store import Store

_ENDED = ", ".join(f"'{state}'" for state in ENDED)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    state: State
    exit_code: int | None = None
    signal: int = 0
    reason: str = ""
    sentence: str = ""
    ended: float = 0.0


def take(store: Store, id: int) -> Job | None:
    """Begin the next attempt of a waiting job; None when it waits no more."""
    with store.writing() as db:
        now = time.time()
        changed = db.execute(
            "update job set state = 'starting', attempt = attempt + 1, started = ?, wish = '', reason = '', "
            "sentence = '', boot_id = '', supervisor_pid = null, process_pid = null where id = ? and state = 'queued'",
            (now, id),
        )
        if not changed.rowcount:
            return None
        job = rows.get(db, id)
        text = "insert or replace into attempt (job, number, state, started) values (?, ?, 'starting', ?)"
        db.execute(text, (id, job.attempt, now))
        return job


def claim(store: Store, id: int, attempt: int, me: Identity) -> Job | None:
    """Become the one supervisor of an attempt; None when it has one, or when it is over."""
    with store.writing() as db:
        changed = db.execute(
            "update job set boot_id = ?, supervisor_pid = ?, supervisor_ticks = ? "
            "where id = ? and attempt = ? and state = 'starting' and supervisor_pid is null",
            (me.boot_id, me.pid, me.start_ticks, id, attempt),
        )
        return rows.get(db, id) if changed.rowcount else None


def began(store: Store, id: int, attempt: int, process: Identity) -> bool:
    """The command runs."""
    with store.writing() as db:
        changed = db.execute(
            "update job set state = 'running', process_pid = ?, process_ticks = ? "
            "where id = ? and attempt = ? and state = 'starting'",
            (process.pid, process.start_ticks, id, attempt),
        )
        text = "update attempt set state = 'running' where job = ? and number = ? and state = 'starting'"
        db.execute(text, (id, attempt))
        return bool(changed.rowcount)


def stopping(store: Store, id: int, attempt: int) -> bool:
    """The command was asked to end."""
    with store.writing() as db:
        where = f"where {{}} = ? and {{}} = ? and state not in ({_ENDED}, 'stopping')"
        changed = db.execute("update job set state = 'stopping' " + where.format("id", "attempt"), (id, attempt))
        db.execute("update attempt set state = 'stopping' " + where.format("job", "number"), (id, attempt))
        return bool(changed.rowcount)


def finish(store: Store, id: int, attempt: int, end: Ending) -> bool:
    """The end of an attempt; False when it is another's, or has ended before."""
    with store.writing() as db:
        values = (end.state, end.exit_code, end.signal, end.reason, end.sentence, end.ended or time.time())
        # A clock that was set back in between may not make a job end before it began.
        text = (
            "update {} set state = ?, exit_code = ?, signal = ?, reason = ?, sentence = ?, "
            f"ended = max(?, coalesce(started, 0)) where {{}} = ? and {{}} = ? and state not in ({_ENDED}, 'queued')"
        )
        changed = db.execute(text.format("job", "id", "attempt"), (*values, id, attempt))
        if changed.rowcount:
            db.execute(text.format("attempt", "job", "number"), (*values, id, attempt))
        return bool(changed.rowcount)


def refuse(store: Store, id: int, end: Ending) -> bool:
    """End a job that waits and can never start."""
    with store.writing() as db:
        changed = db.execute(
            "update job set state = ?, exit_code = ?, reason = ?, sentence = ?, ended = ? "
            "where id = ? and state = 'queued'",
            (end.state, end.exit_code, end.reason, end.sentence, time.time(), id),
        )
        return bool(changed.rowcount)


def explain(store: Store, why: Mapping[int, str]) -> None:
    """Say of waiting jobs what they wait for."""
    if why:
        text = "update job set sentence = ?, reason = ? where id = ? and state = 'queued' and sentence != ?"
        with store.writing() as db:
            db.executemany(text, [(said, "waits" if said else "", id, said) for id, said in why.items()])


def restore(store: Store, job: Job, attempts: Sequence[Attempt] = ()) -> bool:
    """List a job again as it was, under its number; False when the store has that number, or its request.

    One that waits or works and whose output folder another one has is listed as lost.
    """
    with store.writing() as db:
        if db.execute("select 1 from job where id = ? or request = ?", (job.id, job.request or None)).fetchone():
            return False
        text = f"select 1 from job where output != '' and output = ? and state not in ({_ENDED})"
        if job.active and db.execute(text, (job.output,)).fetchone():
            job = replace(job, state="lost", reason="lost")
        supervisor, process = job.supervisor, job.process
        whose = supervisor or process
        values = {
            **rows.plain_values(job),
            "boot_id": whose.boot_id if whose else "",
            "supervisor_pid": supervisor.pid if supervisor else None,
            "supervisor_ticks": supervisor.start_ticks if supervisor else None,
            "process_pid": process.pid if process else None,
            "process_ticks": process.start_ticks if process else None,
        }
        rows.insert(db, values)
        for attempt in attempts:
            fields = {"job": job.id, **asdict(attempt)}
            marks = ", ".join("?" * len(fields))
            db.execute(f"insert into attempt ({', '.join(fields)}) values ({marks})", tuple(fields.values()))
        return True


def rebuild_is_due(store: Store) -> bool:
    """Whether the list was begun anew while there were jobs: they should be listed again from their folders."""
    with store.reading() as db:
        return bool(db.execute("select value from fact where name = 'rebuild'").fetchone()[0])


def rebuilt(store: Store) -> None:
    """They are listed again."""
    with store.writing() as db:
        db.execute("update fact set value = 0 where name = 'rebuild'")
