"""From a raw row to an `Example`: texts, instructions and pairs. A format is one function.

    text    one column of running text
    alpaca  instruction, input, output; a system prompt and earlier turns where the row has them
    pairs   a prompt with a chosen and a rejected answer

A function returns an `Example` or raises `RowError`; the caller knows file and row number.
"""

from __future__ import annotations

from studio.data.columns import absent, column_of, in_words, optional_text, text_in
from studio.data.conversations import from_messages
from studio.data.entry import DatasetEntry
from studio.data.example import Example, Message, Row, reads
from studio.data.ranked import finished, tags_of
from studio.errors import RowError


@reads("text", prompt="text")
def text(row: Row, entry: DatasetEntry) -> Example:
    """A row of running text; without columns in the entry, what stands under text, data or content."""
    column = column_of(row, "prompt", entry, ("data", "content"))
    content = text_in(row, column)
    if not content.strip():
        raise RowError("the text is empty; fill it or take the row out", column=column)
    return Example(text=content)


@reads(
    "alpaca", prompt="instruction", query="input", response="output", system="system", history="history",
    optional=("tools", "chosen", "rejected", "kto_tag"),
)  # fmt: skip
def alpaca(row: Row, entry: DatasetEntry) -> Example:
    """An instruction with an optional input, and its answer; a row of text when only `prompt` is mapped.

    With ranking it has two answers: then it is read as pairs are.
    """
    columns = entry.columns
    if entry.ranking:
        return pairs(row, entry)
    if len(columns) == 1 and "prompt" in columns:
        return text(row, entry)
    asked = {"role": "user", "content": _question(row, entry)}
    system = optional_text(row, "system", entry)
    messages = [{"role": "system", "content": system}] if system else []
    if "history" in columns:
        messages += _history(row, entry)
    messages.append(asked)
    if "response" not in columns:
        raise RowError("the entry maps no column to response; add columns.response to dataset_info.json")
    answer = text_in(row, columns["response"])
    if not answer or answer.isspace():
        raise RowError("the answer is empty; fill it or take the row out", column=columns["response"])
    messages.append({"role": "assistant", "content": answer})
    return finished(messages, row, entry)


def _question(row: Row, entry: DatasetEntry) -> str:
    """Prompt and query, joined by a newline."""
    columns = entry.columns
    prompt = text_in(row, columns["prompt"]) if "prompt" in columns else ""
    query = optional_text(row, "query", entry)
    question = f"{prompt}\n{query}" if prompt and query else prompt or query
    if not question.strip():
        asked = columns.get("prompt") or columns.get("query", "prompt")
        raise RowError("the question is empty; fill it or take the row out", column=asked)
    return question


def _history(row: Row, entry: DatasetEntry) -> list[Message]:
    """Earlier turns, written as a list of [question, answer] pairs."""
    column = entry.columns["history"]
    pairs = row.get(column)
    if pairs is None:
        if entry.listed and column not in row:
            raise absent(row, column)
        return []
    shape = 'history must be a list of [question, answer] pairs, such as [["Hi", "Hello"]]'
    if not isinstance(pairs, list):
        raise RowError(f"{shape}; this is {in_words(pairs)}", column=column)
    messages: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise RowError(f"{shape}; item {number} is {in_words(pair)}", column=column)
        if not pair[0].strip() or not pair[1].strip():
            raise RowError(f"item {number} of the history holds an empty text; fill it", column=column)
        messages += ({"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]})
    return messages


@reads(
    "pairs", prompt="prompt", chosen="chosen", rejected="rejected", system="system", tools="tools",
    optional=("query", "history"),
)  # fmt: skip
def pairs(row: Row, entry: DatasetEntry) -> Example:
    """A prompt with a chosen and a rejected answer; `selected` is another word for chosen.

    The prompt is text or a list of messages. Without one, chosen and rejected are two whole
    conversations that begin alike.
    """
    column = entry.columns.get("prompt", "")
    system = optional_text(row, "system", entry)
    messages = [{"role": "system", "content": system}] if system else []
    if "history" in entry.columns:
        messages += _history(row, entry)
    asked = row.get(column)
    if isinstance(asked, list) and asked:
        messages += from_messages(asked, column, tags_of(asked, entry.tags), answered=False)
    elif column in row or (column and entry.listed):
        messages.append({"role": "user", "content": _question(row, entry)})
    return finished(messages, row, entry, pair=True)
