"""Rows that are, or nearly are, an earlier one, and those that are in what is held out: found and marked as removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from studio.cleaning.buckets import Buckets
from studio.cleaning.chunk import Cleaned, sequences
from studio.cleaning.minhash import similarity
from studio.cleaning.store import Store
from studio.cleaning.tally import Tally, glimpses
from studio.cleaning.units import Hashes, units_of
from studio.works.clean import CleanSet

Group = npt.NDArray[np.uint32]
# Texts that are compared at a time, and how many rows of a group are compared with all after them.
_AT_ONCE, _ROUNDS = 256, 4


class Duplicates:
    """Takes the keys of rows as they come, and finds those alike when all are there."""

    def __init__(self, asked: CleanSet, folder: Path, size: int) -> None:
        self._asked = asked.duplicates
        self._set = asked
        self._exact = Buckets(folder / "exact", size, checked=True)
        # Some tens of keys a row in place of one.
        self._near = Buckets(folder / "near", 2 * size)

    @property
    def compares(self) -> bool:
        """Whether anything is to be compared."""
        return bool(self._asked.exact_duplicates or self._asked.near_duplicates or self._asked.held_out)

    @property
    def bytes(self) -> int:
        """What the keys take on the disk."""
        return self._exact.bytes + self._near.bytes

    def add(self, done: Cleaned, numbers: npt.NDArray[np.uint32]) -> None:
        """Take the keys of a chunk."""
        if not self.compares:
            return
        self._exact.add(done.exact[:, 0], numbers, done.exact[:, 1])
        if self._asked.near_duplicates or self._asked.held_out:
            bands = done.near.shape[1]
            self._near.add(done.near[done.worded].ravel(), np.repeat(numbers[done.worded], bands))

    def mark(self, store: Store, tally: Tally, shown: Callable[[Path], str], hear: Callable[[int, int], None]) -> None:
        """Mark the rows that go, and count them. `hear` is told so many parts of so many."""
        if not self.compares:
            return
        found = _Found(store, tally, shown)
        total = self._exact.parts + self._near.parts
        for done, groups in enumerate(self._exact.groups()):
            hear(done, total)
            for rows in groups:
                self._same(rows, found)
        for done, groups in enumerate(self._near.groups(), self._exact.parts):
            hear(done, total)
            self._nearly(groups, found, lambda at=done: hear(at, total))  # type: ignore[misc]

    def _same(self, rows: Group, found: _Found) -> None:
        first = int(rows[0])
        leaks = first < found.store.held
        if leaks or self._asked.exact_duplicates:
            for row in rows[1:]:
                if row >= found.store.held:
                    found.remove(int(row), first, "held_out" if leaks else "exact_duplicates", 1.0)

    def _nearly(self, groups: list[Group], found: _Found, hear: Callable[[], None]) -> None:
        """Compare the rows of each group with its first; those unlike it with the first of them, and so on."""
        held, known = found.store.held, set[int]()
        for _ in range(_ROUNDS):
            pairs: list[npt.NDArray[np.uint64]] = []
            rest = []
            for rows in groups:
                left = rows[~found.store.removed[rows]]
                # Rows of what is held out are not compared with each other.
                first = left[0] if len(left) else 0
                others = left[1:][left[1:] >= held]
                if not len(others):
                    continue
                if first < held or self._asked.near_duplicates:
                    pairs.append((np.uint64(first) << np.uint64(32)) | others.astype(np.uint64))
                rest.append(left[1:])
            new = [pair for pair in np.unique(np.concatenate(pairs)).tolist() if pair not in known] if pairs else []
            known.update(new)
            for start in range(0, len(new), _AT_ONCE):
                hear()
                self._compare([(pair >> 32, pair & 0xFFFFFFFF) for pair in new[start : start + _AT_ONCE]], found)
            groups = [rows for rows in rest if len(rows) > 1]
            if not groups:
                return

    def _compare(self, pairs: Sequence[tuple[int, int]], found: _Found) -> None:
        rows = {number: found.store.parts(number) for number in sorted({number for pair in pairs for number in pair})}
        made, starts = sequences(self._set, units_of([part for parts in rows.values() for part in parts]))
        first_part = dict(zip(rows, accumulate(map(len, rows.values()), initial=0), strict=False))

        def part(row: int, number: int) -> Hashes:
            at = first_part[row] + number
            return made[starts[at] : starts[at + 1]]

        for first, row in pairs:
            count = len(rows[row])
            if found.store.removed[row] or found.store.removed[first] or len(rows[first]) != count:
                continue
            # A like question with another answer, or another judgement of it, is another row.
            alike = min(similarity(part(first, number), part(row, number)) for number in range(count))
            if alike >= self._asked.near_threshold:
                found.remove(row, first, "held_out" if first < found.store.held else "near_duplicates", alike)


class _Found:
    """Where removed rows are marked and counted."""

    def __init__(self, store: Store, tally: Tally, shown: Callable[[Path], str]) -> None:
        self.store, self._tally, self._shown = store, tally, shown

    def remove(self, row: int, first: int, step: str, alike: float) -> None:
        """One row goes; `first` is the one it is like."""
        self.store.removed[row] = True
        where = self.store.where(row, self._shown)
        more: dict[str, Any] = {}
        if self._tally.wants(step, where):
            file, number = self.store.where(first, self._shown)
            shown, like = glimpses(self.store.text(row), self.store.text(first))
            more = {"shown": shown, "like": {"file": file, "row": number, "text": like}, "similarity": round(alike, 3)}
        self._tally.remove(step, where, "", **more)
