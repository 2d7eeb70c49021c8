"""The raw rows of a dataset: its files one after the other, its rows numbered through.

A row keeps its number in the dataset and its place in its file, whatever part of the dataset is
read, so that complaints name the file and row that a person can look up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from studio.data.source import count, page, rows
from studio.errors import RowError

if TYPE_CHECKING:
    import numpy as np

    from studio.data.entry import DatasetEntry

# The same rows are drawn in every run and on every machine.
SAMPLE_SEED = 42


class Placed(NamedTuple):
    """A raw row, or why it cannot be read: `number` in the dataset and `row` in its file, both from 1."""

    number: int
    file: Path
    row: int
    value: dict[str, Any] | RowError


def dataset_rows(entry: DatasetEntry, files: Sequence[Path]) -> Iterator[Placed]:
    """Every row of the files, in order. Raises DatasetError for a file that cannot be read."""
    number = 0
    for file in files:
        for row, value in rows(file, sample_by=entry.sample_by, encoding=entry.encoding):
            number += 1
            yield Placed(number, file, row, value)


def chosen_rows(entry: DatasetEntry, files: Sequence[Path], cache: Path, limit: int | None) -> Iterator[Placed]:
    """The rows to learn from: all of them, or the entry's `num_samples`, and of these at most `limit`.

    All rows come in order, so that `limit` takes the first ones. `num_samples` rows are drawn at
    random, the same ones every time; when the dataset has fewer, each is taken once and the rest drawn
    from them again. They come in order as well, repeated ones side by side; a smaller `limit` draws fewer.
    """
    if not entry.num_samples:
        yield from islice(dataset_rows(entry, files), limit)
        return
    total = sum(counts(entry, files, cache))
    wanted = min(entry.num_samples, limit or entry.num_samples)
    numbers = iter(draw(total, wanted).tolist())
    next_one = next(numbers, None)
    for placed in dataset_rows(entry, files):
        while next_one == placed.number:
            yield placed
            next_one = next(numbers, None)
        if next_one is None:
            return


def draw(total: int, wanted: int) -> np.ndarray[Any, Any]:
    """`wanted` row numbers from 1 to `total`, sorted: each at most once while there are enough."""
    import numpy as np

    random = np.random.default_rng(SAMPLE_SEED)
    if wanted <= total:
        drawn = random.choice(total, wanted, replace=False, shuffle=False)
    else:
        drawn = np.concatenate([np.arange(total), random.integers(0, total, wanted - total)])
    return np.sort(drawn) + 1


def counts(
    entry: DatasetEntry, files: Sequence[Path], cache: Path, progress: Callable[[float], None] | None = None
) -> list[int]:
    """The number of rows of each file, kept under the cache. Raises DatasetError."""
    return [_count(entry, file, cache, progress) for file in files]


def dataset_page(
    entry: DatasetEntry, start: int, size: int, cache: Path, progress: Callable[[float], None] | None = None
) -> list[Placed]:
    """Rows `start` (from 0) to `start + size` of a dataset; fewer at its end. Raises DatasetError.

    Files before the page are counted once; `progress` hears the share of each that has been read.
    """
    found: list[Placed] = []
    before = 0
    for file in entry.files():
        first, wanted = max(0, start - before), size - len(found)
        some = page(file, first, wanted, cache, sample_by=entry.sample_by, encoding=entry.encoding, progress=progress)
        found += [Placed(before + row, file, row, value) for row, value in some]
        if len(found) == size:
            break
        # The page goes on in the next file, or begins there.
        before += first + len(some) if some or not first else _count(entry, file, cache, progress)
    return found


def _count(entry: DatasetEntry, file: Path, cache: Path, progress: Callable[[float], None] | None) -> int:
    return count(file, cache, sample_by=entry.sample_by, encoding=entry.encoding, progress=progress)
