"""What the values of a column are, in one word: text, flag, messages, turns, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio.data.columns import listed

# Columns in which a table writes a conversation as JSON, or a label as a word.
_CHATS = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")
LABELS = ("kto_tag", "label")

# The keys that every item of a list has.
_LISTS = (
    ("messages", {"role"}),
    ("turns", {"from", "value"}),
    ("exchanges", {"human", "assistant"}),
    ("rounds", {"input", "output"}),
    ("moss", {"Human", "MOSS"}),
)


def shape_of(values: Sequence[Any], name: str) -> str:
    """What all values of the column `name` are, empty ones aside; "mixed" when they differ, or "nothing"."""
    name = name.strip().lower()
    if name in _CHATS:
        values = [listed(value) for value in values]
    shapes = {_shape(value) for value in values if value not in (None, "", [], {})}
    if not shapes:
        return "text" if any(value == "" for value in values) else "nothing"
    if name in LABELS and shapes <= {"text", "number"} and _flags(values, name):
        return "flag"
    return shapes.pop() if len(shapes) == 1 else "mixed"


def _flags(values: Sequence[Any], name: str) -> bool:
    """Whether the values say true and false in other words; a 0 or 1 does so only under kto_tag."""
    words = {str(value).strip().lower() for value in values}
    return words <= {"true", "false"} or (name == "kto_tag" and words <= {"0", "1"})


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
