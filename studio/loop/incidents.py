"""What a run had to do otherwise than asked: kept in run.json, said in the log and at the points of the curve.

An entry names the step it belongs to, so that a resumed run does at each step what the run did that it goes on with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

What = Literal["train", "eval", "write", "again", "save"]


class Incidents:
    """The incidents of a run, in their order.

    `entries` are those of earlier attempts; `write` keeps all of them, and `say` tells a new one.
    """

    def __init__(
        self,
        entries: list[dict[str, Any]] | None = None,
        write: Callable[[list[dict[str, Any]]], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.entries = list(entries or [])
        self._write, self._say = write, say

    def add(self, what: What, step: int, text: str, **facts: Any) -> None:
        """Something happened in a step, counted from 1; an evaluation or a save counts to the step before it."""
        self.entries.append({"what": what, "step": step, "text": text, **facts})
        if self._write is not None:
            self._write(self.entries)
        if self._say is not None:
            self._say(f"warning: {text}")

    def size(self, what: Literal["train", "eval", "write"], step: int, asked: int) -> int:
        """How many groups one forward pass takes at a step, where `asked` were asked for."""
        sizes = [int(entry["size"]) for entry in self.entries if entry["what"] == what and entry["step"] <= step]
        return min([asked, *sizes])

    def notes(self, after: int, until: int) -> str:
        """What happened in the steps after one up to another, for a point of the curve; '' for nothing."""
        return self._told(("train", "write", "again"), after, until)

    def notes_of_evaluation(self, step: int) -> str:
        """What happened in the evaluation after a step."""
        return self._told(("eval",), step - 1, step)

    def _told(self, kinds: tuple[str, ...], after: int, until: int) -> str:
        found = [entry for entry in self.entries if entry["what"] in kinds and after < entry["step"] <= until]
        # What was met again by a resumed run is told once.
        return "; ".join(text for text, _ in itertools.groupby(str(entry["text"]) for entry in found))
