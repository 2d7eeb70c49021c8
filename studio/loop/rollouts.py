"""The answers that a run wrote and how they were rewarded, kept for people to read: rollouts.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from studio.rewards.base import Sample
from studio.workspace import write_text

FILE = "rollouts.jsonl"


class Rollouts:
    """Appends samples to a run's file; `keep` is how many of each round."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.path, self.keep = folder / FILE, keep

    def add(
        self, step: int, samples: Sequence[Sample], rewards: Sequence[float], kls: Sequence[float | None] | None = None
    ) -> None:
        """The first samples of a round, for the step that learns from them first."""
        known = kls or [None] * len(samples)
        lines = [
            {
                "step": step, "messages": list(sample.messages), "answer": sample.answer,
                "reward": reward, "kl": kl, "tokens": len(sample.answer_ids),
            }
            for sample, reward, kl in list(zip(samples, rewards, known, strict=True))[: self.keep]
        ]  # fmt: skip
        with self.path.open("a", encoding="utf-8") as out:
            out.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def cut_after(self, step: int) -> None:
        """Drop the samples after a step, and a line that was not finished: a resumed run writes these again."""
        if self.path.exists():
            # Answers may hold other marks that end lines; only this one ends a sample.
            *whole, _ = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
            write_text(self.path, "".join(f"{line}\n" for line in _until(step, whole)))


def _until(step: int, lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        try:
            if int(json.loads(line)["step"]) <= step:
                yield line
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            continue
