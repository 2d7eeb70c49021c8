"""Raw rows of a data file, whatever its kind: all of them in a stream, or a page anywhere in it.

    json      a list of objects, or one object a line: what the file holds counts, not its ending
    jsonl     the same
    csv, tsv  with a header
    parquet
    txt       lines, paragraphs or the whole document, as `{"text": …}`

Memory does not grow with the file. A trouble of one row is a `RowError` in its place; a trouble of
the file raises DatasetError. The first page is there at once. A far page goes through an index with
a mark for about every MiB, kept under the cache by path, size and time of the file, so an edited
file gets a new one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from studio.data.blocks import PIECE, START, Block, Mark, Row
from studio.data.parquet import parquet_marks, parquet_rows
from studio.data.readers import Reader, no_rows, reader_of
from studio.errors import DatasetError
from studio.workspace import write_json

__all__ = ["Row", "page", "rows"]

# Reading this far takes a tenth of a second, so an index is made only for pages behind it.
NEAR = 16 * PIECE


def rows(path: Path, *, sample_by: str = "line") -> Iterator[Row]:
    """Every row of a file with its number, from 1.

    `sample_by` says what a row of a txt file is: line, paragraph or document.
    Raises DatasetError when the file cannot be read, or holds no row.
    """
    empty = True
    for block in reader_of(path, sample_by)(path, START):
        empty = empty and not block.length
        yield from block.rows
    if empty:
        raise no_rows(path)


def page(
    path: Path,
    start: int,
    count: int,
    cache: Path,
    *,
    sample_by: str = "line",
    progress: Callable[[float], None] | None = None,
) -> list[Row]:
    """Rows `start` (from 0) to `start + count` of a file; fewer at its end.

    A far page makes an index under `cache` once; `progress` then hears the share read, 0 to 1.
    Raises DatasetError as `rows` does.
    """
    reader = reader_of(path, sample_by)
    if reader is parquet_rows:
        marks = parquet_marks(path)
    else:
        index = _index_file(path, cache, sample_by)
        marks = _saved(index)
        if not marks:
            return _first_read(path, reader, range(start, start + count), index, progress)
    mark = max((mark for mark in marks if mark.row <= start), default=START)
    found = _taken(reader(path, mark), range(start, start + count))
    if not found and start == 0:
        raise no_rows(path)
    return found


def _taken(blocks: Iterable[Block], wanted: range) -> list[Row]:
    """The wanted rows (counted from 0) out of blocks; those before are passed over unread."""
    found: list[Row] = []
    for block in blocks:
        found += _within(block, wanted)
        if block.mark.row + block.length >= wanted.stop:
            break
    return found


def _within(block: Block, wanted: range) -> Iterator[Row]:
    first = max(wanted.start - block.mark.row, 0)
    last = min(wanted.stop - block.mark.row, block.length)
    return itertools.islice(block.rows, first, last) if first < last else iter(())


def _first_read(
    path: Path, reader: Reader, wanted: range, index: Path, progress: Callable[[float], None] | None
) -> list[Row]:
    """Read from the start; when the page is not near, read all and keep the marks."""
    before = path.stat()
    found: list[Row] = []
    marks, total = [START], 0
    try:
        for block in reader(path, START):
            found += _within(block, wanted)
            total = block.mark.row + block.length
            if block.mark.offset - marks[-1].offset >= PIECE:
                marks.append(block.mark)
            if block.mark.offset <= NEAR:
                if total >= wanted.stop:
                    return found
            elif progress:
                progress(block.mark.offset / before.st_size)
    except DatasetError:
        if total >= wanted.stop:
            return found
        raise
    if not total:
        raise no_rows(path)
    after = path.stat()
    # Marks of a file that changed meanwhile fit neither version.
    if marks[-1].offset > NEAR and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
        write_json(index, {"rows": total, "marks": marks})
    if progress:
        progress(1.0)
    return found


def _index_file(path: Path, cache: Path, sample_by: str) -> Path:
    facts = path.stat()
    key = f"1|{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{sample_by}"
    return cache / "pages" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _saved(index: Path) -> list[Mark]:
    """The marks of a saved index; none when it is not there or not whole."""
    try:
        return [Mark(*mark) for mark in json.loads(index.read_text(encoding="utf-8"))["marks"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
