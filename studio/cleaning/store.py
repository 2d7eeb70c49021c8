"""Cleaned rows on their way: lines in files, and for each row on the disk where it begins and where it came from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from studio.cleaning.chunk import Cleaned
from studio.cleaning.rows import parts
from studio.cleaning.sources import Source
from studio.data.tokenise import example_of
from studio.errors import DatasetError, RowError

PLACE = np.dtype([("offset", "<u8"), ("row", "<u4"), ("source", "<u2"), ("file", "<u2")])
MOST_ROWS = 2**32 - 1
# Bytes of a file that is copied at a time.
_PIECE = 1 << 20
# Rows whose places are looked at together.
_BLOCK = 1 << 20


class Store:
    """Rows by number, those of held-out sources first. `paths` has the file of each source."""

    def __init__(self, folder: Path, sources: list[Source], paths: list[Path]) -> None:
        self.sources, self.paths = sources, paths
        self.rows = self.held = 0
        self._index = folder / "places"
        self._removed = folder / "removed"
        # The rows of a source follow each other: [first, last + 1) by number.
        self._bounds = [(0, 0)] * len(sources)
        self._open = contextlib.ExitStack()
        self._read: dict[int, IO[bytes]] = {}
        self._places = self._open.enter_context(self._index.open("wb"))
        self._lines = [self._open.enter_context(path.open("wb")) for path in paths]

    def add(self, source: int, done: Cleaned) -> npt.NDArray[np.uint32]:
        """Write the rows of a chunk; gives their numbers."""
        count = len(done.sizes)
        if self.rows + count > MOST_ROWS:
            raise DatasetError(f"at most {MOST_ROWS:,} rows are cleaned at once. Clean the files in several parts.")
        out = self._lines[source]
        records = np.empty(count, PLACE)
        records["offset"] = out.tell() + np.cumsum(done.sizes) - done.sizes
        records["row"], records["file"], records["source"] = done.rows, done.files, source
        out.write(done.lines)
        records.tofile(self._places)
        numbers = np.arange(self.rows, self.rows + count, dtype=np.uint32)
        first = self._bounds[source][0] if self._bounds[source][1] else self.rows
        self.rows += count
        self._bounds[source] = (first, self.rows)
        return numbers

    def written(self) -> None:
        """All rows are there: now they can be looked up and removed."""
        for file in (self._places, *self._lines):
            file.flush()
        self.places: npt.NDArray[Any] = np.zeros(0, PLACE)
        self.removed: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        if self.rows:
            self.places = np.memmap(self._index, PLACE, "r", shape=(self.rows,))
            self.removed = np.memmap(self._removed, np.bool_, "w+", shape=(self.rows,))

    def parts(self, number: int) -> list[str]:
        """The parts of a row that must be alike."""
        place = self.places[number]
        source = int(place["source"])
        if source not in self._read:
            self._read[source] = self._open.enter_context(self.paths[source].open("rb"))
        file = self._read[source]
        file.seek(int(place["offset"]))
        example = example_of(json.loads(file.readline()), self.sources[source].entry)
        return [""] if isinstance(example, RowError) else parts(example)

    def text(self, number: int) -> str:
        """A row as one text."""
        return "\n".join(part for part in self.parts(number) if part)

    def where(self, number: int, shown: Callable[[Path], str]) -> tuple[str, int]:
        """The file and the row that a row came from."""
        place = self.places[number]
        return shown(self.sources[int(place["source"])].files[int(place["file"])]), int(place["row"])

    def finish(self, hear: Callable[[], None]) -> list[int]:
        """Take the removed rows out of the files; gives the number of rows that stay of each source."""
        self._open.close()
        left = []
        for path, (first, last) in zip(self.paths, self._bounds, strict=True):
            gone = int(np.count_nonzero(self.removed[first:last]))
            left.append(last - first - gone)
            # Held-out rows are not kept, and none of them is removed.
            if gone:
                self._without(path, first, last, hear)
        return left

    def _without(self, path: Path, first: int, last: int, hear: Callable[[], None]) -> None:
        """Write a file anew without the removed ones of its rows."""
        beside = path.with_name(f"{path.name}.part")
        with path.open("rb") as old, beside.open("wb") as new:
            for start in range(first, last, _BLOCK):
                end = min(start + _BLOCK, last)
                after = path.stat().st_size if end == last else self.places["offset"][end]
                offsets = np.append(self.places["offset"][start:end], np.uint64(after))
                for begin, stop in _runs(offsets, np.array(self.removed[start:end])):
                    _copy(old, new, begin, stop)
                    hear()
        beside.replace(path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        # The files of the maps are taken away with their folder.
        self.places, self.removed = np.zeros(0, PLACE), np.zeros(0, np.bool_)


def _runs(offsets: npt.NDArray[Any], gone: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """From where to where lines stay; `offsets` has one more than there are lines."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], gone, [True])).astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        yield int(offsets[start]), int(offsets[end])


def _copy(old: IO[bytes], new: IO[bytes], start: int, end: int) -> None:
    old.seek(start)
    while start < end and (piece := old.read(min(_PIECE, end - start))):
        new.write(piece)
        start += len(piece)
