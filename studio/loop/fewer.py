"""Work on answers that is done again with fewer at a time when memory runs out; what comes of it is the same.

Answers are drawn each with a chance of its own, looked at one by one and summed while learning: how many of them
share a pass changes no result but its last roundings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from studio.errors import MemoryFullError
from studio.loop import memory
from studio.loop.incidents import Incidents

T = TypeVar("T")
What = Literal["write", "train", "eval"]
_DOING = {
    "write": "answers were written: {} together now",
    "train": "answers were looked at or learned from: {} at a time now",
    "eval": "held-out answers were looked at: {} at a time now",
}


class Fewer:
    """Halves how many answers go through at a time, and remembers it in the run's incidents."""

    def __init__(self, incidents: Incidents, alone: bool) -> None:
        self._incidents, self._alone = incidents, alone

    def fitting(self, what: What, step: int, asked: int, work: Callable[[int], T]) -> T:
        """What `work` gives for as many answers at a time as fit, at most `asked`.

        `step` is counted from 1. Raises MemoryFullError where one is too many, or where other processes would wait.
        """
        while True:
            size = self._incidents.size(what, step, asked)
            try:
                return work(size)
            except memory.ERRORS as error:
                if not memory.ran_out(error):
                    raise
                said = memory.evidence(error)
                if size == 1 or not self._alone:
                    raise MemoryFullError(memory.full_of_answers(said)) from error
            # Only here, outside of the handler, does nothing hold what was computed.
            memory.let_go()
            half = size // 2
            text = f"memory ran out at step {step} while {_DOING[what].format(half)}; the rest of the step stays"
            self._incidents.add(what, step, text, size=half, evidence=said)
