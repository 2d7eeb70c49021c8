"""Formats in which single projects published their conversations.

moss      rounds of Human and MOSS, with thoughts, commands and results between them
firefly   input and target, or a list of human and assistant
xtuner    a list of system, input and output
atom      one text, <s>Human: …</s><s>Assistant: …</s>
"""

from __future__ import annotations

import re
from typing import Any

from studio.data.columns import column_of, in_words, listed, names_of, optional_text, text_in
from studio.data.entry import DatasetEntry
from studio.data.example import Example, Message, Row, reads
from studio.data.ranked import finished
from studio.errors import RowError

_OPTIONAL = ("tools", "kto_tag")
# A part of a round stands between a name in bars and an end mark: <|Human|>: … <eoh>.
_PART = re.compile(r"\s*(?:<\|[A-Za-z ]+\|>:)?(.*?)(?:<eo[a-z]>)?\s*", re.DOTALL)
_COMMAND = re.compile(r"""\s*([A-Za-z]\w*)\((?:"(.*?)"|'(.*?)'|(.*?))\)\s*(?:,|$)""", re.DOTALL)
# The one parameter of each plugin, as the meta instruction names it.
_PARAMETERS = {"Search": "query", "Calculate": "expression", "Solve": "equation", "Text2Image": "description"}
_ATOM = re.compile(r"\s*<s>\s?(Human|Assistant|System):(.*?)</s>", re.DOTALL)
_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}


@reads("moss", messages="chat", system="meta_instruction", optional=_OPTIONAL)
def moss(row: Row, entry: DatasetEntry) -> Example:
    """Rounds under turn_1, turn_2 …, or a list of them; "None" stands for a part that is left out.

    Inner thoughts become the thinking of the answer, commands its tool calls, results those of the
    tools.
    """
    column = column_of(row, "messages", entry, ("conversation", "conversations"))
    rounds = row[column]
    if isinstance(rounds, dict):
        # The order of the keys is not that of the rounds in every file.
        rounds = [rounds[name] for name in sorted(rounds, key=lambda name: int(re.sub(r"\D", "", name) or 0))]
    rounds = _rounds(rounds, column, ("Human", "MOSS"))
    system = optional_text(row, "system", entry).strip()
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for number, turn in enumerate(rounds, 1):
        messages += _moss_round(turn, number, column)
    return finished(messages, row, entry)


def _moss_round(turn: dict[str, Any], number: int, column: str) -> list[Message]:
    human, thoughts, commands, results, answer = (
        _part(turn, name, number, column) for name in ("Human", "Inner Thoughts", "Commands", "Tool Responses", "MOSS")
    )
    for name, text in (("Human", human), ("MOSS", answer)):
        if not text:
            raise RowError(f"round {number}: {name} is empty; fill it or take the row out", column=column)
    thinking = {"reasoning_content": thoughts} if thoughts else {}
    asked: Message = {"role": "user", "content": human}
    if not commands:
        if results:
            raise RowError(f"round {number} has Tool Responses without Commands; correct it", column=column)
        return [asked, {"role": "assistant", "content": answer, **thinking}]
    calls = _commands(commands, number, column)
    return [
        asked,
        {"role": "assistant", "content": "", **thinking, "tool_calls": calls},
        {"role": "tool", "content": results},
        {"role": "assistant", "content": answer},
    ]


def _part(turn: dict[str, Any], name: str, number: int, column: str) -> str:
    """One part of a round without its marks, "" when it says None."""
    value = turn.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"round {number}: {name} must be text, but it is {in_words(value)}; correct it", column=column)
    found = _PART.fullmatch(value)
    text = (found[1] if found else value).strip()
    return "" if text == "None" and name not in ("Human", "MOSS") else text


def _commands(text: str, number: int, column: str) -> list[Message]:
    """Search("…"), Calculate("…") as tool calls."""
    calls: list[Message] = []
    at = 0
    while at < len(text):
        found = _COMMAND.match(text, at)
        if not found:
            raise RowError(
                f'round {number}: commands must be written as Search("…"), Calculate("…"); this is '
                f"{in_words(text[at:])}. Correct the row",
                column=column,
            )
        argument = next((part for part in found.groups()[1:] if part is not None), "")
        parameter = _PARAMETERS.get(found[1], "input")
        calls.append({"type": "function", "function": {"name": found[1], "arguments": {parameter: argument}}})
        at = found.end()
    return calls


@reads("firefly", prompt="input", response="target", messages="conversation", system="system", optional=_OPTIONAL)
def firefly(row: Row, entry: DatasetEntry) -> Example:
    """A list of human and assistant, or one input with its target."""
    columns = entry.columns
    system = optional_text(row, "system", entry)
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    if columns.get("messages") in row or ("messages" in columns and entry.listed):
        column = column_of(row, "messages", entry)
        for number, turn in enumerate(_rounds(row[column], column, ("human", "assistant")), 1):
            messages += _exchange(turn["human"], turn["assistant"], f"round {number}", column)
    else:
        asked, answer = (column_of(row, meaning, entry) for meaning in ("prompt", "response"))
        messages += _exchange(text_in(row, asked), text_in(row, answer), "the row", answer)
    return finished(messages, row, entry)


@reads("xtuner", messages="conversation", optional=("system", *_OPTIONAL))
def xtuner(row: Row, entry: DatasetEntry) -> Example:
    """Rounds of input and output, the system prompt in the first of them.

    A single round with an empty input is how a text to learn whole is written; it becomes one.
    """
    column = column_of(row, "messages", entry, ("conversations",))
    rounds = _rounds(row[column], column, ("input", "output"))
    system = optional_text(row, "system", entry) or rounds[0].get("system") or ""
    if not isinstance(system, str):
        raise RowError(f"round 1: system must be text, but it is {in_words(system)}; correct it", column=column)
    if len(rounds) == 1 and not system and rounds[0]["input"] == "" and isinstance(rounds[0]["output"], str):
        return Example(text=rounds[0]["output"])
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for number, turn in enumerate(rounds, 1):
        if turn.get("system") not in (None, "", system):
            why = f"round {number} has a system prompt of its own; a conversation has one, in front. Split the row"
            raise RowError(why, column=column)
        messages += _exchange(turn["input"], turn["output"], f"round {number}", column)
    return finished(messages, row, entry)


@reads("atom", prompt="text")
def atom(row: Row, entry: DatasetEntry) -> Example:
    """A conversation written out with its begin and end marks; as a document it stays as it is written.

    The text of a turn ends at the line break in front of its end mark, or at the mark.
    """
    column = column_of(row, "prompt", entry, ("data", "content"))
    text = text_in(row, column).strip()
    messages: list[Message] = []
    at = 0
    while at < len(text):
        found = _ATOM.match(text, at)
        if not found:
            raise RowError(
                "it must be <s>Human: …</s><s>Assistant: …</s> to its end; at character "
                f"{at + 1} stands {in_words(text[at : at + 40])}. Correct it, or read it with formatting text",
                column=column,
            )
        content = found[2].removeprefix(" ").removesuffix("\n")
        role = _ROLES[found[1]]
        if not content.strip():
            raise RowError(f"turn {len(messages) + 1} ({found[1]}) is empty; fill it", column=column)
        messages.append({"role": role, "content": content})
        at = found.end()
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2) or "system" in [m["role"] for m in messages[1:]]:
        why = "Human and Assistant must take turns and end with Assistant; correct it, or read it with formatting text"
        raise RowError(why, column=column)
    return Example(tuple(messages), text=text)


def _rounds(value: Any, column: str, keys: tuple[str, str]) -> list[dict[str, Any]]:
    """A list of objects, at least one, each with both keys."""
    shape = f'[{{"{keys[0]}": "…", "{keys[1]}": "…"}}]'
    value = listed(value)
    if not isinstance(value, list) or not value:
        raise RowError(f"it must be a list of rounds, {shape}; this is {in_words(value)}", column=column)
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict) or not set(keys) <= turn.keys():
            found = f"an object with {names_of(turn)}" if isinstance(turn, dict) else in_words(turn)
            raise RowError(f"it must be {shape}, but round {number} is {found}; correct it", column=column)
    return value


def _exchange(asked: Any, answer: Any, where: str, column: str) -> list[Message]:
    """A question and its answer, both with text in them."""
    for name, value in (("the question", asked), ("the answer", answer)):
        if not isinstance(value, str):
            raise RowError(f"{where}: {name} must be text, but it is {in_words(value)}; correct it", column=column)
        if not value or value.isspace():
            raise RowError(f"{where}: {name} is empty; fill it or take the row out", column=column)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
