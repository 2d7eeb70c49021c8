"""A file as blocks of about 1 MiB that start where a row starts, so that memory stays flat.

Every reader yields `Block`s. A block's `Mark` is enough to start reading there again: that is what
the index of a far page keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from studio.data.encoding import BOM, not_utf8, size_words
from studio.data.textfile import TextFile
from studio.errors import RowError

Row = tuple[int, "dict[str, Any] | RowError"]
"""The row number, counted from 1, and the raw row, or why it cannot be read."""

PIECE = 1 << 20
MAX_ROW = 8_000_000
"""Bytes one row may have."""


class Mark(NamedTuple):
    """Where a block starts: bytes of the content, rows and lines before it (`offset` counts row groups in Parquet)."""

    offset: int = 0
    row: int = 0
    line: int = 0


START = Mark()


class Block(NamedTuple):
    """Some rows in order. `rows` is read once, at most; `length` is known before."""

    mark: Mark
    length: int
    rows: Iterator[Row]


class Lines(NamedTuple):
    """Whole lines of a text file, each ending in `\\n` (the last of a file may lack it).

    `offset` and `line` are the bytes and lines before it, `raw` the bytes as they stand in the file.
    `too_long` is the size in bytes of a line above `MAX_ROW`, which is skipped: `text` is empty then.
    """

    offset: int
    line: int
    text: str
    raw: bytes = b""
    too_long: int = 0


def lines_of(file: TextFile, mark: Mark = START) -> Iterator[Lines]:
    """The lines of a text file from a mark on; `\\n`, `\\r\\n` and `\\r` each end a line.

    Raises DatasetError at the first byte that is not UTF-8.
    """
    line, rest, offset = mark.line, b"", mark.offset
    with file.open() as stream:
        stream.seek(offset)
        if offset == 0:
            rest = stream.read(len(BOM))
            if rest == BOM:
                offset, rest = len(BOM), b""
        while piece := stream.read(PIECE):
            data = rest + piece
            first = _first_end(data) if len(data) > MAX_ROW else 0
            if first > MAX_ROW or (first == 0 and len(data) > MAX_ROW):
                size, rest = _skip_line(file, stream.read, data, first, line + 1)
                yield Lines(offset, line, "", b"", size)
                offset, line = offset + size, line + 1
                continue
            cut = _last_end(data)
            if cut:
                raw = data[:cut]
                text = _text(file, raw, offset)
                yield Lines(offset, line, text, raw)
                line += text.count("\n")
            offset, rest = offset + cut, data[cut:]
    if len(rest) > MAX_ROW and not _first_end(rest):
        yield Lines(offset, line, "", b"", len(rest))
    elif rest:
        yield Lines(offset, line, _text(file, rest, offset), rest)


def too_long(file: TextFile | Path, row: int, line: int, size: int) -> RowError:
    """The complaint about one row above the limit."""
    where = f"line {line}: " if line else ""
    return RowError(
        f"{where}row {row} is {size_words(size)}; at most {size_words(MAX_ROW)} are read. Split it, or take it out.",
        file=str(file),
        row=row,
    )


def _text(file: TextFile, data: bytes, offset: int) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(file, offset + error.start) from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def _first_end(data: bytes) -> int:
    """The bytes up to and with the first line end, 0 when there is none."""
    ends = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
    return min(ends) + 1 if ends else 0


def _last_end(data: bytes) -> int:
    """The bytes up to and with the last sure line end: a final `\\r` may be half of `\\r\\n`."""
    return (data.rfind(b"\n") + 1) or (data.rfind(b"\r", 0, len(data) - 1) + 1)


def _skip_line(file: TextFile, read: Any, data: bytes, first: int, line: int) -> tuple[int, bytes]:
    """The size of an over-long line with its end, and the bytes read beyond it."""
    size = 0
    while not first:
        size += len(data)
        file.must_not_burst(size, line)
        data = read(PIECE)
        if not data:
            return size, b""
        first = _first_end(data)
    if data[first - 1 : first + 1] == b"\r\n":
        first += 1
    return size + first, data[first:]
