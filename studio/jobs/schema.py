"""The file of the store: its tables, its opening, and what happens when it is damaged, newer, busy or full."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from studio import __version__
from studio.errors import DiskFullError, SchemaError, WorkspaceError
from studio.workspace import write_text

SCHEMA = 1
BUSY_S = 10.0
_FULL = "the disk is full: {} cannot be written. Free space, then try again."
_DENIED = "{} cannot be written ({}). Change its rights, or choose another workspace."
# An output folder is held by a job that waits or works; the state is text so that a person can read the file.
TABLES = """
create table job (
    id integer primary key autoincrement, kind text not null, argv text not null, state text not null,
    attempt integer not null default 0, title text not null default '', devices text not null default '[]',
    output text not null default '', wish text not null default '', created real not null, started real, ended real,
    exit_code integer, signal integer not null default 0, reason text not null default '',
    sentence text not null default '', place real not null, parent integer, request text unique,
    environment text not null default '{}', boot_id text not null default '',
    supervisor_pid integer, supervisor_ticks integer, process_pid integer, process_ticks integer
);
create unique index one_writer on job (output)
    where output != '' and state in ('queued', 'starting', 'running', 'stopping');
create index by_state on job (state, place);
create table attempt (
    job integer not null, number integer not null, state text not null, started real not null, ended real,
    exit_code integer, signal integer not null default 0, reason text not null default '',
    sentence text not null default '', primary key (job, number)
) without rowid;
create table setting (name text primary key, value integer not null) without rowid;
create table fact (name text primary key, value integer not null) without rowid;
insert into fact values ('version', 1), ('rebuild', 0);
"""


class Door:
    """One way to the file, for one thread at a time.

    Questions and changes have one each, so that a change that waits for another process keeps no question waiting.
    """

    def __init__(self, path: Path, busy_s: float, *, creates: bool) -> None:
        self._path, self._busy_s, self._creates = path, busy_s, creates
        self._lock = threading.RLock()
        self._held: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    def close(self) -> None:
        """Let the file go; the next use opens it again."""
        with self._lock:
            if self._held is not None:
                self._held.close()
            self._held = None

    def __del__(self) -> None:
        self.close()

    @contextlib.contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The tables; what SQLite says is told as a sentence."""
        with self._lock:
            try:
                yield self._current()
            except sqlite3.Error as error:
                if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
                    self.close()
                raise told(error, self._path, self._busy_s) from error
            except OSError as error:  # beside the file: a lock, the folder of a job
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise DiskFullError(_FULL.format(self._path)) from error
                raise WorkspaceError(_DENIED.format(self._path, error)) from error

    def _current(self) -> sqlite3.Connection:
        """The open file, or the one that took its place after it was damaged or removed."""
        inode = _inode(self._path)
        if self._held is None or inode != self._inode or (self._creates and inode is None):
            self.close()
            self._held = connect(self._path, create=self._creates, busy_s=self._busy_s)
            self._held.row_factory = sqlite3.Row
            self._inode = inode  # as it was before: what came meanwhile is seen by the next use
        return self._held


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path, *, create: bool, busy_s: float) -> sqlite3.Connection:
    """The store's file, sound and of a schema that can be read; an empty one in memory when there is none.

    A damaged file is moved aside and a new one begun. Raises SchemaError for a newer one.
    """
    if not path.exists():
        if not create:
            return _begin(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))
        path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if path.exists():
            try:
                return _open(path, busy_s)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                _set_aside(path, str(error))
        return _create(path, busy_s)


def _open(path: Path, busy_s: float) -> sqlite3.Connection:
    """An existing file. Raises SchemaError, sqlite3.DatabaseError."""
    connection = sqlite3.connect(path, timeout=busy_s, check_same_thread=False, isolation_level=None)
    try:
        schema = connection.execute("pragma user_version").fetchone()[0]
        if schema > SCHEMA:
            raise SchemaError(
                f"{path} was written by a newer studio (schema {schema}; this one, {__version__}, reads {SCHEMA}). "
                "Update the studio."
            )
        if schema == 0 and not connection.execute("select count(*) from sqlite_master").fetchone()[0]:
            _prepare(connection)  # whoever made the file died before its tables stood
            return _begin(connection)
        sound = connection.execute("pragma quick_check(1)").fetchone()[0]
        if sound != "ok":
            raise sqlite3.DatabaseError(f"damaged: {sound}")
        _prepare(connection)
        return connection
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("pragma journal_mode = wal")
    # A job that was acknowledged is there after a power cut.
    connection.execute("pragma synchronous = full")


def _create(path: Path, busy_s: float) -> sqlite3.Connection:
    """A new file that only its owner reads; numbers go on after those that folders of jobs have."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=busy_s, check_same_thread=False, isolation_level=None)
    _prepare(connection)
    _begin(connection)
    jobs = path.parent / "jobs"
    taken = [int(entry.name) for entry in jobs.iterdir() if entry.name.isdigit()] if jobs.is_dir() else []
    if taken:
        connection.execute("insert into sqlite_sequence values ('job', ?)", (max(taken),))
    if taken or any(path.parent.glob(f"{path.name}.broken-*")):
        connection.execute("update fact set value = 1 where name = 'rebuild'")
    return connection


def _begin(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.executescript(f"begin immediate; {TABLES} pragma user_version = {SCHEMA}; commit;")
    return connection


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time opens, judges and replaces the file."""
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault."""
    code = getattr(error, "sqlite_errorcode", None)
    return str(error).startswith("damaged: ") or (code or 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _set_aside(path: Path, why: str) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.broken-{stamp}")
    for end in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    write_text(
        aside.with_name(aside.name + ".txt"),
        f"The list of jobs could not be read ({why}). It was kept as {aside.name}, and a new list was begun; "
        "runs are listed again from their folders.\n",
    )


def told(error: sqlite3.Error, path: Path, busy_s: float) -> Exception:
    """A sentence for what SQLite says, or the error itself where it is a mistake of ours."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return WorkspaceError(
            f"the list of jobs ({path}) must be free to write; another program has held it for {busy_s:.0f} s. "
            "Nothing was changed; try again."
        )
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(_FULL.format(path))
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
        return WorkspaceError(_DENIED.format(path, error))
    if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
        return WorkspaceError(f"{path} is damaged ({error}). It is moved aside now; try again.")
    return error
