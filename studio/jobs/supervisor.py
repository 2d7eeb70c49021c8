"""One small process for each job: it starts the command, watches it and what is wished of it, and says how it ended.

`python -m studio.jobs.supervisor WORKSPACE ID ATTEMPT`, in a session of its own, so that neither the page nor the
worker takes it along when they end. The command runs in the same session; its output goes to a file, never through
a pipe that somebody would have to read. `exit.json` is written before the list of jobs, so that an end is known
even when nobody could write the list.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import sqlite3
import subprocess
import sys
import time
import types
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from studio.errors import StudioError
from studio.jobs import steps
from studio.jobs.again import planned
from studio.jobs.failure import classify, of_kind, oom_kills
from studio.jobs.identity import Seen, boot_id, end_all, identity_of, marked, session_of
from studio.jobs.job import Identity, Job, Wish, device_settings, shell_line
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of, store_of
from studio.jobs.told import RESULT
from studio.model.staging import PLACED
from studio.workspace import Workspace, write_json, write_text

LOOK_EVERY_S = 0.25
# What is left of a job after its first process ended may go by itself that long.
LEFTOVERS_S = 0.5
LOG_BYTES = 32 << 20
TAIL_BYTES = 64 << 10
# How long the end of a job is offered to a list of jobs that cannot be written; the worker takes it later.
OFFER_S = 600.0
STOPPED, INTERRUPTED, DISK_FULL = 14, 130, 11
# The list of jobs cannot be read or written now: no reason to end a command that works.
_UNHEARD = (StudioError, OSError, sqlite3.Error)
# What the page or an outer job has for itself, and commands must not have.
_OWN = ("STUDIO_ROOTS", "STUDIO_API_KEY", "STUDIO_TOKEN", "STUDIO_JOB_ID", "STUDIO_JOB_FOLDER")


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what is the page's own."""
    return {name: value for name, value in environment.items() if name not in _OWN and not name.startswith("GRADIO_")}


def command_environment(job: Job, place: Workspace, above: Mapping[str, str]) -> dict[str, str]:
    """What the command of a job has in its environment; a model that is served gets a key that only the page reads."""
    folder = folder_of(place, job.id)
    values = inherited(above) | job.environment | device_settings(job.devices)
    values |= {"STUDIO_WORKSPACE": str(place.root), "STUDIO_JOB_ID": str(job.id), "STUDIO_JOB_FOLDER": str(folder)}
    values |= {"PYTHONUNBUFFERED": "1"}
    if job.kind == "serve":
        values["STUDIO_API_KEY"] = os.urandom(24).hex()
        (folder / "key").unlink(missing_ok=True)
        with open(os.open(folder / "key", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as out:  # noqa: PTH123
            out.write(values["STUDIO_API_KEY"])
    return values


class Supervisor:
    """One attempt of one job."""

    def __init__(self, store: Store, place: Workspace, job: Job, me: Identity) -> None:
        self.store, self.place, self.job, self.me = store, place, job, me
        self.folder = folder_of(place, job.id)
        self.log = self.folder / "log.txt"
        self.log_from = 0
        self.grace_s = float(store.setting("grace_s"))
        self.told_to_stop = False  # by a signal, as when the machine goes down
        self._version = -1
        self._wish: Wish = job.wish
        self._oom_kills = oom_kills()

    def run(self) -> Ending:
        """Start the command unless it is not wished any more, wait for it, and judge its end."""
        write_text(self.folder / "supervisor.pid", f"{self.me.pid}\n")
        if (self.folder / RESULT).exists():
            # The attempt before came to its end: what it put in place is no leftover of a blow.
            (self.folder / PLACED).unlink(missing_ok=True)
        for name in ("endpoint.json", "exit.json", RESULT, "progress.jsonl"):
            (self.folder / name).unlink(missing_ok=True)
        if wish := self.wish():
            state = "paused" if wish == "pause" else "stopped"
            return Ending(state, sentence="It was stopped before it began.")  # type: ignore[arg-type]
        process = self._spawn()
        found = identity_of(process.pid) or Identity(self.me.boot_id, process.pid, 0)
        write_text(self.folder / "process.pid", f"{process.pid}\n")
        with contextlib.suppress(*_UNHEARD):  # the list is busy; the command does not wait for it
            steps.began(self.store, self.job.id, self.job.attempt, found)
        by_force = self._watch(process)
        self._sweep(LEFTOVERS_S)
        return self._judge(process.returncode, by_force)

    def wish(self) -> Wish:
        """What somebody asked of this job by now."""
        with contextlib.suppress(*_UNHEARD):
            version = self.store.version()
            if version != self._version:
                job = self.store.get(self.job.id)
                if job.attempt == self.job.attempt:
                    self._wish = job.wish
                self._version = version
        return self._wish or ("stop" if self.told_to_stop else "")

    def _spawn(self) -> subprocess.Popen[bytes]:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.log.open("ab") as log:
            line = shell_line(self.job.argv, self.job.devices, self.place)
            log.write(f"{stamp} attempt {self.job.attempt}: {line}\n".encode())
            log.flush()
            self.log_from = log.tell()
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "studio", *self.job.argv], cwd=self.place.root, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=command_environment(self.job, self.place, os.environ),
            )  # fmt: skip

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the end of the command; by what force it was ended: "", "kill" or "grace"."""
        asked_at: float | None = None
        ended = select.poll()
        handle = os.pidfd_open(process.pid)
        ended.register(handle, select.POLLIN)
        by_force = ""
        try:
            while process.poll() is None:
                wish = self.wish()
                if wish in ("stop", "pause") and asked_at is None:
                    asked_at = time.monotonic()
                    self._say_stopping()
                    # Only the first process is asked: it saves, and ends those that it started.
                    process.send_signal(signal.SIGTERM)
                if wish == "kill" or (asked_at is not None and time.monotonic() - asked_at > self.grace_s):
                    by_force = "kill" if wish == "kill" else "grace"
                    self._sweep(0)
                self._trim_log()
                ended.poll(LOOK_EVERY_S * 1000)
        finally:
            os.close(handle)
        return by_force

    def _say_stopping(self) -> None:
        with contextlib.suppress(*_UNHEARD):
            self.grace_s = float(self.store.setting("grace_s"))
            steps.stopping(self.store, self.job.id, self.job.attempt)

    def _sweep(self, patience_s: float) -> None:
        """End every process of the job but this one, at once or after some patience."""
        until = time.monotonic() + patience_s
        while self._others() and time.monotonic() < until:
            time.sleep(0.05)
        end_all(self._others)

    def _others(self) -> list[Seen]:
        found = {seen.pid: seen for seen in (*session_of(self.me), *marked(self.place, self.job.id))}
        return [seen for seen in found.values() if seen.pid != self.me.pid]

    def _trim_log(self) -> None:
        """Keep at most two files of LOG_BYTES: the writer appends, so it goes on at the start of the emptied file."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size <= LOG_BYTES:
                return
            kept = self.folder / "log.1.txt.part"
            try:
                with self.log.open("r+b") as log, kept.open("wb") as out:
                    while part := log.read(1 << 20):
                        out.write(part)
                    out.flush()
                    log.truncate(0)
            except OSError:
                kept.unlink(missing_ok=True)  # on a full disk it would take the last of it
                raise
            kept.replace(self.folder / "log.1.txt")
            self.log_from = 0

    def _tail(self) -> str:
        """The end of what the command said in this attempt."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - TAIL_BYTES, min(self.log_from, size)))
            return log.read().decode("utf-8", "replace")
        return ""

    def _judge(self, code: int, by_force: str) -> Ending:
        wish = self.wish()
        number = -code if code < 0 else 0
        end = Ending("failed", None if number else code, number, ended=time.time())
        if code in (0, STOPPED):
            by_force = ""  # it came to its own end in the moment of the blow
        if by_force == "grace":
            said = f"It did not end within {self.grace_s:.0f} s of being asked, and was killed."
            return _changed(end, "killed", "killed_on_request", said)
        if by_force or (wish == "kill" and number == signal.SIGKILL):
            return _changed(end, "killed", "", "It was killed on request.")
        if code == 0:
            return _changed(end, "stopped" if wish and self.job.kind == "serve" else "succeeded")
        asked = wish in ("stop", "pause") and (number or code - 128) == signal.SIGTERM
        if code in (STOPPED, INTERRUPTED) or asked:
            return _changed(end, "paused" if wish == "pause" else "stopped")
        if code == DISK_FULL:
            told = classify(code, 0, self._tail())
            said = told.evidence or f"{told.cause} {told.remedy}"
            return _changed(end, "paused", "disk_full", said)
        told = classify(code, number, self._tail(), wish, oom_kills=oom_kills() - self._oom_kills)
        return _changed(end, "failed", told.kind, f"{told.cause} {told.remedy}")


def _changed(end: Ending, state: str, reason: str = "", sentence: str = "") -> Ending:
    return Ending(state, end.exit_code, end.signal, reason, sentence, end.ended)  # type: ignore[arg-type]


def supervise(place: Workspace, id: int, attempt: int) -> int:
    """Claim an attempt, see it through, and tell its end. Does nothing when another process has claimed it."""
    store = store_of(place)
    me = identity_of(os.getpid())
    job = steps.claim(store, id, attempt, me) if me else None
    if job is None or me is None:
        return 0
    folder_of(place, id).mkdir(mode=0o700, parents=True, exist_ok=True)
    one = Supervisor(store, place, job, me)

    def note(_number: int, _frame: types.FrameType | None) -> None:
        one.told_to_stop = True

    # Handlers and not SIG_IGN: what is ignored stays so in the command.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note if number == signal.SIGTERM else lambda *_: None)
    try:
        end = one.run()
    except Exception as error:  # noqa: BLE001  whatever it is, the job says so and ends
        end_all(one._others)
        end = _not_watched(error)
    with contextlib.suppress(*_UNHEARD):
        end = planned(store, place, replace(job, wish=one.wish()), end)
    _tell(one, end)
    return 0


def _not_watched(error: Exception) -> Ending:
    """The end of a job that its supervisor could not see through."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        told = of_kind("disk_full")
        return Ending("paused", reason="disk_full", sentence=f"{told.cause} {told.remedy}")
    return Ending("failed", reason="unknown", sentence=f"The job could not be started or watched: {error}")


def _tell(one: Supervisor, end: Ending) -> None:
    """Write the end where the worker finds it, and into the list; where neither can be written it is waited for.

    On a full disk the list, whose file has its room already, often takes what a new file cannot.
    """
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    facts = {
        "schema": 1, **asdict(end), "ended": end.ended or time.time(), "attempt": one.job.attempt,
        "wish": one._wish, "peak_memory_mib": peak, "boot_id": boot_id(),
    }  # fmt: skip
    until = time.monotonic() + OFFER_S
    while True:
        with contextlib.suppress(OSError):
            write_json(one.folder / "exit.json", facts)
        try:
            steps.finish(one.store, one.job.id, one.job.attempt, end)
            return
        except _UNHEARD:
            if time.monotonic() > until:
                return
            time.sleep(1)


def main(words: list[str]) -> int:
    """WORKSPACE ID ATTEMPT."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return supervise(Workspace(Path(words[0])), int(words[1]), int(words[2]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
