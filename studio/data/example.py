"""The one currency of rows: an `Example`, and the registry of the formats that make one of a raw row.

A format is one function, registered with the columns it reads:

    @reads("alpaca", prompt="instruction", query="input", response="output")

It returns an `Example` or raises `RowError`; the caller knows file and row number.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.registry import Registry

if TYPE_CHECKING:
    from studio.data.entry import DatasetEntry

Message = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """One row, whatever its format was: `messages` or `text` is set.

    A message is {"role": "system" | "user" | "assistant" | "tool", "content": text}; an assistant may
    have "tool_calls", [{"type": "function", "function": {"name": text, "arguments": object}}], and
    "reasoning_content". `tools` is the JSON text of a list of tools, empty without any.

    A conversation to learn ends with an assistant. A ranked pair has `chosen` and `rejected`, the two
    ways `messages` may go on. A judged row has `label`: whether the last answer of `messages` is wanted.
    """

    messages: tuple[Message, ...] = ()
    text: str = ""
    tools: str = ""
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    label: bool | None = None


Read = Callable[[Row, "DatasetEntry"], Example]


@dataclass(frozen=True)
class Format:
    """How one kind of row is read. `columns` leads from a meaning to the column it has by default."""

    name: str
    columns: Mapping[str, str]
    read: Read


def _load() -> None:
    importlib.import_module("studio.data.formats")


FORMATS: Registry[Format] = Registry("dataset format", _load)


def reads(name: str, **columns: str) -> Callable[[Read], Read]:
    """Register a function as the format `name`, with the columns it reads by default."""

    def register(read: Read) -> Read:
        FORMATS.add(name, Format(name, columns, read))
        return read

    return register


def to_example(row: Row, entry: DatasetEntry) -> Example:
    """The example of one raw row. Raises RowError with the column and what is wrong in it."""
    return FORMATS[entry.formatting].read(row, entry)
