"""Tools and tool calls as rows write them, brought into the one shape that templates read."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from studio.data.columns import in_words
from studio.data.example import Message
from studio.errors import RowError

_CALL = '{"name": "…", "arguments": {…}}'
_TOOL = '{"name": "…", "description": "…", "parameters": {…}}'
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def read_tools(value: Any, column: str) -> str:
    """The tools of a row as the JSON text of a list, "" without any.

    Written as JSON text or as values; an object that is not wrapped in {"type": "function"} is
    wrapped. Raises RowError.
    """
    if value is None or value == "" or value == []:
        return ""
    try:
        return _tools_of_text(value) if isinstance(value, str) else _wrapped(value)
    except RowError as error:
        raise RowError(error.why, column=column) from None


@lru_cache(maxsize=256)
def _tools_of_text(text: str) -> str:
    # Most rows of a dataset name the same few tools.
    if not text.strip():
        return ""
    return _wrapped(_parsed(text, "tools"))


def _wrapped(value: Any) -> str:
    tools = []
    for number, tool in enumerate(value if isinstance(value, list) else [value], 1):
        inner = tool.get("function", tool) if isinstance(tool, dict) else tool
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
            raise RowError(f"tools must be a list of {_TOOL}; tool {number} is {_glimpse(tool)}. Correct the row")
        tools.append({"type": "function", "function": inner} if inner is tool else tool)
    return json.dumps(tools, ensure_ascii=False) if tools else ""


def read_calls(value: Any) -> tuple[list[Message], str]:
    """The calls of one turn, and the thinking between <think> tags in front of them.

    `value` is an object, a list of them, or JSON text of either; several JSON values may follow
    each other. Raises RowError.
    """
    thought = ""
    if isinstance(value, str):
        found = _THOUGHT.match(value)
        if found:
            thought, value = found[1].strip(), value[found.end() :]
        value = _several(value)
    calls = [read_call(call) for call in (value if isinstance(value, list) else [value])]
    if not calls:
        raise RowError(f"it must hold at least one call, {_CALL}; it holds none")
    return calls, thought


def read_call(call: Any) -> Message:
    """One call in the shape of messages: its arguments an object, its id kept. Raises RowError."""
    inner = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise RowError(f"a tool call must be {_CALL}; this one is {_glimpse(call)}")
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"the arguments of {inner['name']}") if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise RowError(f"the arguments of {inner['name']} must be an object, but they are {in_words(arguments)}")
    made = {"type": "function", "function": {"name": inner["name"], "arguments": arguments}}
    return {"id": call["id"], **made} if isinstance(call.get("id"), str) and call["id"] else made


def _several(text: str) -> list[Any]:
    """The JSON values that follow each other in a text; a list counts as its items."""
    decoder = json.JSONDecoder()
    values: list[Any] = []
    at = len(text) - len(text.lstrip())
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _not_json("a tool call", error) from None
        values += value if isinstance(value, list) else [value]
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,;"))
    return values


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _not_json(what, error) from None


def _not_json(what: str, error: Exception) -> RowError:
    where = f" at character {error.pos + 1}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
    return RowError(f"{what} must be JSON, and is not{where}; correct the row")


def _glimpse(value: Any) -> str:
    keys = ", ".join(str(key)[:40] for key in list(value)[:6]) if isinstance(value, dict) else ""
    return f"an object with {keys or 'no keys'}" if isinstance(value, dict) else in_words(value)
