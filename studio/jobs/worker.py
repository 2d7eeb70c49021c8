"""The loop that takes jobs from the queue and looks after those that work; one for each workspace.

It owns nothing: each job has a supervisor of its own, so the worker may end at any moment. The next one reads
the list, finds the supervisors by their identity, and goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types

from studio.errors import WorkspaceError
from studio.jobs import again, slots, steps
from studio.jobs.adopt import settle
from studio.jobs.hold import hold, is_held, still_held
from studio.jobs.identity import alive
from studio.jobs.job import LIVE, Job
from studio.jobs.steps import Ending
from studio.jobs.store import folder_of, store_of
from studio.jobs.supervisor import inherited
from studio.workspace import Workspace, write_text

TURN_S = 0.2
# Whoever asks whether there is a worker touches its lock for a moment.
LOCK_WAIT_S = 2.0
# A supervisor that ends before it could claim its job is started so many times.
TRIES = 3
LOG_BYTES = 1 << 20
_started: list[subprocess.Popen[bytes]] = []


def ensure(place: Workspace) -> None:
    """Start a worker of its own, detached, when the workspace has none. Cheap enough to be called often."""
    _started[:] = [process for process in _started if process.poll() is None]
    if is_held(place, "worker") or any(process.args[-2] == str(place.root) for process in _started):  # type: ignore[index]
        return
    folder = place.root / ".studio"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "worker.log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(folder / "worker.1.log")
    words = [sys.executable, "-P", "-m", "studio", "--workspace", str(place.root), "worker"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            words, cwd=place.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env=inherited(os.environ),
        )  # fmt: skip
    _started.append(process)


class Worker:
    """Starts what may start, and settles what has ended."""

    def __init__(self, place: Workspace) -> None:
        self.place, self.store = place, store_of(place)
        self.asked_to_end = False
        self._version = -1
        self._live: list[Job] = []
        self._planned: object = None
        self._children: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._tries: dict[tuple[int, int], int] = {}

    def run(self) -> None:
        """Work until a signal comes. Raises WorkspaceError when the workspace has a worker."""
        with hold(self.place, "worker", wait_s=LOCK_WAIT_S) as inode:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
            write_text(self.place.root / ".studio" / "worker.pid", f"{os.getpid()}\n")
            _say(f"the worker of {self.place.root} takes jobs (pid {os.getpid()})")
            while not self.asked_to_end and still_held(self.place, "worker", inode):
                self._guarded_turn()
                time.sleep(TURN_S)

    def _on_signal(self, _number: int, _frame: types.FrameType | None) -> None:
        self.asked_to_end = True

    def _guarded_turn(self) -> None:
        try:
            self.turn()
        except Exception as error:  # noqa: BLE001  the other jobs must go on
            self._version = -1
            _say(f"a turn failed, and is tried again: {type(error).__name__}: {error}")
            time.sleep(1)

    def turn(self) -> None:
        """One look at the list; nearly nothing when nothing changed."""
        for key in [key for key, child in self._children.items() if child.poll() is not None]:
            del self._children[key]
        for said in again.start_due(self.store, self.place):
            _say(said)
        version = self.store.version()
        if version != self._version:
            if steps.rebuild_is_due(self.store):
                self._rebuild()
            self._live = self.store.jobs(states=LIVE, limit=1_000_000)
        settled = [self._settle(job) for job in self._live if not alive(job.supervisor)]
        if version != self._version or any(settled):
            self._version = version
            self._live = self.store.jobs(states=LIVE, limit=1_000_000)
            self._start_what_may()

    def _rebuild(self) -> None:
        from studio.jobs.rebuild import rebuild

        rebuild(self.store, self.place)
        steps.rebuilt(self.store)
        _say("the list of jobs was begun anew, and filled from their folders")

    def _settle(self, job: Job) -> bool:
        """Whether anything changed. What goes wrong with one job is not another's."""
        key = (job.id, job.attempt)
        if job.supervisor is None and key in self._children:
            return False  # its supervisor is about to claim it
        try:
            became = settle(self.store, self.place, job)
            if became == "start":
                self._spawn(job)
            elif became == "ended":
                _say(f"{job.name} was without its supervisor; it is {self.store.get(job.id).state} now")
            return became != "leave"
        except Exception as error:  # noqa: BLE001  a poisoned job ends alone
            self._give_up(job, error)
            return True

    def _start_what_may(self) -> None:
        limits = slots.settings(self.store)
        known = (self.store.order(), [job.id for job in self._live], limits)
        if known == self._planned or not known[0]:
            return  # who waits and who works is what it was when nobody could start
        waiting = self.store.queue()
        poisoned = [job for job in waiting if not job.argv]
        for job in poisoned:
            end = Ending("failed", 10, 0, "bad_argument", "Its command cannot be read from the list of jobs.")
            steps.refuse(self.store, job.id, end)
        planned = slots.plan([job for job in waiting if job.argv], self._live, limits)
        for id, why in planned.refused.items():
            steps.refuse(self.store, id, Ending("failed", None, 0, "device_in_use", why))
        for job in planned.start:
            self._start(job)
        steps.explain(self.store, planned.waits)
        self._planned = None if planned.start or planned.refused or poisoned else known

    def _start(self, waiting: Job) -> None:
        job = steps.take(self.store, waiting.id)
        if job is None:
            return
        try:
            self._spawn(job)
        except Exception as error:  # noqa: BLE001  a poisoned job ends alone
            self._give_up(job, error)

    def _spawn(self, job: Job) -> None:
        """Start the supervisor of an attempt; a second one for the same attempt would do nothing."""
        key = (job.id, job.attempt)
        self._tries[key] = self._tries.get(key, 0) + 1
        folder = folder_of(self.place, job.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._tries[key] > TRIES:
            raise WorkspaceError(f"its supervisor ended {TRIES} times at its start; see {folder / 'supervisor.log'}")
        environment = inherited(os.environ) | {"STUDIO_JOB_ID": str(job.id), "STUDIO_WORKSPACE": str(self.place.root)}
        with (folder / "supervisor.log").open("ab") as out:
            self._children[key] = subprocess.Popen(
                [sys.executable, "-P", "-m", "studio.jobs.supervisor", str(self.place.root), str(job.id),
                 str(job.attempt)],
                cwd=self.place.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                env=environment,
            )  # fmt: skip

    def _give_up(self, job: Job, error: Exception) -> None:
        said = f"The job could not be started: {error}"
        _say(f"{job.name}: {said}")
        steps.finish(self.store, job.id, job.attempt, Ending("failed", reason="unknown", sentence=said))


def _say(sentence: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n")
    sys.stderr.flush()
