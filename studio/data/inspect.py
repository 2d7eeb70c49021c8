"""A page of a dataset as training sees it: raw row, conversation, tokens with their loss mask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from studio.data.catalog import DatasetEntry
from studio.data.example import Example, Message, sides
from studio.data.reading import dataset_page
from studio.data.render import Rendered, View, render
from studio.data.report import forgotten
from studio.data.tokenise import example_of
from studio.errors import RowError, counted
from studio.model.coverage import byte_alphabet
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
    bytes of each token of each rendering: one token may be a part of a character. `source` is the
    row's file and place in it, where a dataset has several files. `sides` names the side of a pair
    that each rendering shows, "chosen" or "rejected", and is "" for rows without sides.
    """

    number: int
    raw: dict[str, Any]
    example: Example
    refused: str
    renderings: tuple[Rendered, ...]
    tokens: tuple[tuple[bytes, ...], ...]
    source: str = ""
    sides: tuple[str, ...] = ()


def preview(
    entry: DatasetEntry,
    tokenizer: LightTokenizer | None,
    template: Template | None,
    view: View,
    place: Workspace,
    start: int,
    count: int,
    progress: Callable[[float], None] | None = None,
) -> list[RowView]:
    """`count` raw rows from `start` (the first is 0), each with its renderings or the reason against it.

    Without a tokenizer nothing is rendered: rows and conversations are shown alone.
    Raises DatasetError when the file as a whole cannot be read.
    """
    rows = dataset_page(entry, start, count, place.cache, progress)
    examples = {row.number: example_of(row.value, entry) for row in rows}
    parts = {number: sides(each) for number, each in examples.items() if isinstance(each, Example)}
    if tokenizer is None:
        parts = {number: [] for number in parts}
    else:
        done = iter(render([part for both in parts.values() for _, part in both], tokenizer, template, view))
    rendered = {number: [(side, next(done)) for side, _ in both] for number, both in parts.items()}
    several = len({row.file for row in rows}) > 1
    views = []
    for number, file, place_in_file, row in rows:
        source = f"{place.shown(file)}, row {place_in_file}" if several else ""
        raw = {} if isinstance(row, RowError) else row
        example = examples[number]
        if isinstance(example, RowError):
            views.append(RowView(number, raw, Example(), _reason(example), (), (), source))
        else:
            views.append(_view(number, raw, example, rendered[number], source, tokenizer))
    return views


def _view(
    number: int,
    raw: dict[str, Any],
    example: Example,
    rendered: Sequence[tuple[str, list[Rendered] | RowError]],
    source: str,
    tokenizer: LightTokenizer | None,
) -> RowView:
    """A row with the renderings of its sides, or the first reason against one of them."""
    shown: list[tuple[str, Rendered]] = []
    for side, result in rendered:
        if isinstance(result, RowError):
            why = f"the {side} side: {_reason(result)}" if side else _reason(result)
            return RowView(number, raw, example, why, (), (), source)
        shown += [(side, each) for each in result]
    tokens = tuple(tuple(token_bytes(tokenizer, each.input_ids)) for _, each in shown if tokenizer)
    renderings, names = tuple(each for _, each in shown), tuple(side for side, _ in shown)
    return RowView(number, raw, example, "", renderings, tokens, source, names)


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
            parts.append(b"".join(byte_alphabet().get(char, char.encode()) for char in text))
        elif byte:
            parts.append(bytes.fromhex(byte[1]))
        else:
            parts.append(text.replace("\u2581", " ").encode())
    return parts


def as_json(views: Sequence[RowView], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The page as plain JSON values: `rows`, and `statistics` and `notes`, lists of sentences.

    A token that is a part of a character stands as its bytes, \\xe4.
    """
    return {"rows": [_row_as_json(view) for view in views], "statistics": statistics(views), "notes": list(notes)}


def _row_as_json(view: RowView) -> dict[str, Any]:
    return {
        "row": view.number,
        "source": view.source,
        # Parquet has dates and bytes, which JSON has not.
        "raw": json.loads(json.dumps(view.raw, default=str)),
        "messages": [dict(message) for message in view.example.messages],
        "chosen": [dict(message) for message in view.example.chosen],
        "rejected": [dict(message) for message in view.example.rejected],
        "label": view.example.label,
        "tools": json.loads(view.example.tools or "[]"),
        "refused": view.refused,
        "renderings": [
            {
                "side": side,
                "input_ids": each.input_ids,
                "loss_mask": each.loss_mask,
                "tokens": [token.decode("utf-8", "backslashreplace") for token in tokens],
                "text": each.text,
                "truncated": each.truncated,
            }
            for side, each, tokens in zip(view.sides, view.renderings, view.tokens, strict=True)
        ],
    }


def statistics(views: Sequence[RowView]) -> list[str]:
    """What can be said of these rows together."""
    all_of = [each for view in views for each in view.renderings]
    tokens = sum(len(each.input_ids) for each in all_of)
    learned = sum(sum(each.loss_mask) for each in all_of)
    said = [
        f"rows shown: {len(views)}, refused: {sum(bool(view.refused) for view in views)}",
        f"{counted(tokens, 'token')}, {learned:,} of them bear loss"
        + (f" ({learned / tokens:.0%}), longest row {max(len(each.input_ids) for each in all_of):,}" if tokens else ""),
    ]
    if split := sum(len(view.renderings) > len(set(view.sides)) for view in views):
        become = "becomes" if split == 1 else "become"
        said.append(
            f"{counted(split, 'row')} {become} several: the template shows an answer differently once it is history"
        )
    if forgetful := sum(any(each.forgets for each in view.renderings) for view in views):
        said.append(forgotten(forgetful))
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
        lines.append(
            _paint(f"── row {view.number} " + (f"({visible(view.source)}) " if view.source else ""), BOLD, colour)
        )
        lines += [f"{visible(str(name))}: {visible(_raw_text(value))}" for name, value in view.raw.items()]
        if view.refused:
            lines += [_paint(f"refused: {visible(view.refused)}", RED, colour), ""]
            continue
        lines += [_message(message, colour) for message in view.example.messages]
        for name, answers in (("chosen", view.example.chosen), ("rejected", view.example.rejected)):
            lines += [f"  {name}, {_message(message, colour).lstrip()}" for message in answers]
        if view.example.label is not None:
            lines.append(f"  label: the answer is {'wanted' if view.example.label else 'not wanted'}")
        for number, (each, tokens) in enumerate(zip(view.renderings, view.tokens, strict=True), start=1):
            several = f"{number} of {len(view.renderings)}, " if len(view.renderings) > 1 else ""
            side = f"{view.sides[number - 1]}, " if view.sides[number - 1] else ""
            cut = ", truncated" if each.truncated else ""
            size = counted(len(each.input_ids), "token")
            lines.append(f"  [{side}{several}{size}, {sum(each.loss_mask):,} bear loss{cut}]")
            lines.append(_marked(tokens, each.loss_mask, colour))
        lines.append("")
    return "\n".join([*lines, *statistics(views)])


def _message(message: Message, colour: bool) -> str:
    """A message on a line: who, what was thought, what is said, which tools are called."""
    said = [str(message["content"])] if message["content"] or "tool_calls" not in message else []
    if message.get("reasoning_content"):
        said.insert(0, f"(thinks) {message['reasoning_content']}")
    for call in message.get("tool_calls", ()):
        said.append(f"(calls) {call['function']['name']} {_raw_text(call['function']['arguments'])}")
    unlearned = " (weight 0)" if message.get("weight") == 0 else ""
    return f"  {_paint(visible(str(message['role'])), BOLD, colour)}{unlearned}: {visible(' '.join(said))}"


def _marked(tokens: Sequence[bytes], mask: Sequence[bool], colour: bool) -> str:
    """The tokens one after the other, those that bear loss marked."""
    out: list[str] = []
    learning = False
    for place, (_, text, learned) in enumerate(characters(tokens, mask)):
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


def characters(tokens: Sequence[bytes], mask: Sequence[bool]) -> Iterator[tuple[range, str, bool]]:
    """Tokens as text, with their places; those that only together make a character, and learn alike, are joined."""
    held, first = b"", 0
    for place, (token, learned) in enumerate(zip(tokens, mask, strict=True)):
        held += token
        goes_on = place + 1 < len(tokens) and mask[place + 1] == learned
        if goes_on and _unfinished(held):
            continue
        yield range(first, place + 1), held.decode("utf-8", "backslashreplace"), learned
        held, first = b"", place + 1


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
