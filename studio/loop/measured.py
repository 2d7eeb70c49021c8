"""Scores of pairs in numbers: accuracy with its interval, margin, histograms. Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The standard normal quantile of 97.5 %.
Z95 = 1.959963984540054
BINS = 30


@dataclass(frozen=True)
class Split:
    """The scores of some pairs, summed up. A tie counts as wrong."""

    pairs: int
    accuracy: float
    interval: tuple[float, float]
    margin: float
    edges: tuple[float, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @classmethod
    def of(cls, scores: Sequence[tuple[float, float]]) -> Split:
        """From the scores of the chosen and the rejected answer of each pair; at least one pair."""
        import numpy as np

        values = np.asarray(scores, dtype=np.float64)
        right = int((values[:, 0] > values[:, 1]).sum())
        edges = np.histogram_bin_edges(values, BINS)
        chosen, rejected = (np.histogram(values[:, side], edges)[0].tolist() for side in (0, 1))
        count = len(values)
        margin = float((values[:, 0] - values[:, 1]).mean())
        return cls(
            count, right / count, wilson(right, count), margin, tuple(edges.tolist()), tuple(chosen), tuple(rejected)
        )

    def as_json(self) -> dict[str, Any]:
        """As it stands in scores.json: counts of scores between each two edges."""
        return {
            "pairs": self.pairs, "accuracy": self.accuracy, "interval": list(self.interval), "margin": self.margin,
            "edges": list(self.edges), "chosen": list(self.chosen), "rejected": list(self.rejected),
        }  # fmt: skip

    def results(self, name: str) -> dict[str, Any]:
        """What the run's record says of it, by names that begin with its own."""
        low, high = self.interval
        return {
            f"{name}_accuracy": self.accuracy,
            f"{name}_accuracy_interval": f"{low:.4f} to {high:.4f}",
            f"{name}_margin": self.margin,
            f"{name}_pairs": self.pairs,
        }

    @property
    def sentence(self) -> str:
        """For the log."""
        low, high = self.interval
        return (
            f"the chosen answer scores higher in {self.accuracy:.1%} of {self.pairs:,} pairs (95 % interval {low:.1%} "
            f"to {high:.1%}), by {self.margin:.3g} in the mean"
        )


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a share that was measured as right / count (Wilson, 1927; 95 % by default)."""
    share, square = right / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)
