"""What came since a page last asked: points of a curve and lines of a log, by their place in the file.

Files are read from where the page stopped. What was parsed is kept, so that ten pages on one run cost as
much as one.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from studio.jobs.failure import readable
from studio.jobs.look import last_point, point

# The first look at a run gets at most so many points: the lowest and the highest of each stretch.
MOST_POINTS = 2000
FIRST_LOG, MOST_LOG = 64 * 2**10, 256 * 2**10
LONGEST_LINE = 8 * 2**10
# A line without an end is looked for so far, then given up in pieces.
FARTHEST = 64 * 2**20
# A row takes about half a KiB.
_KEPT_FILES, _KEPT_ROWS = 16, 200_000


@dataclass
class _Curve:
    """The rows of one progress file as far as it was read, with the place in the file where each ends."""

    inode: int
    offset: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class Curves:
    """Progress files, parsed once; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Curve] = OrderedDict()
        self._latest: OrderedDict[Path, tuple[tuple[int, int], dict[str, Any] | None]] = OrderedDict()

    def news(self, path: Path, cursor: str) -> dict[str, Any]:
        """The rows after a cursor, or a thinned curve from the start when it fits no more."""
        with self._lock:
            curve = self._read(path)
            if curve is None:
                return {"reset": cursor != "", "cursor": "", "rows": []}
            told = f"{curve.inode}-{curve.offset}"
            inode, _, offset = cursor.partition("-")
            fits = inode == str(curve.inode) and offset.isdecimal() and int(offset[:18]) <= curve.offset
            if not fits:
                return {"reset": True, "cursor": told, "rows": thin(curve.rows, MOST_POINTS)}
            first = bisect_right(curve.ends, int(offset[:18]))
            return {"reset": False, "cursor": told, "rows": curve.rows[first:][-MOST_POINTS:]}

    def latest(self, path: Path) -> dict[str, Any] | None:
        """The last row, with the last loss that was measured; None when there is none yet."""
        try:
            found = path.stat()
        except OSError:
            return None
        mark = (found.st_ino, found.st_size)
        with self._lock:
            if (kept := self._latest.get(path)) and kept[0] == mark:
                return kept[1]
            row = last_point(path)
            self._latest[path] = (mark, row)
            while len(self._latest) > 1000:
                self._latest.popitem(last=False)
            return row

    def _read(self, path: Path) -> _Curve | None:
        """The curve up to the last whole line."""
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                curve = self._kept.pop(path, None)
                if curve is None or curve.inode != found.st_ino or curve.offset > found.st_size:
                    curve = _Curve(found.st_ino)
                file.seek(curve.offset)
                fresh = file.read()
        except OSError:
            self._kept.pop(path, None)
            return None
        for line in fresh[: fresh.rfind(b"\n") + 1].splitlines(keepends=True):
            curve.offset += len(line)
            if (row := point(line)) is not None:
                curve.rows.append(row)
                curve.ends.append(curve.offset)
        self._kept[path] = curve
        rows = sum(len(each.rows) for each in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > _KEPT_FILES or rows > _KEPT_ROWS):
            rows -= len(self._kept.popitem(last=False)[1].rows)
        return curve


def thin(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many rows, in order: of each stretch the lowest and the highest, the last evaluations and alarms.

    What is low and high is told by the loss, or where a run has none by its reward.
    """
    if len(rows) <= most:
        return rows
    rare = [n for n, row in enumerate(rows) if any(name.startswith(("eval_", "alarm")) for name in row)][-most // 4 :]
    name = "loss" if any(isinstance(row.get("loss"), int | float) for row in rows) else "reward"
    kept = {0, len(rows) - 1, *rare}
    stretches = max((most - len(kept)) // 2, 1)
    for number in range(stretches):
        start, end = number * len(rows) // stretches, (number + 1) * len(rows) // stretches
        measured = [n for n in range(start, end) if isinstance(rows[n].get(name), int | float)]
        if measured:
            kept |= {min(measured, key=lambda n: rows[n][name]), max(measured, key=lambda n: rows[n][name])}
    return [rows[number] for number in sorted(kept)]


def log_news(path: Path, offset: int | None, *, ended: bool) -> dict[str, Any]:
    """The lines of a log after an offset; without one, or when the file is shorter now, its last lines.

    A line that is still being written waits for its end, unless the job has ended.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            reset = offset is None or not 0 <= offset <= size or size - offset > 4 * MOST_LOG
            start = max(0, size - FIRST_LOG) if reset else offset or 0
            file.seek(start)
            if reset and start:
                cut = file.readline(FIRST_LOG)
                start += len(cut) if cut.endswith(b"\n") else 0  # not from the middle of a line, where it has an end
                file.seek(start)
            block = file.read(MOST_LOG)
            whole = block.rfind(b"\n") + 1
            end = start + whole
            if whole == 0 and len(block) == MOST_LOG:
                end = _line_end(file, start + len(block))
                return _told(block[:LONGEST_LINE] + b"\n", reset=reset, end=end, cut=end - start)
            if ended and end + len(block) - whole == size:
                whole, end = len(block), size
            return _told(block[:whole], reset=reset, end=end)
    except OSError:
        return {"reset": offset is not None, "next": 0, "text": ""}


def _told(block: bytes, *, reset: bool, end: int, cut: int = 0) -> dict[str, Any]:
    text = readable(block.decode("utf-8", "replace"))
    lines = [_shortened(line, cut) for line in text.splitlines(keepends=True)]
    return {"reset": reset, "next": end, "text": "".join(lines)}


def _shortened(line: str, cut: int) -> str:
    """A line that a page can show; how long it was is told."""
    if len(line) <= LONGEST_LINE and not cut:
        return line
    return f"{line[:LONGEST_LINE].rstrip()} … (a line of {cut or len(line):,} characters, cut here)\n"


def _line_end(file: BinaryIO, start: int) -> int:
    """Where a very long line ends, or where it was given up."""
    file.seek(start)
    at: int = start
    while at - start < FARTHEST and (block := file.read(2**20)):
        if (found := block.find(b"\n")) >= 0:
            return at + found + 1
        at += len(block)
    return at
