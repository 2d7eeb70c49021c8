"""The tool calls in an answer, found again in the text that the model wrote.

Each family writes calls in a form of its own; the chat templates here write the same ones:

    <tool_call>{"name": …, "arguments": {…}}</tool_call>      Hermes, Qwen, ChatML; SmolLM2 with a list inside
    <tool_call><function=…><parameter=…>…                     Qwen3.5, Qwen3-Coder
    <tool_call>name<arg_key>…</arg_key><arg_value>…           GLM-4.5
    [TOOL_CALLS] [{"name": …, "arguments": {…}}]              Mistral; also [TOOL_CALLS]name[ARGS]{…}
    <｜tool▁calls▁begin｜>…<｜tool▁calls▁end｜>                  DeepSeek-V3
    <|action_start|><|plugin|>{…}<|action_end|>               InternLM2
    {"name": …, "parameters": {…}}                            Llama 3, the whole answer; also behind <|python_tag|>
    name, a line break, {…}                                   GLM-4, the whole answer

The text must be decoded with its special tokens: several of these marks are special, and without
them a call looks like any text. The token that ends the turn is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Call = dict[str, Any]
Found = tuple[list[Call], int]

NAME = r"[\w.-]+"
# GLM-4 puts it between its calls.
BETWEEN = "<|assistant|>"


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
_SPACE = re.compile(r"\s*")
_CLOSING = re.compile(r"\s*(?:</tool_call>|\Z)")
_BARE_NAME = re.compile(rf"({NAME})\n(?=\{{)")
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_NAMED = re.compile(rf"\s*({NAME})\s*(?=<arg_key>|</tool_call>)")
_ARGUMENT = re.compile(r"\s*<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_WITH_ARGS = re.compile(rf"\s*({NAME})(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{{)")
_FENCE = re.compile(r"\s*(?:```)?\s*<｜tool▁call▁end｜>")
_PLUGIN_END = re.compile(r"\s*<\|action_end\|>")
_FENCED_END = re.compile(r"\s*<｜tool▁calls▁end｜>")
_DEEPSEEK = re.compile(r"\s*<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?([^<\n]+)(?:\n```json\n|<｜tool▁sep｜>)")


def parse_tool_calls(text: str, tools: Sequence[Mapping[str, Any]] | None = None) -> tuple[str, list[Call]]:
    """The answer without its calls, and the calls as {"name": text, "arguments": object}.

    `tools` are those that were offered. They tell a call from other text where the form has no marks of
    its own, and the type of an argument where the form writes it without quotes; without them any name
    is one, and what reads as JSON is that. What does not read as a call stays text. Never raises.
    """
    known = _parameters(tools)
    found: list[Call] = []
    kept, at = [], 0
    while mark := _MARK.search(text, at):
        read = _READ[mark.group()](text, mark.end(), known)
        if read is None:
            kept.append(text[at : mark.end()])
            at = mark.end()
            continue
        kept.append(text[at : mark.start()].rstrip())
        found += read[0]
        at = read[1]
    kept.append(text[at:])
    if found:
        return "".join(kept).rstrip(), found
    bare = _bare_json(text, known) or _bare_named(text, known)
    return bare or (text, [])


def safe_length(text: str, tools: Sequence[Mapping[str, Any]] | None = None) -> int:
    """How many characters at the start of a growing answer are certainly no part of a call.

    While an answer is streamed, those may be shown already. Whatever follows, the text that
    `parse_tool_calls` leaves begins with them; the rest waits until the answer is complete.
    """
    if _may_be_bare(text, _parameters(tools)):
        return 0
    mark = _HOLD.search(text)
    end = mark.start() if mark else len(text) - _unfinished(text)
    # White space in front of a call goes with it.
    return len(text[:end].rstrip())


def _parameters(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]] | None:
    """The properties that each offered tool takes, by the tool's name; None when no tools are known."""
    if tools is None:
        return None
    known: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function", tool)
        schema = function.get("parameters")
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        known[str(function.get("name"))] = properties if isinstance(properties, Mapping) else {}
    return known


Known = dict[str, Mapping[str, Any]] | None


def _json(text: str, at: int) -> tuple[Any, int] | None:
    """The JSON value that begins at `at` behind white space, and where it ends; None when there is none."""
    start = _SPACE.match(text, at)
    try:
        return _DECODER.raw_decode(text, start.end() if start else at)
    except (ValueError, RecursionError):
        return None


def _call(value: Any) -> Call | None:
    """The call that a JSON object says, or None when it says none."""
    if not isinstance(value, dict):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        read = _json(arguments, 0)
        arguments = read[0] if read and not arguments[read[1] :].strip() else None
    name = value.get("name")
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}


def _calls(values: Any) -> list[Call] | None:
    """The calls of an object or of a list of objects; None when one of them is no call."""
    calls = [_call(value) for value in (values if isinstance(values, list) else [values])]
    return [call for call in calls if call] if calls and all(calls) else None


def _tagged(text: str, at: int, known: Known) -> Found | None:
    """What stands between <tool_call> and its end, which may be missing at the end of the text."""
    read = _json(text, at)
    if read is not None:
        calls = _calls(read[0])
    else:
        named = _function(text, at, known) or _keyed(text, at, known)
        if named is None:
            return None
        calls, read = named[0], (None, named[1])
    closing = _CLOSING.match(text, read[1])
    return (calls, closing.end()) if calls and closing else None


def _function(text: str, at: int, known: Known) -> Found | None:
    match = _FUNCTION.match(text, at)
    if match is None:
        return None
    name = match.group(1).strip()
    arguments = {key: _value(value, name, key, known) for key, value in _PARAMETER.findall(match.group(2))}
    return [{"name": name, "arguments": arguments}], match.end()


def _keyed(text: str, at: int, known: Known) -> Found | None:
    match = _NAMED.match(text, at)
    if match is None:
        return None
    name, arguments, end = match.group(1), {}, match.end()
    while pair := _ARGUMENT.match(text, end):
        key, value = pair.groups()
        arguments[key] = _value(value, name, key, known)
        end = pair.end()
    return [{"name": name, "arguments": arguments}], end


def _value(text: str, name: str, key: str, known: Known) -> Any:
    """An argument that was written without quotes: text where the tool says so, else what JSON reads in it."""
    schema = (known or {}).get(name, {}).get(key)
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    read = _json(text, 0)
    return read[0] if read and not text[read[1] :].strip() else text


def _listed(text: str, at: int, _known: Known) -> Found | None:
    """Behind [TOOL_CALLS]: a list of calls, or the name of one and its arguments."""
    named = _WITH_ARGS.match(text, at)
    read = _json(text, named.end() if named else at)
    if read is None:
        return None
    calls = _calls({"name": named.group(1), "arguments": read[0]} if named else read[0])
    return (calls, read[1]) if calls else None


def _fenced(text: str, at: int, _known: Known) -> Found | None:
    """Behind <｜tool▁calls▁begin｜>: one call after the other."""
    calls: list[Call] = []
    while match := _DEEPSEEK.match(text, at):
        read = _json(text, match.end())
        call = _call({"name": match.group(1).strip(), "arguments": read[0]}) if read else None
        end = _FENCE.match(text, read[1]) if read else None
        if call is None or end is None:
            return None
        calls.append(call)
        at = end.end()
    end = _FENCED_END.match(text, at)
    return (calls, end.end() if end else at) if calls else None


def _plugin(text: str, at: int, _known: Known) -> Found | None:
    """Between <|plugin|> and <|action_end|>."""
    read = _json(text, at)
    calls = _calls(read[0]) if read else None
    end = _PLUGIN_END.match(text, read[1]) if read else None
    return (calls, end.end()) if calls and end else None


def _tool(text: str, at: int, _known: Known) -> Found | None:
    """Behind <|python_tag|>: calls to the end of the text."""
    bare = _bare_json(text[at:], None)
    return (bare[1], len(text)) if bare else None


_READ: dict[str, Callable[[str, int, Known], Found | None]] = {
    "<tool_call>": _tagged,
    "[TOOL_CALLS]": _listed,
    "<｜tool▁calls▁begin｜>": _fenced,
    "<|action_start|><|plugin|>": _plugin,
    "<|python_tag|>": _tool,
}
_MARK = re.compile("|".join(map(re.escape, _READ)))
_HELD = (*_READ, BETWEEN)
_HOLD = re.compile("|".join(map(re.escape, _HELD)))


def _unfinished(text: str) -> int:
    """How many characters at the end may be the beginning of a mark."""
    longest = max(map(len, _HELD))
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(mark.startswith(text[-size:]) for mark in _HELD)), 0)


def _bare_json(text: str, known: Known) -> tuple[str, list[Call]] | None:
    """Calls that are the whole answer: JSON objects, one behind the other."""
    calls: list[Call] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        read = _json(text, at)
        call = _call(read[0]) if read else None
        if read is None or call is None or not isinstance(read[0].get("parameters", read[0].get("arguments")), dict):
            return None
        calls.append(call)
        at = read[1]
        if at < end and text[at] == ";":
            at += 1
    return ("", calls) if calls and _offered(calls, known) else None


def _bare_named(text: str, known: Known) -> tuple[str, list[Call]] | None:
    """Calls as GLM-4 writes them: a name, its arguments on the next line, BETWEEN two of them."""
    head, *parts = text.removesuffix("<|observation|>").split(BETWEEN)
    answer = ""
    if not _BARE_NAME.match(head):
        # The answer in words stands in front, on lines of its own.
        answer = head
    else:
        parts = [head, *parts]
    calls = []
    for part in parts:
        name = _BARE_NAME.match(part)
        read = _json(part, name.end()) if name else None
        call = _call({"name": name.group(1), "arguments": read[0]}) if name and read else None
        if read is None or call is None or part[read[1] :].strip():
            return None
        calls.append(call)
    return (answer.rstrip(), calls) if calls and _offered(calls, known) else None


def _offered(calls: list[Call], known: Known) -> bool:
    return known is None or all(call["name"] in known for call in calls)


def _may_be_bare(text: str, known: Known) -> bool:
    """Whether the answer so far may become a call that has no marks of its own."""
    start = text.lstrip()
    if start.startswith("{"):
        return True
    name, line_break, rest = text.partition("\n")
    if line_break:
        return bool(re.fullmatch(NAME, name)) and (known is None or name in known) and rest[:1] in ("", "{")
    return not name or (bool(re.fullmatch(NAME, name)) and (known is None or any(n.startswith(name) for n in known)))
