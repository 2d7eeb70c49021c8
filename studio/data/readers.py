"""Which reader fits a file: by its ending, and for JSON by what it holds."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from studio.data.arrays import json_array
from studio.data.blocks import Block, Mark
from studio.data.encoding import BOM, check_head, read_head, refuse_binary
from studio.data.lines import json_lines, text_rows
from studio.data.parquet import parquet_rows
from studio.data.syntax import cut_short, parse
from studio.data.tables import csv_rows
from studio.errors import DatasetError

Reader = Callable[[Path, Mark], Iterator[Block]]

ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt")


def no_rows(path: Path) -> DatasetError:
    """The complaint about a file without a row."""
    return DatasetError(f"{path} holds no rows (0 rows); put rows in it, or name another file.")


def reader_of(path: Path, sample_by: str = "line") -> Reader:
    """The reader for what a file holds. Raises DatasetError when no reader fits."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        refuse_binary(path, read_head(path))
        raise DatasetError(
            f"{path} must end in one of {', '.join(ENDINGS)}, but it ends in {ending or 'nothing'}. "
            "Convert it, or correct its name."
        )
    if ending == ".parquet":
        return parquet_rows
    head = check_head(path)
    if ending == ".txt":
        return functools.partial(text_rows, sample_by=sample_by)
    if ending in (".csv", ".tsv"):
        return csv_rows
    return _json_reader(path, head)


def _json_reader(path: Path, head: bytes) -> Reader:
    """Tell a list from lines by the first character."""
    text = head.removeprefix(BOM).decode("utf-8", "ignore").lstrip()
    if text.startswith("["):
        return json_array
    if text.startswith("{"):
        _refuse_one_object(path, text)
        return json_lines
    if not text:
        raise no_rows(path)
    if re.match(r"<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise DatasetError(f"{path} must hold JSON, but it is an HTML or XML page; fetch the data file itself.")
    if path.suffix.lower() == ".json":
        raise DatasetError(
            f"{path} must start with [ or {{ as JSON rows do, but it starts with {text[:20]!r}. "
            "Correct it, or give it the ending of what it is."
        )
    return json_lines


def _refuse_one_object(path: Path, text: str) -> None:
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
                f"{path}: the object that starts on line 1 goes on over several lines; rows must be a "
                "list ([{…}, {…}]) or one object a line. Put the list of rows alone in the file."
            ) from None
    except (ValueError, RecursionError):
        return  # The reader of lines tells it with the place.
