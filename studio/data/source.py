"""Raw rows of a data file, whatever its kind: all of them in a stream, or a page anywhere in it.

    json      a list of objects, or one object a line: what the file holds counts, not its ending
    jsonl     the same
    csv, tsv  with a header
    parquet
    arrow     file or stream, such as the shards of a folder that `datasets` saved
    txt       lines, paragraphs or the whole document, as `{"text": …}`

Text may be compressed (.gz, .zst, .bz2 after its ending) and in another encoding that is named.

Memory does not grow with the file. A trouble of one row is a `RowError` in its place; a trouble of
the file raises DatasetError. The first page is there at once. A far page goes through an index with
a mark for about every MiB, kept under the cache by path, size and time of the file, so an edited
file gets a new one. A compressed or converted file is read up to the mark, without parsing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from studio.data.arrow import arrow_rows
from studio.data.blocks import PIECE, START, Block, Mark, Row
from studio.data.parquet import parquet_marks, parquet_rows
from studio.data.readers import Reader, no_rows, reader_of
from studio.data.shards import listed, must_be_as_listed, must_have_given
from studio.data.textfile import TextFile
from studio.errors import DatasetError
from studio.workspace import write_json

__all__ = ["Row", "count", "known_count", "page", "rows"]

# Reading this far takes a tenth of a second, so an index is made only for pages behind it.
NEAR = 16 * PIECE


def rows(path: Path, *, sample_by: str = "line", encoding: str = "") -> Iterator[Row]:
    """Every row of a file with its number, from 1.

    `sample_by` says what a row of a txt file is: line, paragraph or document; `encoding` is that of
    a text file, "" for UTF-8.
    Raises DatasetError when the file cannot be read, or holds no row, or is a shard that its index says otherwise of.
    """
    given, shard = 0, must_be_as_listed(path)
    file = TextFile(path, encoding)
    for block in reader_of(file, sample_by)(file, START):
        given += block.length
        yield from block.rows
    if not given:
        raise no_rows(path)
    must_have_given(path, shard, given)


def page(  # which rows, and how the file is read
    path: Path,
    start: int,
    count: int,
    cache: Path,
    *,
    sample_by: str = "line",
    encoding: str = "",
    progress: Callable[[float], None] | None = None,
) -> list[Row]:
    """Rows `start` (from 0) to `start + count` of a file; fewer at its end.

    A far page makes an index under `cache` once; `progress` then hears the share read, 0 to 1.
    Raises DatasetError as `rows` does.
    """
    file = TextFile(path, encoding, progress)
    reader = reader_of(file, sample_by)
    if reader in (parquet_rows, arrow_rows):
        marks = parquet_marks(path) if reader is parquet_rows else [START]
    else:
        index = _index_file(file, cache, sample_by)
        marks, _ = _saved(index)
        if not marks:
            return _first_read(file, reader, range(start, start + count), index)[0]
    mark = max((mark for mark in marks if mark.row <= start), default=START)
    found = _taken(reader(file, mark), range(start, start + count))
    if not found and start == 0:
        raise no_rows(path)
    return found


def count(
    path: Path,
    cache: Path,
    *,
    sample_by: str = "line",
    encoding: str = "",
    progress: Callable[[float], None] | None = None,
) -> int:
    """The number of rows of a file, kept in its index. Raises DatasetError as `rows` does."""
    if shard := must_be_as_listed(path):
        return shard.rows
    file = TextFile(path, encoding, progress)
    reader = reader_of(file, sample_by)
    if reader in (parquet_rows, arrow_rows):
        return sum(block.length for block in reader(file, START))
    index = _index_file(file, cache, sample_by)
    marks, total = _saved(index)
    return total if marks else _first_read(file, reader, None, index)[1]


def known_count(path: Path, cache: Path, *, sample_by: str = "line", encoding: str = "") -> int | None:
    """The number of rows where `count` or a far page has told it before; nothing is read."""
    if shard := listed(path):
        return shard.rows
    marks, total = _saved(_index_file(TextFile(path, encoding), cache, sample_by))
    return total if marks else None


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


def _first_read(file: TextFile, reader: Reader, wanted: range | None, index: Path) -> tuple[list[Row], int]:
    """The wanted rows; without them, or when they are not near, read all, count, and keep the marks."""
    before = file.path.stat()
    found: list[Row] = []
    marks, total = [START], 0
    try:
        for block in reader(file, START):
            found += _within(block, wanted) if wanted else ()
            total = block.mark.row + block.length
            if block.mark.offset - marks[-1].offset >= PIECE:
                marks.append(block.mark)
            if wanted and total >= wanted.stop and block.mark.offset <= NEAR:
                return found, total
            if file.progress and block.mark.offset > NEAR:
                file.progress(file.share(block.mark.offset))
    except DatasetError:
        if wanted and total >= wanted.stop:
            return found, total
        raise
    if not total:
        raise no_rows(file.path)
    after = file.path.stat()
    far = wanted is None or marks[-1].offset > NEAR
    # Marks of a file that changed meanwhile fit neither version.
    if far and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
        write_json(index, {"rows": total, "marks": marks})
    if file.progress:
        file.progress(1.0)
    return found, total


def _index_file(file: TextFile, cache: Path, sample_by: str) -> Path:
    facts = file.path.stat()
    key = f"2|{file.path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{sample_by}|{file.encoding}"
    return cache / "pages" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _saved(index: Path) -> tuple[list[Mark], int]:
    """The marks and the number of rows of a saved index; none when it is not there or not whole."""
    try:
        kept: Any = json.loads(index.read_text(encoding="utf-8"))
        return [Mark(*mark) for mark in kept["marks"]], int(kept["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return [], 0
