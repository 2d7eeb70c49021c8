"""Lengths of rows with their counts: what a cut-off takes, mean, percentiles, and bars of a round width."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio.data.render import Rendered, View

_BARS = 40
# Cut rows that are listed one by one.
_LISTED = 100
# And longest ones.
_LONGEST = 20


@dataclass
class Lengths:
    """What became of the rows a model would be trained on, as `Report` counts them, and what a cut takes."""

    lengths: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    kept: int = 0
    truncated: int = 0
    answer_cut: int = 0
    without_target: int = 0
    split_rows: int = 0
    tokens: int = 0
    learned: int = 0
    tokens_cut: int = 0
    learned_cut: int = 0
    unknown: int = 0
    cut_rows: list[int] = field(default_factory=list)
    # A heap of (tokens, minus the number of the row).
    longest_rows: list[tuple[int, int]] = field(default_factory=list)

    def add(self, number: int, pieces: Sequence[Rendered], view: View, unknown_id: int | None) -> None:
        """Take what one side of a raw row becomes."""
        self.split_rows += len(pieces) > 1
        keep_longest(self.longest_rows, sum(len(piece.input_ids) for piece in pieces), number)
        if view.documents:
            # A long text goes on in the next row, so nothing of it is cut away.
            self.lengths[sum(len(piece.input_ids) for piece in pieces)] += 1
        for piece in pieces:
            if not view.documents:
                self.lengths[len(piece.input_ids)] += 1
            self._one(number, piece, view.cutoff_len, unknown_id)

    def _one(self, number: int, piece: Rendered, cutoff: int, unknown_id: int | None) -> None:
        ids, mask = piece.input_ids, piece.loss_mask
        self.rows += 1
        # Nothing predicts the first token, so it is no target.
        learned, lost = sum(mask[1:cutoff]), sum(mask[cutoff:])
        self.truncated += len(ids) > cutoff
        self.answer_cut += lost > 0
        self.learned_cut += lost
        self.tokens_cut += max(0, len(ids) - cutoff)
        if lost and len(self.cut_rows) < _LISTED and self.cut_rows[-1:] != [number]:
            self.cut_rows.append(number)
        if not learned:
            self.without_target += 1
            return
        self.kept += 1
        self.tokens += min(len(ids), cutoff)
        self.learned += learned
        if unknown_id is not None:
            self.unknown += ids[:cutoff].count(unknown_id)


def summary(counted: Mapping[int, int]) -> dict[str, Any]:
    """Shortest, mean, median, 95th percentile and longest of lengths with their counts; zeros without any."""
    total = sum(counted.values())
    if not total:
        return {"shortest": 0, "mean": 0.0, "p50": 0, "p95": 0, "longest": 0}
    mean = sum(length * count for length, count in counted.items()) / total
    return {
        "shortest": min(counted),
        "mean": round(mean, 1),
        "p50": _percentile(counted, (total - 1) // 2),
        "p95": _percentile(counted, round((total - 1) * 0.95)),
        "longest": max(counted),
    }


def keep_longest(heap: list[tuple[int, int]], size: int, number: int) -> None:
    """Take a row among the longest where it is one of them; of equal ones the first stay."""
    if len(heap) < _LONGEST:
        heapq.heappush(heap, (size, -number))
    elif (size, -number) > heap[0]:
        heapq.heapreplace(heap, (size, -number))


# Of a hundred rows in order, as many are not longer than the value.
PERCENTS = (1, 5, 25, 50, 75, 95, 99)


def percentiles(counted: Mapping[int, int]) -> dict[str, Any]:
    """Sum, mean, shortest, percentiles and longest of lengths with their counts; zeros without any."""
    rows = sum(counted.values())
    total = sum(length * count for length, count in counted.items())
    ranks = [(percent, round((rows - 1) * percent / 100)) for percent in PERCENTS]
    found: dict[str, Any] = {
        "total": total,
        "mean": round(total / max(rows, 1), 1),
        "shortest": min(counted, default=0),
    }
    below, lengths = 0, iter(sorted(counted))
    length = 0
    for percent, rank in ranks:
        while below <= rank and (following := next(lengths, None)) is not None:
            length = following
            below += counted[length]
        found[f"p{percent}"] = length
    return {**found, "longest": max(counted, default=0)}


def _percentile(counted: Mapping[int, int], rank: int) -> int:
    """The length of the row at a rank (from 0) when all stand in order."""
    for length in sorted(counted):
        rank -= counted[length]
        if rank < 0:
            return length
    return 0


def bars(counted: Mapping[int, int], cutoff: int) -> dict[str, Any]:
    """The histogram: bars of one round width, and what is longer than the last of them.

    Few very long rows do not press the others together; the cut-off is inside when it is near.
    """
    total = sum(counted.values())
    if not total:
        return {"bars": [], "bar_width": 1, "beyond": 0}
    longest, most = max(counted), _percentile(counted, round((total - 1) * 0.98))
    end = longest if longest <= 2 * most else most
    if end < cutoff <= 2 * end:
        end = cutoff
    width = next(size * 10**power for power in range(12) for size in (1, 2, 5) if size * 10**power * _BARS >= end)
    found: Counter[int] = Counter()
    for length, count in counted.items():
        found[max(length - 1, 0) // width] += count
    last = (max(end, 1) - 1) // width
    return {
        "bars": [{"from": n * width + 1, "to": (n + 1) * width, "count": found[n]} for n in range(last + 1)],
        "bar_width": width,
        "beyond": sum(count for n, count in found.items() if n > last),
    }
