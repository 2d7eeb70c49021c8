"""What a run says: to the terminal, and with the time to `log.txt` in its folder."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType

from studio.errors import StudioError


class Log:
    """Call it with a sentence. Only the main process speaks; warnings of libraries go to the file."""

    def __init__(self, folder: Path, *, speaks: bool) -> None:
        self.speaks = speaks
        self._file = (folder / "log.txt").open("a", encoding="utf-8", buffering=1) if speaks else None
        self._handler: logging.Handler | None = None

    def __call__(self, sentence: str) -> None:
        """One line, or several."""
        self._write(sentence, sys.stderr)

    def error(self, sentence: str) -> None:
        """Into the file only: the command itself shows how it ends."""
        self._write(f"error: {sentence}", None)

    def _write(self, sentence: str, terminal: object) -> None:
        if self._file is None:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._file.writelines(f"{stamp} {line}\n" for line in sentence.splitlines())
        if terminal is not None:
            sys.stderr.write(sentence + "\n")
            sys.stderr.flush()

    def __enter__(self) -> Log:
        if self._file is not None:
            self._handler = logging.StreamHandler(self._file)
            self._handler.setLevel(logging.WARNING)
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
            logging.getLogger().addHandler(self._handler)
            logging.captureWarnings(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if error is not None and not isinstance(error, StudioError):
            self._write("".join(traceback.format_exception(error)), None)
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        self._file.close()
