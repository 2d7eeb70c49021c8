"""The rows of one dataset, pass after pass, from any place on: what a stream reads from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studio.data.arrow import arrow_rows
from studio.data.blocks import START, Block, Mark
from studio.data.entry import DatasetEntry
from studio.data.parquet import parquet_marks, parquet_rows
from studio.data.readers import no_rows, reader_of
from studio.data.shards import listed, must_be_as_listed, must_have_given
from studio.data.textfile import TextFile
from studio.errors import RowError


class Spot(NamedTuple):
    """Where the next row is: which pass, which of its files, how many rows of it were given, and the mark to go to.

    `taken` counts the rows that the pass gave.
    """

    passes: int = 0
    file: int = 0
    row: int = 0
    mark: Mark = START
    taken: int = 0


class Found(NamedTuple):
    """A raw row of a file, its number there (from 1), and whether it is the last one of its pass."""

    file: Path
    row: int
    value: dict[str, Any] | RowError
    last: bool


class Source:
    """Reads a dataset from front to back, again and again; a file is opened when its first row is due.

    The first pass takes the files in their order, later ones in an order of their own where `reorders` says so. At
    most `limit` rows, the first ones, make a pass; then the order stays. `spot` is where the next row is.
    """

    def __init__(
        self, entry: DatasetEntry, files: Sequence[Path], *, limit: int | None = None, seed: int = 42,
        reorders: bool = False,
    ) -> None:  # fmt: skip
        self.entry, self.files, self.limit = entry, files, limit
        self._seed, self._reorders = seed, reorders and limit is None
        self._next: tuple[Spot, Path, int, dict[str, Any] | RowError] | None = None
        self._rows: Iterator[tuple[Spot, Path, int, dict[str, Any] | RowError]] = iter(())
        self.restore(Spot())

    def restore(self, spot: Spot) -> None:
        """Go on at a spot."""
        self.spot = Spot(*spot[:3], Mark(*spot[3]), spot[4])
        self._next = None
        self._rows = iter(())

    def take(self) -> Found:
        """The next row. Raises DatasetError for a file that cannot be read."""
        if self._next is None:
            self._rows = self._pass_from(self.spot)
            self._next = next(self._rows)
        spot, file, row, value = self._next
        # One row ahead, so that the last one of a pass is known as such.
        ended = self.limit is not None and spot.taken + 1 == self.limit
        self._next = None if ended else next(self._rows, None)
        self.spot = Spot(spot.passes + 1) if self._next is None else self._next[0]
        return Found(file, row, value, last=self._next is None)

    @property
    def known_rows(self) -> int | None:
        """Rows of a pass where an index tells it; nothing is read."""
        shards = [listed(path) for path in self.files]
        if any(shard is None for shard in shards):
            return None
        total = sum(shard.rows for shard in shards if shard is not None)
        return min(total, self.limit) if self.limit else total

    def _pass_from(self, spot: Spot) -> Iterator[tuple[Spot, Path, int, dict[str, Any] | RowError]]:
        """The rows of a pass from a spot on, each with its own spot."""
        order = list(range(len(self.files)))
        if self._reorders and spot.passes:
            random.Random(f"{self._seed} {self.entry.name} {spot.passes}").shuffle(order)
        taken = spot.taken
        for at in range(spot.file, len(order)):
            path = self.files[order[at]]
            done, mark = (spot.row, spot.mark) if at == spot.file else (0, START)
            for block in self._blocks(path, done, mark):
                for row, value in block.rows:
                    if row > done:
                        yield Spot(spot.passes, at, row - 1, block.mark, taken), path, row, value
                        taken += 1

    def _blocks(self, path: Path, done: int, mark: Mark) -> Iterator[Block]:
        """The blocks of a file that hold rows after the first `done`; the file is held against its index."""
        shard = must_be_as_listed(path)
        file = TextFile(path, self.entry.encoding)
        reader = reader_of(file, self.entry.sample_by)
        if reader is parquet_rows:
            mark = max((each for each in parquet_marks(path) if each.row <= done), default=START)
        elif reader is arrow_rows:
            mark = START
        given = mark.row
        for block in reader(file, mark):
            given = block.mark.row + block.length
            if given > done:
                yield block
        if not given:
            raise no_rows(path)
        must_have_given(path, shard, given)
