"""The one currency of rows: an `Example`, and the registry of the formats that make one of a raw row.

A format is one function, registered with the columns it reads:

    @reads("alpaca", prompt="instruction", query="input", response="output")
    def alpaca(row: Row, entry: DatasetEntry) -> Example: ...

It returns an `Example` or raises `RowError`; the caller knows file and row number.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    have "tool_calls", [{"type": "function", "function": {"name": text, "arguments": object}}],
    "reasoning_content", and "weight": 0 when it is not to be learned; a tool's result may have
    "name" and "tool_call_id". `tools` is the JSON text of a list of tools, empty without any.

    A conversation to learn ends with an assistant. With both set, `text` is the same conversation
    written out with `<s>` and `</s>`: a document keeps it. A ranked pair has `chosen` and `rejected`,
    the two ways `messages` may go on. A judged row has `label`: whether the last answer is wanted.
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
    """How one kind of row is read.

    `columns` leads from a meaning to the column it has by default; `optional` are meanings that an
    entry may map and that have no column by default. `tags` are the words of the format for roles
    and keys, where they are not those of `TAGS`.
    """

    name: str
    columns: Mapping[str, str]
    read: Read
    optional: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def meanings(self) -> tuple[str, ...]:
        """Everything that an entry may map to a column."""
        return (*self.columns, *self.optional)


# The words for roles and keys in a list of turns, where neither the entry nor its format says others.
TAGS: Mapping[str, str] = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}


def _load() -> None:
    for name in ("formats", "chats", "wild"):
        importlib.import_module(f"studio.data.{name}")


FORMATS: Registry[Format] = Registry("dataset format", _load)


def reads(
    name: str, *, optional: tuple[str, ...] = (), tags: Mapping[str, str] | None = None, **columns: str
) -> Callable[[Read], Read]:
    """Register a function as the format `name`, with the columns it reads by default."""

    def register(read: Read) -> Read:
        FORMATS.add(name, Format(name, columns, read, optional, tags or {}))
        return read

    return register


def to_example(row: Row, entry: DatasetEntry) -> Example:
    """The example of one raw row. Raises RowError with the column and what is wrong in it."""
    return FORMATS[entry.formatting].read(row, entry)


def sides(example: Example) -> list[tuple[str, Example]]:
    """The conversations of an example by name: chosen and rejected of a pair, else itself under ""."""
    if not example.chosen:
        return [("", example)]
    return [
        (name, Example((*example.messages, *side), tools=example.tools))
        for name, side in (("chosen", example.chosen), ("rejected", example.rejected))
    ]
