"""The texts of a raw row: which they are, how they are changed in place, and how they read as one."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

from studio.data.catalog import DatasetEntry
from studio.data.columns import listed, names_of
from studio.data.example import Example, Message
from studio.errors import DatasetError, RowError
from studio.registry import did_you_mean

Row = dict[str, Any]
# Nothing in these columns is text for people, or it must stay as it is.
_AS_THEY_ARE = ("tools", "kto_tag", "label")


def is_running_text(example: Example) -> bool:
    """Whether a row is text to go on with, and no question and answer."""
    return bool(example.text) and not example.messages


def blank(row: Row | RowError, entry: DatasetEntry) -> bool:
    """Whether a row of running text has nothing but white space in its column."""
    if isinstance(row, RowError) or set(entry.columns) != {"prompt"}:
        return False
    text = row.get(entry.columns["prompt"])
    return isinstance(text, str) and not text.strip()


def columns_of(row: Row, entry: DatasetEntry, example: Example, asked: Sequence[str]) -> list[str]:
    """The columns whose texts are cleaned. Raises DatasetError for an asked one that the row lacks."""
    for column in asked:
        if column not in row:
            raise DatasetError(
                f"--columns {column}: the rows of {entry.name} have no such column; they have {names_of(row)}."
                f"{did_you_mean(column, row)} Correct it."
            )
    if asked:
        return list(asked)
    if is_running_text(example):
        found = [column for column in (entry.columns.get("prompt", ""), "text", "data", "content") if column in row]
        return [next((column for column in found if row[column] == example.text), found[0])] if found else []
    return [column for meaning, column in entry.columns.items() if meaning not in _AS_THEY_ARE and column in row]


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each text in it changed: those of lists and objects too, and of lists that stand as JSON text."""
    if isinstance(value, str):
        inner = listed(value)
        if isinstance(inner, list):
            changed = with_texts(inner, change)
            return value if changed == inner else json.dumps(changed, ensure_ascii=False)
        return change(value)
    if isinstance(value, list):
        return [with_texts(each, change) for each in value]
    if isinstance(value, dict):
        return {key: each if key in _AS_THEY_ARE else with_texts(each, change) for key, each in value.items()}
    return value


def parts(example: Example) -> list[str]:
    """What must be alike in two rows that are alike: the text; or what is asked, each answer, and the judgement."""
    if is_running_text(example):
        return [example.text]
    if example.chosen:
        return [_said(example.messages), _said(example.chosen), _said(example.rejected)]
    judged = [] if example.label is None else [str(example.label)]
    return [_said(example.messages[:-1]), _said(example.messages[-1:]), *judged]


def joined(example: Example) -> str:
    """All that a model would learn of a row, as one text."""
    return "\n".join(part for part in parts(example) if part)


def _said(messages: Sequence[Message]) -> str:
    found = []
    for message in messages:
        found.append(str(message.get("reasoning_content") or ""))
        found.append(str(message.get("content") or ""))
        if calls := message.get("tool_calls"):
            found.append(json.dumps(calls, ensure_ascii=False, sort_keys=True))
    return "\n".join(part for part in found if part)


def line_of(row: Row) -> bytes:
    """The row as a line of JSON; dates and the like as text, bytes as Base64."""
    return json.dumps(row, ensure_ascii=False, default=_as_text).encode("utf-8", "backslashreplace") + b"\n"


def _as_text(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
