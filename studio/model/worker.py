"""A process that works for another one: it leaves stops to that one, and ends with it."""

from __future__ import annotations

import ctypes
import signal
import sys

# Of prctl(2): the signal that a process gets when the one that began it ends.
_ON_PARENTS_DEATH = 1


def begin_worker() -> None:
    """Called first in a worker process.

    A shell and a container send a stop to every process; the one that began the worker decides what is still done and
    ends it. Where that one is killed the worker ends with it (on Linux): it holds the files that were open there, the
    lock of a folder among them, which would keep the next attempt out.
    """
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ON_PARENTS_DEATH, signal.SIGKILL)
