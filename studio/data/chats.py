"""Formats of lists of turns.

sharegpt  turns with a role and a content, questions and answers in strict order
openai    the messages of OpenAI's API
"""

from __future__ import annotations

from typing import Any

from studio.data.columns import column_of, in_words, listed, optional_text
from studio.data.conversations import OPENAI_TAGS, from_messages, from_turns
from studio.data.entry import DatasetEntry
from studio.data.example import Example, Row, reads
from studio.data.ranked import finished
from studio.errors import RowError

_OPTIONAL = ("chosen", "rejected", "kto_tag")


@reads("sharegpt", messages="conversations", system="system", tools="tools", optional=_OPTIONAL)
def sharegpt(row: Row, entry: DatasetEntry) -> Example:
    """A list of turns, the words for roles and keys being the entry's tags."""
    if entry.ranking and "messages" not in entry.columns:
        return finished([], row, entry)
    turns, column = _turns(row, entry)
    system = _system(row, entry, turns, column)
    return finished(from_turns(turns, column, entry.tags, system=system, answered=not entry.ranking), row, entry)


@reads("openai", messages="messages", tools="tools", optional=("system", *_OPTIONAL), tags=OPENAI_TAGS)
def openai(row: Row, entry: DatasetEntry) -> Example:
    """Messages in the shape of OpenAI's API: tool calls, tool results, thinking, parts of text."""
    if entry.ranking and "messages" not in entry.columns:
        return finished([], row, entry)
    items, column = _turns(row, entry)
    system = _system(row, entry, items, column)
    return finished(from_messages(items, column, entry.tags, system=system, answered=not entry.ranking), row, entry)


def _turns(row: Row, entry: DatasetEntry) -> tuple[list[Any], str]:
    """The turns of a row, at least one, and the column they stand in."""
    column = column_of(row, "messages", entry)
    turns = row[column]
    if type(turns) is str:
        turns = listed(turns)
    if isinstance(turns, list) and turns:
        return turns, column
    raise RowError(f"it must be a list of turns; this is {in_words(turns)}", column=column)


def _system(row: Row, entry: DatasetEntry, turns: list[Any], column: str) -> str:
    """The system prompt of a column of its own; there may be none in the first turn then."""
    system = optional_text(row, "system", entry)
    first, tags = turns[0], entry.tags
    if system and isinstance(first, dict) and first.get(tags["role_tag"]) == tags["system_tag"]:
        if not first.get(tags["content_tag"]):
            return system
        why = f"a system prompt stands here and in the column {entry.columns['system']!r}; keep one"
        raise RowError(why, column=column)
    return system
