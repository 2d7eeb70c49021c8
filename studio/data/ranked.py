"""Pairs of a wanted and an unwanted answer, and answers with a verdict.

Every format of conversations ends with `finished`: where the entry says `ranking`, the messages so
far are the prompt of a pair; where it maps `kto_tag`, they get their label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio.data.calls import read_tools
from studio.data.columns import absent, in_words, optional_value
from studio.data.conversations import OPENAI_TAGS, Tags, from_messages
from studio.data.entry import DatasetEntry
from studio.data.example import TAGS, Example, Message, Row
from studio.errors import RowError

_LABELS = {"true": True, "1": True, "false": False, "0": False}


def finished(messages: list[Message], row: Row, entry: DatasetEntry, *, pair: bool = False) -> Example:
    """The example of a row from its messages: its tools, its two sides, its label where it has them."""
    columns = entry.columns
    tools = ""
    if "tools" in columns:
        value = optional_value(row, "tools", entry)
        tools = read_tools(value, columns["tools"]) if value else ""
    if entry.ranking or pair:
        return _pair(messages, row, entry, tools)
    if "kto_tag" in columns:
        return Example(tuple(messages), tools=tools, label=_label(row, columns["kto_tag"]))
    return Example(tuple(messages), tools=tools)


def _pair(prompt: list[Message], row: Row, entry: DatasetEntry, tools: str) -> Example:
    """A pair; `selected` stands for chosen where the entry lists no columns."""
    columns = entry.columns
    wanted = columns["chosen"]
    if wanted not in row and not entry.listed and "selected" in row:
        wanted = "selected"
    unwanted = columns["rejected"]
    chosen, rejected = _side(row, wanted, entry), _side(row, unwanted, entry)
    if chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        shared = _shared(chosen, rejected, unwanted)
        chosen, rejected = chosen[len(shared) :], rejected[len(shared) :]
        prompt = _agreed(prompt, shared, wanted)
    if not prompt or prompt[-1]["role"] == "system":
        raise RowError("a pair needs a prompt; map the column of the question (prompt, or messages)")
    return Example(tuple(prompt), tools=tools, chosen=tuple(chosen), rejected=tuple(rejected))


def _side(row: Row, column: str, entry: DatasetEntry) -> list[Message]:
    """One side of a pair: text, a message or a list of messages, that ends with an answer."""
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        return [{"role": "assistant", "content": value}]
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and value:
        return from_messages(value, column, tags_of(value, entry.tags))
    if column not in row:
        raise absent(row, column)
    raise RowError(
        f"it must be an answer: text, a message or a list of messages; this is {in_words(value)}", column=column
    )


def tags_of(items: Sequence[Any], own: Tags) -> Tags:
    """The words of a list of messages: the entry's, or those of the family whose keys it has."""
    first = items[0]
    for tags in (own, OPENAI_TAGS, TAGS):
        if isinstance(first, dict) and tags["role_tag"] in first and tags["content_tag"] in first:
            return tags
    return own


def _shared(chosen: list[Message], rejected: list[Message], column: str) -> list[Message]:
    """The messages with which two whole conversations begin alike, up to the answers that differ."""
    most = min(len(chosen), len(rejected)) - 1
    count = next((at for at in range(most) if chosen[at] != rejected[at]), most)
    if not count or chosen[count]["role"] != "assistant" or rejected[count]["role"] != "assistant":
        raise RowError(
            f"two conversations must begin alike and part at an answer; chosen and rejected part at message "
            f"{count + 1}. Correct the row",
            column=column,
        )
    return chosen[:count]


def _agreed(prompt: list[Message], shared: list[Message], column: str) -> list[Message]:
    """The prompt of two whole conversations: what they share, which must hold a prompt of its own column."""
    asked = [message["content"] for message in shared]
    if prompt and prompt[-1]["content"] not in asked:
        raise RowError(
            "the conversations must hold the prompt of the row, and they do not; correct the row, or take "
            "columns.prompt out of the entry",
            column=column,
        )
    system = [message for message in prompt[:1] if message["role"] == "system" and message not in shared]
    return [*system, *shared]


def _label(row: Row, column: str) -> bool:
    """Whether an answer is wanted, from true and false, 1 and 0, or these as text."""
    value = row.get(column)
    if isinstance(value, bool):
        return value
    found = _LABELS.get(str(value).strip().lower()) if isinstance(value, (int, str)) else None
    if found is None:
        raise RowError(
            f"the label must be true or false (1 or 0), whether the answer is wanted; this is {in_words(value)}",
            column=column,
        )
    return found
