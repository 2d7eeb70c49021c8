"""A page of a dataset as training sees it: raw row, conversation, tokens with their loss mask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from studio.data.catalog import DatasetEntry
from studio.data.example import Example
from studio.data.render import Rendered, View, render
from studio.data.source import page
from studio.data.tokenise import example_of
from studio.errors import RowError
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.workspace import Workspace

# Two shades a kind, taken in turn, so that the border between two tokens can be seen.
LEARNED, PROMPT = ("\033[30;42m", "\033[30;102m"), ("\033[37;100m", "\033[97;40m")
BOLD, RED, OFF = "\033[1m", "\033[31m", "\033[0m"

# What could move the cursor, change colours or turn the direction of the text: control characters,
# invisible and bidirectional marks, separators of lines, and halves of surrogate pairs.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class RowView:
    """One raw row and what becomes of it; `number` counts from 1.

    `refused` is the sentence why it cannot be used, or empty. `tokens` holds the UTF-8
    bytes of each token of each rendering: one token may be a part of a character.
    """

    number: int
    raw: dict[str, Any]
    example: Example
    refused: str
    renderings: tuple[Rendered, ...]
    tokens: tuple[tuple[bytes, ...], ...]


def preview(
    entry: DatasetEntry,
    tokenizer: LightTokenizer,
    template: Template | None,
    view: View,
    place: Workspace,
    start: int,
    count: int,
    progress: Callable[[float], None] | None = None,
) -> list[RowView]:
    """`count` raw rows from `start` (the first is 0), each with its renderings or the reason against it.

    Raises DatasetError when the file as a whole cannot be read.
    """
    (file,) = entry.files()
    rows = page(file, start, count, place.cache, sample_by=entry.sample_by, progress=progress)
    examples = {number: example_of(row, entry) for number, row in rows}
    fit = {number: example for number, example in examples.items() if isinstance(example, Example)}
    rendered = dict(zip(fit, render(list(fit.values()), tokenizer, template, view), strict=True))
    views = []
    for number, row in rows:
        raw = {} if isinstance(row, RowError) else row
        example = fit.get(number, Example())
        result = rendered.get(number, examples[number])
        if isinstance(result, RowError):
            views.append(RowView(number, raw, example, _reason(result), (), ()))
        elif isinstance(result, list):
            tokens = tuple(tuple(token_bytes(tokenizer, each.input_ids)) for each in result)
            views.append(RowView(number, raw, example, "", tuple(result), tokens))
    return views


def _reason(error: RowError) -> str:
    return f"column {error.column!r}: {error.why}" if error.column else error.why


def token_bytes(tokenizer: LightTokenizer, ids: Sequence[int]) -> list[bytes]:
    """The bytes of the text that each id stands for, spaces included."""
    byte_level = "ByteLevel" in repr(tokenizer.fast.decoder)
    added = {id: token.content for id, token in tokenizer.fast.get_added_tokens_decoder().items()}
    parts = []
    for id in ids:
        text = added.get(id) or tokenizer.fast.id_to_token(id) or ""
        byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", text)
        if id in added:
            parts.append(text.encode("utf-8", "surrogatepass"))
        elif byte_level:
            parts.append(b"".join(_alphabet().get(char, char.encode()) for char in text))
        elif byte:
            parts.append(bytes.fromhex(byte[1]))
        else:
            parts.append(text.replace("\u2581", " ").encode())
    return parts


@cache
def _alphabet() -> dict[str, bytes]:
    """Byte-level BPE writes each byte as a printable character; this is the way back.

    Printable Latin-1 stands for itself; the other bytes are the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    back = {chr(byte): bytes([byte]) for byte in printable}
    return back | {chr(0x100 + place): bytes([byte]) for place, byte in enumerate(others)}


def as_json(views: Sequence[RowView]) -> dict[str, Any]:
    """The page as plain JSON values: `rows` and `statistics`, a list of sentences.

    A token that is a part of a character stands as its bytes, \\xe4.
    """
    return {"rows": [_row_as_json(view) for view in views], "statistics": statistics(views)}


def _row_as_json(view: RowView) -> dict[str, Any]:
    return {
        "row": view.number,
        # Parquet has dates and bytes, which JSON has not.
        "raw": json.loads(json.dumps(view.raw, default=str)),
        "messages": [dict(message) for message in view.example.messages],
        "refused": view.refused,
        "renderings": [
            {
                "input_ids": each.input_ids,
                "loss_mask": each.loss_mask,
                "tokens": [token.decode("utf-8", "backslashreplace") for token in tokens],
                "text": each.text,
                "truncated": each.truncated,
            }
            for each, tokens in zip(view.renderings, view.tokens, strict=True)
        ],
    }


def statistics(views: Sequence[RowView]) -> list[str]:
    """What can be said of these rows together."""
    all_of = [each for view in views for each in view.renderings]
    tokens = sum(len(each.input_ids) for each in all_of)
    learned = sum(sum(each.loss_mask) for each in all_of)
    said = [
        f"rows shown: {len(views)}, refused: {sum(bool(view.refused) for view in views)}",
        f"{tokens:,} tokens, {learned:,} of them bear loss"
        + (f" ({learned / tokens:.0%}), longest row {max(len(each.input_ids) for each in all_of):,}" if tokens else ""),
    ]
    if split := sum(len(view.renderings) > 1 for view in views):
        said.append(f"{split} rows become several: the template shows an answer differently once it is history")
    if cut := sum(each.truncated for each in all_of):
        said.append(f"{cut} truncated at cutoff_len")
    if masked := sum(not any(each.loss_mask[1:]) for each in all_of):
        said.append(f"{masked} without any token that bears loss: they are left out of training")
    return said


def as_text(views: Sequence[RowView], *, colour: bool) -> str:
    """The page for a terminal. Tokens that bear loss have a green ground, or stand in ⟦ ⟧ without colour.

    Nothing from the data reaches the terminal as a control character.
    """
    lines: list[str] = []
    for view in views:
        lines.append(_paint(f"── row {view.number} ", BOLD, colour))
        lines += [f"{visible(str(name))}: {visible(_raw_text(value))}" for name, value in view.raw.items()]
        if view.refused:
            lines += [_paint(f"refused: {visible(view.refused)}", RED, colour), ""]
            continue
        for message in view.example.messages:
            lines.append(f"  {_paint(visible(str(message['role'])), BOLD, colour)}: {visible(str(message['content']))}")
        for number, (each, tokens) in enumerate(zip(view.renderings, view.tokens, strict=True), start=1):
            several = f"{number} of {len(view.renderings)}, " if len(view.renderings) > 1 else ""
            cut = ", truncated" if each.truncated else ""
            lines.append(f"  [{several}{len(each.input_ids):,} tokens, {sum(each.loss_mask):,} bear loss{cut}]")
            lines.append(_marked(tokens, each.loss_mask, colour))
        lines.append("")
    return "\n".join([*lines, *statistics(views)])


def _marked(tokens: Sequence[bytes], mask: Sequence[bool], colour: bool) -> str:
    """The tokens one after the other, those that bear loss marked."""
    out: list[str] = []
    learning = False
    for place, (text, learned) in enumerate(_characters(tokens, mask)):
        shown = visible(text).replace("\n", "↵\n")
        if colour:
            # A ground that is still on at a line's end would fill the rest of the line.
            shade = (LEARNED if learned else PROMPT)[place % 2]
            out.append("\n".join(f"{shade}{part}{OFF}" if part else "" for part in shown.split("\n")))
            continue
        if learned != learning:
            out.append("⟦" if learned else "⟧")
        out.append(shown)
        learning = learned
    return "".join(out) + ("⟧" if learning and not colour else "")


def _characters(tokens: Sequence[bytes], mask: Sequence[bool]) -> Iterator[tuple[str, bool]]:
    """Tokens as text; those that only together make a character, and learn alike, are joined."""
    held = b""
    for place, (token, learned) in enumerate(zip(tokens, mask, strict=True)):
        held += token
        goes_on = place + 1 < len(tokens) and mask[place + 1] == learned
        if goes_on and _unfinished(held):
            continue
        yield held.decode("utf-8", "backslashreplace"), learned
        held = b""


def _unfinished(text: bytes) -> bool:
    """Whether the bytes end within a character and are well formed up to there."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def visible(text: str) -> str:
    """The text with everything that a terminal would obey, or hide, written as an escape."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _raw_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"{code}{text}{OFF}" if colour else text
