"""From a raw row to an `Example`. A format is one function here.

    alpaca    instruction, input, output; a system prompt and earlier turns where the row has them
    sharegpt  a list of turns, each with a role and a content
    text      one column of running text

A function returns an `Example` or raises `RowError`; the caller knows file and row number.
"""

from __future__ import annotations

from typing import Any

from studio.data.entry import DatasetEntry
from studio.data.example import Example, Message, reads
from studio.errors import RowError
from studio.registry import did_you_mean

@reads("text", prompt="text")
def text(row: dict[str, Any], entry: DatasetEntry) -> Example:
    """A row of running text."""
    column = entry.columns["prompt"]
    content = _text(row, column)
    if not content.strip():
        raise RowError("the text is empty; fill it or take the row out", column=column)
    return Example(text=content)


@reads("alpaca", prompt="instruction", query="input", response="output", system="system", history="history")
def alpaca(row: dict[str, Any], entry: DatasetEntry) -> Example:
    """An instruction with an optional input, and its answer; a row of text when only `prompt` is mapped."""
    columns = entry.columns
    if len(columns) == 1 and "prompt" in columns:
        return text(row, entry)
    prompt = _text(row, columns["prompt"]) if "prompt" in columns else ""
    query = _optional(row, "query", entry)
    question = f"{prompt}\n{query}" if prompt and query else prompt or query
    if not question.strip():
        asked = columns.get("prompt") or columns.get("query", "prompt")
        raise RowError("the question is empty; fill it or take the row out", column=asked)
    if "response" not in columns:
        raise RowError("the entry maps no column to response; add columns.response to dataset_info.json")
    answer = _text(row, columns["response"])
    if not answer or answer.isspace():
        raise RowError("the answer is empty; fill it or take the row out", column=columns["response"])
    last = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    system = _optional(row, "system", entry)
    earlier = _history(row, entry) if "history" in columns else ()
    if system:
        return Example(({"role": "system", "content": system}, *earlier, *last))
    return Example((*earlier, *last) if earlier else last)


def _history(row: dict[str, Any], entry: DatasetEntry) -> tuple[Message, ...]:
    """Earlier turns, written as a list of [question, answer] pairs."""
    column = entry.columns["history"]
    pairs = row.get(column)
    if pairs is None:
        if entry.listed and column not in row:
            raise _absent(row, column)
        return ()
    shape = 'history must be a list of [question, answer] pairs, such as [["Hi", "Hello"]]'
    if not isinstance(pairs, list):
        raise RowError(f"{shape}; this is {_kind(pairs)}", column=column)
    messages: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise RowError(f"{shape}; item {number} is {_kind(pair)}", column=column)
        if not pair[0].strip() or not pair[1].strip():
            raise RowError(f"item {number} of the history holds an empty text; fill it", column=column)
        messages += ({"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]})
    return tuple(messages)


@reads("sharegpt", messages="conversations", system="system")
def sharegpt(row: dict[str, Any], entry: DatasetEntry) -> Example:
    """A list of turns, the words for roles and keys being the entry's tags."""
    columns, tags = entry.columns, entry.tags
    turns, column = _turns(row, entry)
    role_tag, content_tag, system_tag = tags["role_tag"], tags["content_tag"], tags["system_tag"]
    system = _optional(row, "system", entry)
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    roles = ((tags["user_tag"], "user"), (tags["assistant_tag"], "assistant"))
    place = 0
    for number, turn in enumerate(turns, 1):
        try:
            role, content = turn[role_tag], turn[content_tag]
        except (TypeError, KeyError):
            raise _no_turn(turn, number, column, tags) from None
        if type(content) is not str:
            raise RowError(f"turn {number} must be text, but it is {_kind(content)}; correct it", column=column)
        if role == system_tag and number == 1:
            if system:
                why = f"a system prompt stands here and in the column {columns['system']!r}; keep one"
                raise RowError(why, column=column)
            if content:
                messages.append({"role": "system", "content": content})
            continue
        word, name = roles[place & 1]
        if role != word:
            raise _out_of_order(role, word, number, column, tags)
        if not content or content.isspace():
            raise RowError(f"turn {number} ({role}) is empty; fill it or take the row out", column=column)
        messages.append({"role": name, "content": content})
        place += 1
    if place == 0 or place & 1:
        last = f"it ends with {tags['user_tag']!r}" if place else "it has no turn beside the system prompt"
        raise RowError(
            f"a conversation must end with an answer ({tags['assistant_tag']!r}), but {last}; "
            "add the answer or take the turn out",
            column=column,
        )
    return Example(tuple(messages))


def _turns(row: dict[str, Any], entry: DatasetEntry) -> tuple[list[Any], str]:
    """The turns of a row, at least one, and the column they stand in."""
    if "messages" not in entry.columns:
        raise RowError("the entry maps no column to messages; add columns.messages to dataset_info.json")
    column = entry.columns["messages"]
    turns = row.get(column)
    if isinstance(turns, list) and turns:
        return turns, column
    if column not in row:
        raise _absent(row, column)
    raise RowError(f"it must be a list of turns; this is {_kind(turns)}", column=column)


def _no_turn(turn: Any, number: int, column: str, tags: Any) -> RowError:
    shape = f'{{"{tags["role_tag"]}": "{tags["user_tag"]}", "{tags["content_tag"]}": "…"}}'
    found = f"an object with {_names(turn)}" if isinstance(turn, dict) else _kind(turn)
    return RowError(
        f"turn {number} must be {shape}, but it is {found}; correct it, or set role_tag and content_tag",
        column=column,
    )


def _out_of_order(role: Any, expected: str, number: int, column: str, tags: Any) -> RowError:
    """The complaint about a role: out of turn, not supported, or not known."""
    known = [tags["user_tag"], tags["assistant_tag"], tags["system_tag"]]
    if role in (tags["function_tag"], tags["observation_tag"]):
        why = f"turn {number} has the role {role!r}; tool calls are not supported, take the row out"
    elif role not in known:
        near = did_you_mean(role, known) if isinstance(role, str) else ""
        why = f"turn {number} has the unknown role {role!r}; the entry's tags know {', '.join(known)}.{near}"
    else:
        why = (
            f"turn {number} must be {expected!r} but is {role!r}: after an optional {tags['system_tag']!r}, "
            f"{tags['user_tag']!r} and {tags['assistant_tag']!r} take turns; reorder it"
        )
    return RowError(why.rstrip("."), column=column)


def _text(row: dict[str, Any], column: str) -> str:
    """The text of a column that must be there."""
    value = row.get(column)
    if type(value) is str:
        return value
    if column not in row:
        raise _absent(row, column)
    raise RowError(f"it must be text, but it is {_kind(value)}; write it in quotation marks", column=column)


def _optional(row: dict[str, Any], meaning: str, entry: DatasetEntry) -> str:
    """The text of a column that may be null, and may be absent where the entry does not list it."""
    column = entry.columns.get(meaning)
    if column is None:
        return ""
    value = row.get(column)
    if type(value) is str:
        return value
    if value is None and (column in row or not entry.listed):
        return ""
    return _text(row, column)


def _absent(row: dict[str, Any], column: str) -> RowError:
    near = did_you_mean(column, row) or " Correct columns in dataset_info.json, or the row"
    return RowError(f"the row has no such column; it has {_names(row)}.{near}", column=column)


def _names(row: dict[str, Any]) -> str:
    names = [str(name)[:40] for name in row]
    return ", ".join(names[:12]) + (" and more" if len(names) > 12 else "") if names else "no columns"


def _kind(value: Any) -> str:
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
