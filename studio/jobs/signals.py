"""Being asked to stop: a flag that the training loop reads, and errors before it runs."""

from __future__ import annotations

import os
import signal
import types

from studio.errors import StoppedError

INTERRUPTED = 130


class StopFlag:
    """Set by SIGTERM (stop and save, exit 14) or SIGINT (Ctrl-C: stop and save, exit 130).

    While the loop runs (`armed`), the first signal is only noted and the loop ends after its step;
    before and after, and for a second Ctrl-C, it ends the command at once. `saved` says what is kept then,
    `next` what the same command does when it is given again.
    """

    def __init__(self) -> None:
        self.armed = False
        self.signal = 0
        self.saved = "before a step was taken, so nothing had to be saved"
        self.next = "goes on from there"
        self._owner = os.getpid()

    def __bool__(self) -> bool:
        return self.signal != 0

    def install(self) -> None:
        """Take SIGTERM and SIGINT of this process; children it forks ignore the flag."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def error(self, saved: str) -> StoppedError:
        """The error to end with: what was saved, and how to go on."""
        error = StoppedError(f"stopped on request; {saved}. The same command {self.next}.")
        error.exit_code = INTERRUPTED if self.signal == signal.SIGINT else StoppedError.exit_code
        return error

    def _on_signal(self, number: int, _frame: types.FrameType | None) -> None:
        if os.getpid() != self._owner:
            os._exit(128 + number)  # a forked worker has nothing to save
        again = bool(self) and number == signal.SIGINT
        self.signal = number
        if not self.armed or again:
            lost = "a second time, so the steps since the last checkpoint are lost"
            raise self.error(lost if again and self.armed else self.saved)
