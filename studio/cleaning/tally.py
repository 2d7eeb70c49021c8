"""What each step changed and removed: counts, reasons, and a few samples drawn evenly from all rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Characters of a text in a sample, and of these before what changed.
SHOWN, BEFORE = 320, 60
_MOST_REASONS = 50

# The steps in their order: those that change texts, those that remove rows, those that compare rows.
STEPS = (
    "repair_encoding", "remove_html", "remove_control", "tidy_space", "personal",
    "empty", "min_length", "max_length", "max_broken", "max_symbols", "languages", "remove_repetition",
    "exact_duplicates", "held_out", "near_duplicates",
)  # fmt: skip


@dataclass
class Step:
    """One step: rows it changed, rows it removed, why, and samples with the number that decides which are kept."""

    changed: int = 0
    removed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


class Tally:
    """All steps. `most` is the number of samples a step keeps."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.steps = {name: Step() for name in STEPS}

    def change(self, name: str, where: tuple[str, int], before: str, after: str) -> None:
        """A step changed a row; `where` is its file and its number there."""
        step = self.steps[name]
        step.changed += 1
        if (rank := self._rank(step, where)) is not None:
            told = dict(zip(("before", "after"), glimpses(before, after), strict=True))
            self._keep(step, rank, {"file": where[0], "row": where[1], **told})

    def remove(self, name: str, where: tuple[str, int], text: str, why: str = "", **more: Any) -> None:
        """A step removed a row; `shown` among `more` is the part of it to show."""
        step = self.steps[name]
        step.removed += 1
        if why and (why in step.reasons or len(step.reasons) < _MOST_REASONS):
            step.reasons[why] += 1
        if (rank := self._rank(step, where)) is not None:
            told = {"file": where[0], "row": where[1], "text": more.pop("shown", _glimpse(text, 0))}
            self._keep(step, rank, told | ({"why": why} if why else {}) | more)

    def add(self, other: Tally) -> None:
        """Take what another one counted."""
        for name, step in other.steps.items():
            own = self.steps[name]
            own.changed, own.removed = own.changed + step.changed, own.removed + step.removed
            own.reasons.update(step.reasons)
            for rank, sample in step.samples:
                if len(own.samples) < self.most or rank < own.samples[-1][0]:
                    self._keep(own, rank, sample)

    def as_json(self, asked: Sequence[str]) -> list[dict[str, Any]]:
        """The steps that were asked for, and those that did something, in order."""
        return [
            {
                "step": name, "changed": step.changed, "removed": step.removed,
                "reasons": dict(step.reasons.most_common()),
                "samples": [sample for _, sample in step.samples],
            }
            for name, step in self.steps.items()
            if name in asked or step.changed or step.removed
        ]  # fmt: skip

    def wants(self, name: str, where: tuple[str, int]) -> bool:
        """Whether a sample of this row would be kept, for who must look its text up first."""
        return self._rank(self.steps[name], where) is not None

    def _rank(self, step: Step, where: tuple[str, int]) -> int | None:
        """The number that decides, None when the sample is not among the kept ones. The same rows in every run."""
        name = f"{where[0]}\0{where[1]}".encode("utf-8", "surrogateescape")
        rank = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        return rank if self.most and (len(step.samples) < self.most or rank < step.samples[-1][0]) else None

    def _keep(self, step: Step, rank: int, sample: dict[str, Any]) -> None:
        step.samples.append((rank, sample))
        step.samples.sort(key=lambda pair: pair[0])
        del step.samples[self.most :]


def glimpses(one: str, other: str) -> tuple[str, str]:
    """The parts of two texts around their first difference."""
    start = max(_alike(one, other) - BEFORE, 0) if max(len(one), len(other)) > SHOWN else 0
    return _glimpse(one, start), _glimpse(other, start)


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _glimpse(text: str, start: int) -> str:
    """A part of a text, with … where it goes on."""
    part = text[start : start + SHOWN]
    # Halves of characters, which a step takes out, cannot be written as they are.
    part = part.encode("utf-8", "backslashreplace").decode()
    return ("…" if start else "") + part + ("…" if start + SHOWN < len(text) else "")
