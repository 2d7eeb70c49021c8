"""Measures that are functions of sums over rows, with bootstrap intervals, also of the difference of two models.

Accuracy, mean, BLEU and perplexity are all of that kind: rows are drawn with replacement (Efron, 1979), the sums of
the drawn rows give the measure anew, and the middle 95 % of what comes is the interval. For two models on the same
rows the same draws are taken for both, so that what rows have in common cancels. Draws are seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studio.evaluate.intervals import Better, Measure, paired, share

Values = NDArray[np.float64]

SEED, DRAWS = 12345, 1000
# Draws times rows that are held at once.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Sums:
    """A measure of rows: `parts` (rows, K) are summed over rows, `of` makes values (D,) of sums (D, K).

    `shares`: the parts are (right, counted), each 0 or 1; their intervals are those of shares, which hold for few rows.
    """

    parts: Values
    of: Callable[[Values], Values]
    better: Better = "higher"
    shares: bool = False

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def value(self) -> float:
        """The measure of all rows; NaN where it has none, such as the mean of nothing."""
        return float(self.of(self.parts.sum(axis=0)[None])[0])

    @property
    def count(self) -> int:
        """The rows that have something to add up."""
        return int(self.parts.any(axis=1).sum())

    def of_rows(self, rows: Sequence[int]) -> Sums:
        """The same measure of some of the rows."""
        return replace(self, parts=self.parts[list(rows)])

    def _drawn(self, seed: int) -> Iterator[NDArray[Any]]:
        # The same row, drawn over and over, says nothing of others.
        return _draws(len(self) if self.count > 1 else 0, seed)

    def measure(self, seed: int = SEED) -> Measure:
        """The measure with its interval, which has no ends with fewer than two rows that count."""
        if self.shares:
            return share(int(self.parts[:, 0].sum()), self.count, self.better)
        drawn = [self.of(weights @ self.parts) for weights in self._drawn(seed)]
        return Measure(self.value, *_middle(drawn), self.count, self.better)

    def against(self, base: Sums, seed: int = SEED) -> Measure:
        """This measure less that of another model on the same rows. Raises ValueError for other rows."""
        if len(self) != len(base):
            raise ValueError(f"two models must be compared on the same rows, got {len(self)} and {len(base)}")
        if self.shares:
            both = (self.parts[:, 1] > 0) & (base.parts[:, 1] > 0)
            return paired(self.parts[both, 0].tolist(), base.parts[both, 0].tolist(), self.better)
        drawn = [self.of(weights @ self.parts) - base.of(weights @ base.parts) for weights in self._drawn(seed)]
        return Measure(self.value - base.value, *_middle(drawn), self.count, self.better)


def mean_of(values: Sequence[float | None], better: Better = "higher") -> Sums:
    """The mean of the values; None stands for a row that has none."""
    parts = np.array([(0.0, 0.0) if value is None else (value, 1.0) for value in values]).reshape(-1, 2)
    return Sums(parts, ratio, better)


def share_of(values: Sequence[float | None], better: Better = "higher") -> Sums:
    """The share of the values that are 1, of those that are 0 or 1; None stands for a row that has none."""
    return replace(mean_of(values, better), shares=True)


def ratio(sums: Values) -> Values:
    """The first sum over the second, NaN where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Values = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
    return found


def _draws(count: int, seed: int) -> Iterator[NDArray[Any]]:
    """How often each row is drawn, (D, rows) at a time; nothing for fewer than two rows."""
    if count < 2:
        return
    random = np.random.default_rng(seed)
    size = max(1, min(DRAWS, _AT_ONCE // count))
    for start in range(0, DRAWS, size):
        yield random.multinomial(count, np.full(count, 1 / count), size=min(size, DRAWS - start)).astype(np.float64)


def _middle(drawn: Sequence[Values]) -> tuple[float, float]:
    """The quantiles of 2.5 % and 97.5 %; draws without a value are left out."""
    values = np.concatenate([*drawn, np.empty(0)])
    values = values[~np.isnan(values)]
    if not len(values):
        return -math.inf, math.inf
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
