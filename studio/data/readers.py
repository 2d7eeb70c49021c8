"""Which reader fits a file: by its ending, and for JSON by what it holds."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from studio.data.arrays import json_array
from studio.data.arrow import arrow_rows
from studio.data.blocks import Block, Mark
from studio.data.compressed import PACKINGS
from studio.data.encoding import BOM, check_head, read_head, refuse_binary
from studio.data.lines import json_lines, text_rows
from studio.data.parquet import parquet_rows
from studio.data.syntax import cut_short, parse
from studio.data.tables import csv_rows
from studio.data.textfile import TextFile
from studio.errors import DatasetError

Reader = Callable[[TextFile, Mark], Iterator[Block]]

TEXT_ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
ENDINGS = (*TEXT_ENDINGS, ".parquet", ".arrow")


def is_data(path: Path) -> bool:
    """Whether the ending is one that a reader takes."""
    file = TextFile(path)
    return file.ending in (TEXT_ENDINGS if file.packed else ENDINGS)


def no_rows(path: Path) -> DatasetError:
    """The complaint about a file without a row."""
    return DatasetError(f"{path} holds no rows (0 rows); put rows in it, or name another file.")


def reader_of(file: TextFile, sample_by: str = "line") -> Reader:
    """The reader for what a file holds. Raises DatasetError when no reader fits."""
    ending = file.ending
    if not is_data(file.path):
        head = read_head(file.path)
        if not file.packed:
            refuse_binary(file.path, head)
        elif ending in ENDINGS:
            raise DatasetError(f"{file}: {ending} is compressed in itself and read as it is. Unpack {file.path.name}.")
        found = f"it ends in {ending}" if ending else "its name has no ending"
        where = f" before {file.path.suffix}" if file.packed else ""
        raise DatasetError(
            f"{file} must end in one of {', '.join(ENDINGS)}{where}, but {found}{where}. "
            f"Convert it, or correct its name; text may be compressed ({', '.join(PACKINGS)} after the ending)."
        )
    if ending == ".parquet":
        return parquet_rows
    if ending == ".arrow":
        return arrow_rows
    head = check_head(file)
    if ending == ".txt":
        return functools.partial(text_rows, sample_by=sample_by)
    if ending in (".csv", ".tsv"):
        return csv_rows
    return _json_reader(file, head)


def _json_reader(file: TextFile, head: bytes) -> Reader:
    """Tell a list from lines by the first character."""
    text = head.removeprefix(BOM).decode("utf-8", "ignore").lstrip()
    if text.startswith("["):
        return json_array
    if text.startswith("{"):
        _refuse_one_object(file, text)
        return json_lines
    if not text:
        raise no_rows(file.path)
    if re.match(r"<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise DatasetError(f"{file} must hold JSON, but it is an HTML or XML page; fetch the data file itself.")
    if file.ending == ".json":
        raise DatasetError(
            f"{file} must start with [ or {{ as JSON rows do, but it starts with {text[:20]!r}. "
            "Correct it, or give it the ending of what it is."
        )
    return json_lines


def _refuse_one_object(file: TextFile, text: str) -> None:
    """One object laid out over many lines is no list of rows, and reading it by lines would mislead."""
    first, _, rest = text.partition("\n")
    following = rest.lstrip()
    if not following or following.startswith("{"):
        return
    try:
        parse(first)
    except json.JSONDecodeError as error:
        if cut_short(error) and error.pos >= len(first.rstrip()):
            raise DatasetError(
                f"{file}: the object that starts on line 1 goes on over several lines; rows must be a "
                "list ([{…}, {…}]) or one object a line. Put the list of rows alone in the file."
            ) from None
    except (ValueError, RecursionError):
        return  # The reader of lines tells it with the place.
