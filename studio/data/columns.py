"""What a row holds in a column, and how a complaint speaks of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from studio.errors import RowError
from studio.registry import did_you_mean

if TYPE_CHECKING:
    from studio.data.entry import DatasetEntry

Row = Mapping[str, Any]


def text_in(row: Row, column: str) -> str:
    """The text of a column that must be there. Raises RowError."""
    value = row.get(column)
    if type(value) is str:
        return value
    if column not in row:
        raise absent(row, column)
    raise RowError(f"it must be text, but it is {in_words(value)}; write it in quotation marks", column=column)


def optional_text(row: Row, meaning: str, entry: DatasetEntry) -> str:
    """The text of a column that may be null, and may be absent where the entry does not list it."""
    column = entry.columns.get(meaning)
    if column is None:
        return ""
    value = row.get(column)
    if type(value) is str:
        return value
    if value is None and (column in row or not entry.listed):
        return ""
    return text_in(row, column)


def optional_value(row: Row, meaning: str, entry: DatasetEntry) -> Any:
    """Whatever stands in such a column, None where nothing does."""
    column = entry.columns.get(meaning)
    if column is None:
        return None
    if entry.listed and column not in row:
        raise absent(row, column)
    return row.get(column)


def column_of(row: Row, meaning: str, entry: DatasetEntry, others: Sequence[str] = ()) -> str:
    """The column of a meaning that the row must have.

    An entry without columns of its own leaves the choice to the row: the default column, else the
    first of `others` that it has. Raises RowError when the entry maps none, or the row has none.
    """
    column = entry.columns.get(meaning)
    if column is None:
        raise RowError(f"the entry maps no column to {meaning}; add columns.{meaning} to dataset_info.json")
    if column in row:
        return column
    if not entry.listed:
        for other in others:
            if other in row:
                return other
    raise absent(row, column)


def listed(value: Any) -> Any:
    """The list that a text holds as JSON, as it must in a table; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            return json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return value
    return value


def absent(row: Row, column: str) -> RowError:
    """The complaint about a column that is not there."""
    near = did_you_mean(column, row) or " Correct columns in dataset_info.json, or the row"
    return RowError(f"the row has no such column; it has {names_of(row)}.{near}", column=column)


def names_of(row: Row) -> str:
    """The names of the columns or keys, the first dozen."""
    names = [str(name)[:40] for name in row]
    return ", ".join(names[:12]) + (" and more" if len(names) > 12 else "") if names else "no columns"


def in_words(value: Any) -> str:
    """A value in words, with a glimpse of it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}" if value else "an empty text"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"
