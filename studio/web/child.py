"""A command run for the page for a moment: bounded in time and in what is kept of its output, and it can be ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

SAID_LINES = 40
LINE_CHARACTERS = 2000
ANSWER_BYTES = 4 << 20
ENDS_WITHIN_S = 5.0


class Child:
    """A command in a session of its own. `said` are its last lines, `answer` what it printed."""

    def __init__(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], limit_s: float = 600.0
    ) -> None:
        self.said: deque[str] = deque(maxlen=SAID_LINES)
        self.began_s = time.monotonic()
        self.ended_s: float | None = None
        self.exit_code: int | None = None
        self.cancelled = False
        self.late = False
        self._answer = bytearray()
        self._process = subprocess.Popen(
            list(words), cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._keep, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True),
        ]
        self._waiter = threading.Thread(target=self._wait, args=(limit_s,), daemon=True)
        for thread in (*self._readers, self._waiter):
            thread.start()

    @property
    def running(self) -> bool:
        """Whether it still works."""
        return self.exit_code is None

    @property
    def elapsed_s(self) -> float:
        """How long it works, or worked."""
        return (self.ended_s or time.monotonic()) - self.began_s

    @property
    def answer(self) -> str:
        """What it wrote to its standard output, as far as that is kept."""
        return bytes(self._answer).decode("utf-8", "replace")

    def cancel(self) -> None:
        """End it, with every process it started; returns when it has ended."""
        if self.running:
            self.cancelled = True
            self._kill()
        self._waiter.join(ENDS_WITHIN_S)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; whether it came in time."""
        self._waiter.join(timeout_s)
        return not self.running

    def _kill(self) -> None:
        # The process is not waited for before this by anybody else, so its pid is still its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _wait(self, limit_s: float) -> None:
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.late = True
            self._kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join(ENDS_WITHIN_S)
        self.ended_s = time.monotonic()
        self.exit_code = code

    def _keep(self, stream: IO[bytes]) -> None:
        """Read everything, so that the command never waits; keep the beginning."""
        with stream:
            while block := stream.read1(1 << 16):  # type: ignore[attr-defined]  # a buffered pipe has it
                self._answer += block[: max(ANSWER_BYTES - len(self._answer), 0)]

    def _listen(self, stream: IO[bytes]) -> None:
        """Keep the last lines; a line without an end is cut."""
        with stream:
            while line := stream.readline(LINE_CHARACTERS):
                text = line.decode("utf-8", "replace").rstrip()
                if text:
                    self.said.append(text.rsplit("\r", 1)[-1])
