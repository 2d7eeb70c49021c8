"""Jobs that run a stand-in for the trainer, their processes, and ways to kill them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.jobs.identity import Seen, end_all, everyone, marked, see
from studio.jobs.job import Job
from studio.jobs.store import folder_of, store_of
from studio.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
# A package named studio that comes first for the command of a job alone: the supervisor is the real one.
STANDIN = {"PYTHONPATH": str(REPOSITORY / "tests" / "flow" / "standin")}
PATIENCE_S = 120.0


class Bench:
    """A workspace with a list of jobs, and the worker that serves it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.place = Workspace.find(str(root))
        self.store = store_of(self.place)
        # What these jobs are tested for is what an end is; that some begin again by themselves has tests of its own.
        self.store.set_setting("retries", 0)
        self.workers: list[subprocess.Popen[bytes]] = []

    def train(self, output: str, *words: str, **more: Any) -> Job:
        """A job of the stand-in in a folder."""
        argv = ["train", "--output_dir", output, *words]
        return self.store.submit("train", argv, output=output, title=output, environment=STANDIN, **more)

    def work(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
        kept |= {"PYTHONPATH": str(REPOSITORY), **environment}
        words = [sys.executable, "-P", "-m", "studio", "--workspace", str(self.place.root), "worker"]
        with (self.place.root / "worker.err").open("ab") as err:
            process = subprocess.Popen(words, env=kept, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
        self.workers.append(process)
        return process

    def wait(self, id: int, *states: str) -> Job:
        """The job as soon as it stands in one of these states."""
        until(lambda: self.store.get(id).state in states, lambda: f"wanted {states}: {self.story(id)}")
        return self.store.get(id)

    def at_step(self, id: int, step: int) -> None:
        """Wait until the job has taken so many steps."""
        until(lambda: (self.steps(id) or [0])[-1] >= step, lambda: f"no step {step}: {self.story(id)}")

    def steps(self, id: int) -> list[int]:
        """The curve: which steps it shows."""
        with contextlib.suppress(FileNotFoundError):
            lines = (Path(self.store.get(id).output) / "progress.jsonl").read_text().splitlines()
            return [json.loads(line)["step"] for line in lines if line.endswith("}")]
        return []

    def starts(self, id: int) -> int:
        """How often the command was started."""
        path = Path(self.store.get(id).output) / "starts.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def processes(self, id: int) -> list[Seen]:
        """Everything that lives for this job."""
        return marked(self.place, id)

    def kill(self, whom: str, id: int) -> None:
        """kill -9 the trainer, the supervisor or the worker, if it lives."""
        job = self.store.get(id)
        if whom == "worker":
            self.workers[-1].kill()
            self.workers[-1].wait()
        elif (target := {"trainer": job.process, "supervisor": job.supervisor}[whom]) and see(target.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(target.pid, signal.SIGKILL)

    def story(self, id: int) -> str:
        """What a failed test should show."""
        folder = folder_of(self.place, id)
        names = [folder / "log.txt", folder / "supervisor.log", self.place.root / "worker.err"]
        texts = [f"{path.name}: {path.read_text()[-2000:]}" for path in names if path.exists()]
        return "\n".join([repr(self.store.get(id)), *texts])

    def close(self) -> None:
        """End everything that was started here."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        end_all(self._everything)
        self.store.close()

    def _everything(self) -> list[Seen]:
        """Every process that was started for a job of this workspace."""
        mark, found = b"STUDIO_WORKSPACE=" + os.fsencode(self.place.root), []
        for seen in everyone():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{seen.pid}/environ").read_bytes().split(b"\0"):
                    found.append(seen)
        return found


def until(holds: Callable[[], bool], why: Callable[[], str]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, why()
        time.sleep(0.02)
