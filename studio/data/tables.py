"""Reader of CSV and TSV: the delimiter is found, the header is needed, every cell stays text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from studio.data.blocks import MAX_ROW, PIECE, START, Block, Lines, Mark, Row, lines_of, too_long
from studio.data.encoding import HEAD, size_words
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError, counted

DELIMITERS = ",;\t|"


def csv_rows(file: TextFile, mark: Mark = START) -> Iterator[Block]:
    """Rows of a CSV file by its header; blank lines are passed over.

    A row with more or fewer fields than the header is a `RowError` that names its line. Raises
    DatasetError without a usable header, or when a quotation mark is never closed.
    """
    # The limit is one of the whole process and its default refuses a field above 131,072.
    csv.field_size_limit(max(MAX_ROW, csv.field_size_limit()))
    delimiter = find_delimiter(file)
    source = _Source(file, START)
    records = _records(source, delimiter)
    header = _header(file, next(records, (1, [])))
    if mark.offset:
        source = _Source(file, mark)
        records = _records(source, delimiter)
    start, rows, number = source.mark(mark.row), list[Row](), mark.row
    for line, fields in records:
        number += 1
        rows.append((number, _row(file, number, line, header, fields)))
        if source.taken - start.offset >= PIECE:
            yield Block(start, len(rows), iter(rows))
            start, rows = source.mark(number), []
    if rows:
        yield Block(start, len(rows), iter(rows))


def find_delimiter(file: TextFile) -> str:
    """Which of `, ; tab |` splits the first lines into equally many fields, and into the most."""
    with file.open() as stream:
        head = stream.read(HEAD).decode("utf-8-sig", "ignore")
    lines = [line for line in re.split(r"\r\n|\r|\n", head)[:200] if line.strip()]
    best, delimiter = (0.0, 0), "\t" if file.ending == ".tsv" else ","
    for candidate in DELIMITERS:
        widths = []
        try:
            for fields in csv.reader(lines, delimiter=candidate):
                widths.append(len(fields))
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            # The last record of the sample may be cut, so it does not vote.
            votes = widths[:-1] if len(widths) > 2 else widths
            score = (sum(width == widths[0] for width in votes) / len(votes), widths[0])
            if score > best:
                best, delimiter = score, candidate
    return delimiter


class _Source:
    """Lines for `csv.reader`, which takes them only as it needs them, with the place after each."""

    def __init__(self, file: TextFile, mark: Mark) -> None:
        self.file, self._blocks = file, lines_of(file, mark)
        self._raw: Iterator[bytes] = iter(())
        self.taken, self.line = mark.offset, mark.line

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        raw = next(self._raw, None)
        while raw is None:
            block = next(self._blocks)
            self._refuse_long(block)
            self.taken = block.offset
            self._raw = iter(block.raw.splitlines(keepends=True))
            raw = next(self._raw, None)
        self.taken += len(raw)
        self.line += 1
        return raw.decode()

    def mark(self, row: int) -> Mark:
        """The place behind the last line taken."""
        return Mark(self.taken, row, self.line)

    def _refuse_long(self, block: Lines) -> None:
        if block.too_long:
            raise DatasetError(
                f"{self.file}: line {block.line + 1} is {size_words(block.too_long)} long; at most "
                f"{size_words(MAX_ROW)} are read. Split it, or take it out."
            )


def _records(source: _Source, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """(first line, fields) of each record, or (line, reason) for one that cannot be split."""
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        line = source.line + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field larger" in str(error) or "end of data" in str(error):
                raise DatasetError(
                    f"{source.file}: line {line}: a quotation mark opened in this row is not closed "
                    f'within {size_words(MAX_ROW)}, or at all. Close it, or double it inside a field ("").'
                ) from None
            yield line, f'line {source.line}: {error}; double a quotation mark inside a field ("")'
            continue
        if fields:
            yield line, fields


def _header(file: TextFile, first: tuple[int, list[str] | str]) -> list[str]:
    line, names = first
    if isinstance(names, str):
        raise DatasetError(f"{file}: the header cannot be read: {names}.")
    problem = ""
    if any(not name.strip() for name in names):
        problem = "one of its fields is empty"
    elif len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        problem = f"{twice[:40]!r} stands twice"
    elif any(len(name) > 200 or "\n" in name for name in names) or all(map(_is_number, names)):
        problem = f"{names[0][:40]!r} is no name of a column"
    if problem:
        raise DatasetError(
            f"{file}: line {line} must be a header that names each column once, but {problem}. "
            "Put a line such as instruction,input,output first."
        )
    return names


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()


def _row(
    file: TextFile, number: int, line: int, header: list[str], fields: list[str] | str
) -> dict[str, str] | RowError:
    if isinstance(fields, str):
        return RowError(fields, file=str(file), row=number)
    if len(fields) != len(header):
        why = (
            f"line {line}: the row has {counted(len(fields), 'field')} where the header names {len(header)} "
            f"({', '.join(header[:8])}); put a field that holds the delimiter in quotation marks"
        )
        return RowError(why, file=str(file), row=number)
    if (size := sum(map(len, fields))) > MAX_ROW:
        return too_long(file, number, line, size)
    if any("\0" in field for field in fields):
        return RowError(f"line {line}: it holds a NUL character; take it away", file=str(file), row=number)
    return dict(zip(header, fields, strict=True))
