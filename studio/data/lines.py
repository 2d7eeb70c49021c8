"""Readers of files whose rows are lines: JSON lines and plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from studio.data.blocks import MAX_ROW, START, Block, Lines, Mark, Row, lines_of, too_long
from studio.data.syntax import (
    TOO_DEEP,
    cut_short,
    likely_cause,
    not_unicode,
    parse,
    refused_value,
    scan,
    trouble,
)
from studio.data.textfile import TextFile
from studio.errors import RowError


def json_lines(file: TextFile, mark: Mark = START) -> Iterator[Block]:
    """Rows of a file with one JSON object a line; blank lines are passed over.

    A line that cannot be read is a `RowError` in its place.
    """
    row = mark.row
    for lines in lines_of(file, mark):
        here = Mark(lines.offset, row, lines.line)
        if lines.too_long:
            error = too_long(file, row + 1, lines.line + 1, lines.too_long)
            yield Block(here, 1, iter([(row + 1, error)]))
            row += 1
            continue
        numbered = _numbered(lines)
        yield Block(here, len(numbered), _json_rows(file, row, numbered, lines.text))
        row += len(numbered)


def _numbered(lines: Lines) -> list[tuple[int, str]]:
    """(line number, line) of the lines that are not blank."""
    every = enumerate(lines.text.split("\n"), lines.line + 1)
    return [pair for pair in every if pair[1] and not pair[1].isspace()]


def _json_rows(file: TextFile, before: int, numbered: list[tuple[int, str]], text: str) -> Iterator[Row]:
    # One search of the whole block is cheaper than one a row: most files hold no escape at all.
    escapes = "\\u" in text and ("\\u0000" in text or "\\ud" in text.lower())
    # A download that broke off or a disk that ran full ends a file inside its last line.
    last = before + len(numbered) if numbered and not text.endswith("\n") else 0
    for row, (line, source) in enumerate(numbered, before + 1):
        why = ""
        try:
            value, end = scan(source, 0)
            if end != len(source):
                value = parse(source)
        except (ValueError, StopIteration, RecursionError):
            value, why = _again(source, file.size if row == last else 0)
        why = why or trouble(value) or (not_unicode(value) if escapes else "")
        if why:
            yield row, RowError(f"line {line}{why if why[0] == ',' else ': ' + why}", file=str(file), row=row)
        else:
            yield row, value


def _again(source: str, size: int) -> tuple[Any, str]:
    """The value of a line that has white space around it, or why it has none, with the column.

    `size` is that of the file when the line is its last and has no end, else 0.
    """
    try:
        return parse(source), ""
    except json.JSONDecodeError as error:
        cause, at = likely_cause(error)
        if size and cut_short(error):
            cause = f"the last line is cut, the file may be incomplete ({size:,} bytes); fetch it again"
        return None, f", column {at + 1}: {cause}"
    except (ValueError, RecursionError) as error:
        return None, TOO_DEEP if isinstance(error, RecursionError) else refused_value(error)


def text_rows(file: TextFile, mark: Mark = START, sample_by: str = "line") -> Iterator[Block]:
    """Rows `{"text": …}` of a plain text file: its lines, paragraphs, or the whole document.

    Blank lines hold nothing and are no rows; a paragraph ends at a blank line.
    """
    row = mark.row
    parts = _single_lines(file, mark) if sample_by == "line" else _joined(file, mark, sample_by)
    for where, pieces in parts:
        yield Block(Mark(where.offset, row, where.line), len(pieces), _checked(file, row, pieces))
        row += len(pieces)


Piece = tuple[int, "str | int"]
"""A line number and the text that starts there, or its size in bytes when that is above the limit."""


def _single_lines(file: TextFile, mark: Mark) -> Iterator[tuple[Mark, list[Piece]]]:
    for lines in lines_of(file, mark):
        where = Mark(lines.offset, 0, lines.line)
        yield where, [(lines.line + 1, lines.too_long)] if lines.too_long else [*_numbered(lines)]


def _joined(file: TextFile, mark: Mark, sample_by: str) -> Iterator[tuple[Mark, list[Piece]]]:
    """Paragraphs or the whole document, one at a time, with the mark where each starts."""
    begin, held, size = mark, list[str](), 0
    for where, width, source in _each_line(file, mark):
        blank = width <= MAX_ROW and (not source or source.isspace())
        if blank and (not size or sample_by == "paragraph"):
            if size:
                yield begin, [_piece(begin, held, size)]
            held, size = [], 0
            continue
        begin = begin if size else where
        size += width
        file.must_not_burst(size, begin.line + 1)
        if size > MAX_ROW:
            held.clear()
        else:
            held.append(source)
    if size:
        yield begin, [_piece(begin, held, size)]


def _each_line(file: TextFile, mark: Mark) -> Iterator[tuple[Mark, int, str]]:
    """Each line: its mark, its bytes with the line end, and its text without."""
    for lines in lines_of(file, mark):
        if lines.too_long:
            yield Mark(lines.offset, 0, lines.line), lines.too_long, ""
        offset = lines.offset
        for line, raw in enumerate(lines.raw.splitlines(keepends=True), lines.line):
            yield Mark(offset, 0, line), len(raw), raw.decode().rstrip("\r\n")
            offset += len(raw)


def _piece(begin: Mark, held: list[str], size: int) -> Piece:
    return begin.line + 1, size if size > MAX_ROW else "\n".join(held).rstrip("\n")


def _checked(file: TextFile, before: int, pieces: list[Piece]) -> Iterator[Row]:
    for row, (line, source) in enumerate(pieces, before + 1):
        if isinstance(source, int):
            yield row, too_long(file, row, line, source)
        elif "\0" in source:
            column = source.index("\0") + 1
            why = f"line {line}, column {column}: it holds a NUL character; take it away"
            yield row, RowError(why, file=str(file), row=row)
        else:
            yield row, {"text": source}
