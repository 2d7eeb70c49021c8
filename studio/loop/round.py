"""A step over answers that were written for it: its micro-batches are slices of the round, which can be cut smaller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from studio.loop import memory
from studio.loop.step import Step

# Under this name a slice carries which share of its micro-batch's loss it has; trl does not look at it.
SHARE = "share"


class RoundStep(Step):
    """The optimizer step of a trainer of trl's, whose batches are answers side by side in padded rows."""

    _told: dict[str, list[float]]

    def begin(self) -> None:
        """Remember also what trl has noted so far for the next point of the curve."""
        super().begin()
        self._told = {name: list(values) for name, values in self._notes.items()}

    def from_the_start(self, model: Any) -> torch.Tensor:
        """Every batch of the step so far once more, noted once."""
        self._notes.clear()
        self._notes.update({name: list(values) for name, values in self._told.items()})
        return super().from_the_start(model)

    def count(self, inputs: Any) -> int:
        """Answers of a micro-batch."""
        return len(inputs["completion_ids"])

    def cut(self, inputs: Any, size: int, what: Any) -> Iterator[Any]:
        """Slices of at most `size` answers; their losses, each times its share, add up to that of the whole."""
        answers = self.count(inputs)
        if size >= answers:
            yield inputs
            return
        for start in range(0, answers, size):
            part = {name: _rows(value, start, size, answers) for name, value in inputs.items()}
            yield {**part, SHARE: self._share(part, inputs)}

    def too_full(self, said: str, asked: int, size: int | None) -> str:
        """The sentence to end with where the model writes the answers itself."""
        return memory.full_of_answers(said)

    @property
    def _notes(self) -> Any:
        return self._trainer._metrics["train"]  # type: ignore[attr-defined]

    def _share(self, part: Any, whole: Any) -> float:
        """How much of the micro-batch's loss a slice has: by what the loss is divided by."""
        kind = getattr(self._trainer, "loss_type", "")
        if kind == "dapo":  # divided by the tokens of the step, which a slice leaves as they are
            return 1.0
        if kind == "bnpo":
            return float(part["completion_mask"].sum() / whole["completion_mask"].sum().clamp(min=1))
        return self.count(part) / self.count(whole)


def _rows(value: Any, start: int, size: int, rows: int) -> Any:
    """So many rows of what has a row for each answer; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows:
        return value[start : start + size]
    return value
