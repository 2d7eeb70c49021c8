"""JSON as data files and registries hold it: one strict decoder, and the likely cause of an error.

Plain `json` accepts NaN, infinite numbers and repeated keys; each of these would change or lose
data further on without a word, so the decoder here refuses them.
"""

from __future__ import annotations

import json
import math
import re
from json.scanner import make_scanner
from typing import Any, cast

MAX_DEPTH = 100
MAX_COLUMNS = 1000

_SPACE = re.compile(r"[ \t\r\n]*")


class BadValue(ValueError):
    """JSON that parses but holds a value no dataset may hold. Its text ends a sentence."""


def _constant(word: str) -> float:
    raise BadValue(f"it holds {word}, which is no JSON number; write null or a finite number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadValue(f"the number {_short(digits)} is too large; write a finite number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadValue(f"the key {_short(key)!r} stands twice in one object; keep one of them")
            seen.add(key)
    return members


# The scanner takes a decoder; its type stub says otherwise.
scan = make_scanner(
    cast(Any, json.JSONDecoder(parse_constant=_constant, parse_float=_finite, object_pairs_hook=_unique))
)
"""`scan(text, start)` gives (value, end). It raises StopIteration where no value starts,
JSONDecodeError for broken JSON, another ValueError for a value that is refused, RecursionError."""

scan_any = make_scanner(cast(Any, json.JSONDecoder(parse_int=str)))
"""The same without refusing a value: finds where one ends that `scan` refuses."""


def parse(text: str) -> Any:
    """The one value a text holds. Raises JSONDecodeError, BadValue (a ValueError), RecursionError."""
    start = skip_space(text, 0)
    try:
        value, end = scan(text, start)
    except StopIteration as stop:
        raise json.JSONDecodeError("Expecting value", text, stop.value) from None
    end = skip_space(text, end)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def refused_value(error: ValueError) -> str:
    """Why the decoder refused a value, as the rest of a sentence."""
    if isinstance(error, BadValue):
        return str(error)
    return "it holds a whole number of more than 4,300 digits; write it as text"


def skip_space(text: str, start: int) -> int:
    """The first position from `start` on that holds no JSON white space."""
    match = _SPACE.match(text, start)
    return match.end() if match else start


def cut_short(error: json.JSONDecodeError) -> bool:
    """Whether the error can come from the text ending too early."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip())


def place(text: str, position: int) -> tuple[int, int]:
    """Line and column, both from 1, of a position in a text."""
    line = text.count("\n", 0, position) + 1
    return line, position - text.rfind("\n", 0, position)


def likely_cause(error: json.JSONDecodeError) -> tuple[str, int]:
    """What a person most likely wrote, with the remedy, and the position it stands at."""
    text, at = error.doc, error.pos
    here = text[at : at + 1]
    before = len(text[:at].rstrip())
    if before and text[before - 1] == "," and here in ("}", "]"):
        return f"a comma stands before the closing {here!r}; take the comma away", before - 1
    if here == "," and text[at + 1 :].lstrip()[:1] in ("}", "]"):
        return "a comma stands before a closing bracket; take the comma away", at
    if error.msg.startswith("Unterminated string"):
        return "a text opened here with a quotation mark is never closed; close it", at
    if at >= len(text.rstrip()):
        return "it ends too early: a bracket or quotation mark is not closed; close it", at
    return _cause_of(error.msg, text, at), at


def _cause_of(message: str, text: str, at: int) -> str:
    here, rest = text[at], text[at : at + 20]
    if here == "\0":
        return "a zero byte (NUL) stands here, which no text holds; take it away, or fetch or write the file again"
    if here == "#" or rest.startswith(("//", "/*")):
        return "a comment stands here and JSON has none; take it away"
    if here in "'‘’“”`":
        return f"a quotation mark {here} stands here; JSON texts need the straight double one"
    if rest.startswith(("True", "False", "None")):
        return "JSON writes true, false and null in small letters; write it so"
    if message.startswith("Extra data"):
        if here == ",":
            return "a comma follows the closing bracket; take it away"
        return "more text follows where the value is complete; write one object per line"
    if message.startswith("Expecting ',' delimiter"):
        return f"a comma is missing before {_short(rest)!r}, or a quotation mark inside a text lacks its \\"
    if message.startswith("Expecting ':' delimiter"):
        return "a colon is missing after the key; write one"
    if message.startswith("Expecting property name"):
        return f"a key in double quotation marks must stand here, not {_short(rest)!r}; write one"
    if message.startswith("Invalid \\"):
        return "a single \\ stands inside a text; write \\\\, or / in a path"
    if message.startswith("Invalid control character"):
        return "a line break or control character stands inside a text; write \\n, or close the text"
    return f"a value must stand here, not {_short(rest)!r}; write one"


def trouble(value: Any) -> str:
    """Why a parsed value cannot be a row: '' when it can."""
    if value.__class__ is not dict:
        kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
        found = kind.get(type(value), "a number")
        return f'a row must be an object such as {{"instruction": "…", "output": "…"}}; this is {found}'
    if len(value) > MAX_COLUMNS:
        first = ", ".join(_short(key) for key in list(value)[:5])
        return f"the row has {len(value):,} columns ({first}, …); at most {MAX_COLUMNS:,} are read"
    for child in value.values():
        if child.__class__ is not str and _deeper(child, MAX_DEPTH - 1):
            return TOO_DEEP
    return ""


TOO_DEEP = f"it is nested deeper than {MAX_DEPTH} brackets; flatten it"


def _deeper(value: Any, room: int) -> bool:
    if value.__class__ is dict:
        value = value.values()
    elif value.__class__ is not list:
        return False
    return room <= 0 or any(_deeper(child, room - 1) for child in value if child.__class__ is not str)


def not_unicode(value: Any) -> str:
    """Why the texts inside a value are not valid Unicode: '' when they are."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text and _holds(value, "\0"):
        return "it holds a NUL character (\\u0000); take it away"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"\\u{ord(text[error.start]):04x}"
        return f"it holds half a character ({found}, a lone surrogate); write the whole character, or take it away"
    return ""


def _holds(value: Any, mark: str) -> bool:
    if isinstance(value, str):
        return mark in value
    if isinstance(value, dict):
        return any(_holds(part, mark) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(_holds(part, mark) for part in value)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:39] + "…"
