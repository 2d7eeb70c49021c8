"""What the values of a column are, in one word: text, flag, messages, turns, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from studio.data.columns import listed

# Columns in which a table writes a conversation as JSON, or a label as a word.
_CHATS = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")
LABELS = ("kto_tag", "label")

# So large a share says what the others should be too: these few are told row by row when they are read.
_MOST = 0.8

# The keys that every item of a list has.
_LISTS = (
    ("messages", {"role"}),
    ("turns", {"from", "value"}),
    ("exchanges", {"human", "assistant"}),
    ("rounds", {"input", "output"}),
    ("moss", {"Human", "MOSS"}),
)


def shape_of(values: Sequence[Any], name: str) -> str:
    """What most values of the column `name` are, empty ones aside; "mixed" where they differ, or "nothing"."""
    name = name.strip().lower()
    if name in _CHATS:
        values = [listed(value) for value in values]
    values = [value for value in values if value not in (None, "", [], {})] or values
    if not any(value not in (None, "", [], {}) for value in values):
        return "text" if any(value == "" for value in values) else "nothing"
    if name in LABELS and most_of(_flag(value, name) for value in values):
        return "flag"
    return most_of(_shape(value) for value in values) or "mixed"


def most_of(words: Iterable[str]) -> str:
    """The word that nearly all of them are, "" where none is."""
    counted = Counter(words)
    word, count = next(iter(counted.most_common(1)), ("", 0))
    return word if count >= _MOST * counted.total() else ""


def _flag(value: Any, name: str) -> str:
    """ "flag" for a value that says true or false, if in other words; a 0 or 1 does so only under kto_tag."""
    words = ("true", "false", *(("0", "1") if name == "kto_tag" else ()))
    return "flag" if isinstance(value, bool) or str(value).strip().lower() in words else ""


def _shape(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, dict):
        if any(isinstance(turn, dict) and "MOSS" in turn for turn in value.values()):
            return "moss"
        return "message" if {"role", "content"} <= value.keys() else "turn" if "from" in value else "object"
    if not isinstance(value, list):
        return "number"
    if all(isinstance(item, list) for item in value):
        return "history"
    if not all(isinstance(item, dict) for item in value):
        return "list"
    # Rows of alpaca have an input and an output too: a list of them is a file of rows, no conversation.
    if any("instruction" in item for item in value):
        return "list"
    return next((shape for shape, keys in _LISTS if all(keys <= item.keys() for item in value)), "list")
