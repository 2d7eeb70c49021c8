"""Keys of all rows, on the disk in parts: rows with a key in common come out together, in little memory.

A part holds the keys of one range, so only one part is in memory at a time. The number of parts grows with the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from studio.cleaning.units import Hashes

# About this much text a part: its keys take up to a third of that where rows are short.
_TEXT_A_PART = 32 * 2**20
_MOST_PARTS = 4096
# Keys kept in memory before they are written, of all parts together.
_HELD = 1 << 18

RECORD = np.dtype([("key", "<u8"), ("row", "<u4")])
CHECKED = np.dtype([("key", "<u8"), ("row", "<u4"), ("check", "<u8")])


class Buckets:
    """Takes (key, row) and gives groups of rows. `size` is that of the text in bytes, as far as it is known.

    Where texts are not compared afterwards, a check of 64 bits more makes sure that equal keys are no chance.
    """

    def __init__(self, folder: Path, size: int, *, checked: bool = False) -> None:
        self._folder, self._kind = folder, CHECKED if checked else RECORD
        self.parts = min(1 << (max(size // _TEXT_A_PART, 1).bit_length() - 1), _MOST_PARTS)
        self.bytes = 0
        self._held: list[npt.NDArray[Any]] = []
        self._count = 0
        folder.mkdir(parents=True)

    def add(self, keys: Hashes, rows: npt.NDArray[np.uint32], checks: Hashes | None = None) -> None:
        """Take keys with the rows that they are of."""
        records = np.empty(len(keys), self._kind)
        records["key"], records["row"] = keys, rows
        if checks is not None:
            records["check"] = checks
        self._held.append(records)
        self._count += len(records)
        if self._count >= _HELD:
            self._write()

    def groups(self) -> Iterator[list[npt.NDArray[np.uint32]]]:
        """For each part the rows of each key that several have, in order; the part's file is taken away."""
        self._write()
        for part in range(self.parts):
            path = self._folder / f"{part}"
            if not path.exists():
                yield []
                continue
            records = np.fromfile(path, self._kind)
            path.unlink()
            names = ("row", "check", "key") if self._kind == CHECKED else ("row", "key")
            records = records[np.lexsort([records[name] for name in names])]
            rows = records["row"]
            differs = np.zeros(len(records) - 1, np.bool_)
            for name in names[1:]:
                differs |= records[name][1:] != records[name][:-1]
            first = np.flatnonzero(np.concatenate(([True], differs)))
            sizes = np.diff(np.append(first, len(records)))
            yield [rows[at : at + size] for at, size in zip(first[sizes > 1], sizes[sizes > 1], strict=True)]

    def _write(self) -> None:
        if not self._held:
            return
        records = np.concatenate(self._held)
        self._held, self._count = [], 0
        self.bytes += records.nbytes
        part = (records["key"] >> np.uint64(40)) % np.uint64(self.parts)
        order = np.argsort(part, kind="stable")
        records, part = records[order], part[order]
        bounds = np.searchsorted(part, np.arange(self.parts + 1, dtype=np.uint64))
        for number in range(self.parts):
            if bounds[number] < bounds[number + 1]:
                with (self._folder / f"{number}").open("ab") as out:
                    records[bounds[number] : bounds[number + 1]].tofile(out)
