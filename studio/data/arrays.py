"""Reader of a JSON array of rows: `[{…}, {…}]`, however it is laid out, one piece at a time."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import NoReturn

from studio.data.blocks import MAX_ROW, PIECE, START, Block, Mark, Row, too_long
from studio.data.encoding import BOM, locate, not_utf8
from studio.data.syntax import (
    TOO_DEEP,
    cut_short,
    likely_cause,
    not_unicode,
    refused_value,
    scan,
    scan_any,
    skip_space,
    trouble,
)
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError

_AFTER = re.compile(r"[ \t\r\n]*([,\]])[ \t\r\n]*")
_OUTSIDE = re.compile(r'["\[\]{}]')
_INSIDE = re.compile(r'["\\]')
# A literal or an escape that the end of the buffer cuts is reported some characters before it.
_EDGE = 16
# So much before the place reached is kept: a complaint names the comma before a bracket.
_KEPT = 256


def json_array(file: TextFile, mark: Mark = START) -> Iterator[Block]:
    """Rows of a JSON array.

    A row that holds a refused value, or is too large, is a `RowError` in its place. Raises
    DatasetError with line and column where the JSON itself breaks, since nothing after that can be
    trusted; the rows before it come first.
    """
    with _Scanner(file, mark) as scanner:
        if not mark.offset:
            scanner.open_array()
        while not scanner.closed:
            yield from scanner.block()
        scanner.expect_end()


class _Scanner:
    """The text of a file as a window that moves on: `text[at:]` is still to be read."""

    def __init__(self, file: TextFile, mark: Mark) -> None:
        self.file = file
        self.row = mark.row
        self.closed = False
        self.text = ""
        self.at = 0
        self.offset = mark.offset  # of text[0], in bytes
        self._line, self._line_at = mark.line, 0  # line ends before text[_line_at]
        self.ended = False
        self._cut = b""  # the first bytes of a character whose rest is in the next piece
        self._broken: json.JSONDecodeError | None = None

    def __enter__(self) -> _Scanner:
        self._stream = self.file.open()
        if not self.offset and self._stream.read(len(BOM)) == BOM:
            self.offset = len(BOM)
        self._stream.seek(self.offset)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)

    def more(self) -> None:
        """Drop what was read, but for the last of it, and append the next piece."""
        drop = max(0, self.at - _KEPT)
        self.offset = self.here(drop)
        self.line()
        self._line_at -= drop
        piece = self._stream.read(PIECE)
        self.ended = not piece
        begin, data = self._stream.tell() - len(piece) - len(self._cut), self._cut + piece
        try:
            text, used = codecs.utf_8_decode(data, "strict", self.ended)
        except UnicodeDecodeError as error:
            raise not_utf8(self.file, begin + error.start) from None
        self._cut = data[used:]
        self.text, self.at = self.text[drop:] + text, self.at - drop

    def here(self, at: int | None = None) -> int:
        """The byte offset of a place in the window (`at` by default)."""
        return self.offset + len(self.text[: self.at if at is None else at].encode())

    def line(self, at: int | None = None) -> int:
        """The line, from 1, of a place in the window at or after the one asked for before."""
        at = self.at if at is None else at
        self._line += self.text.count("\n", self._line_at, at)
        self._line_at = at
        return self._line + 1

    def space(self) -> str:
        """Pass over white space; the character that follows, '' at the end of the file."""
        while (at := skip_space(self.text, self.at)) == len(self.text) and not self.ended:
            self.at = at
            self.more()
        self.at = at
        return self.text[at : at + 1]

    def open_array(self) -> None:
        """Pass over the opening bracket; an empty array is closed at once."""
        self.space()
        self.at += 1
        if self.space() == "]":
            self.at += 1
            self.closed = True

    def expect_end(self) -> None:
        """Raise DatasetError when more than white space follows the closing bracket."""
        if self.space():
            self.fail(json.JSONDecodeError("Extra data", self.text, self.at))

    def block(self) -> Iterator[Block]:
        """The rows that lie whole in the window, or the one row that is refused."""
        mark, rows = self._mark(), list[Row]()
        why = self._scan(rows)
        if rows:
            yield Block(mark, len(rows), iter(rows))
        if self._broken:
            self.fail(self._broken)
        if self.closed:
            return
        if why or len(self.text) - self.at > MAX_ROW:
            mark = self._mark()
            yield Block(mark, 1, iter([self._skip_row(why)]))
        else:
            self.more()

    def _mark(self) -> Mark:
        return Mark(self.here(), self.row, self.line() - 1)

    def _scan(self, rows: list[Row]) -> str:
        """Append rows until the window ends, the array closes, or one is too deep (the reason)."""
        after, text = _AFTER.match, self.text
        escapes = "\\u" in text and ("\\u0000" in text or "\\ud" in text.lower())
        at, row, why = skip_space(text, self.at), self.row, ""
        try:
            while True:
                try:
                    value, end = scan(text, at)
                    why = trouble(value) or (not_unicode(value) if escapes else "")
                except json.JSONDecodeError:
                    raise
                except ValueError as error:
                    end, why = scan_any(text, at)[1], refused_value(error)
                follows = after(text, end)
                if follows is None:
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, skip_space(text, end))
                row += 1
                rows.append((row, self._refused(why, row, at) if why else value))
                at = follows.end()
                if follows[1] == "]":
                    self.closed = True
                    return ""
        except StopIteration as stop:
            return self._unless_cut(json.JSONDecodeError("Expecting value", text, stop.value))
        except json.JSONDecodeError as error:
            return self._unless_cut(error)
        except RecursionError:
            return TOO_DEEP
        finally:
            self.at, self.row = at, row

    def _refused(self, why: str, row: int, at: int) -> RowError:
        return RowError(f"line {self.line(at)}: {why}", file=str(self.file), row=row)

    def _unless_cut(self, error: json.JSONDecodeError) -> str:
        """Note a real error; the window's end may just have cut a row that is whole in the file."""
        near_edge = error.pos >= len(self.text) - _EDGE or cut_short(error)
        if self.ended or not near_edge:
            self._broken = error
        return ""

    def _skip_row(self, why: str) -> Row:
        """Pass over one row without building it, and complain about it."""
        begin, line = self.here(), self.line()
        self._to_row_end(begin, line)
        size = self.here() - begin
        self.row += 1
        follows = self.space()
        if follows not in (",", "]"):
            self.fail(json.JSONDecodeError("Expecting ',' delimiter", self.text, self.at))
        self.closed = follows == "]"
        self.at += 1
        self.space()
        if not why:
            return self.row, too_long(self.file, self.row, line, size)
        return self.row, RowError(f"line {line}: {why}", file=str(self.file), row=self.row)

    def _to_row_end(self, begin: int, line: int) -> None:
        depth, inside = 0, False
        while True:
            found = (_INSIDE if inside else _OUTSIDE).search(self.text, self.at)
            # An escape and the character it escapes must lie in one window.
            if found is None or (found.end() == len(self.text) and not self.ended):
                self.at = found.start() if found else len(self.text)
                if self.ended:
                    raise DatasetError(
                        f"{self.file}: line {line}: row {self.row + 1} starts here and never ends; "
                        "close its brackets and quotation marks."
                    )
                self.file.must_not_burst(self.offset - begin, line)
                self.more()
                continue
            mark, self.at = found[0], found.end()
            if inside:
                inside = mark != '"'
                self.at += mark == "\\"
            elif mark == '"':
                inside = True
            else:
                depth += 1 if mark in "[{" else -1
            if depth <= 0 and not inside:
                return

    def fail(self, error: json.JSONDecodeError) -> NoReturn:
        """Raise DatasetError with the line, column and likely cause of broken JSON."""
        cause, at = likely_cause(error)
        line, column, _ = locate(self.file, self.here(at))
        row = f" (row {self.row + 1})" if not self.closed else ""
        raise DatasetError(f"{self.file}: line {line}, column {column}{row}: the JSON list breaks here: {cause}.")
