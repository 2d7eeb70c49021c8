"""What a dataset holds, counted in one pass: rows and refused rows, lengths in tokens, what is learned, what is cut.

Without a tokenizer the rows and turns are counted alone. Memory holds one chunk of rows and a count
for each length that occurs. A result is kept by the content of the files and all that was asked.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from studio.data.entry import DatasetEntry
from studio.data.example import Example, sides
from studio.data.hashes import Stamp, code_hash, file_hash, key_of, known_hash, must_be_unchanged
from studio.data.histogram import Lengths, bars, percentiles, summary
from studio.data.inspect import visible
from studio.data.kinds import kind_of
from studio.data.reading import counts
from studio.data.render import Rendered, View, render
from studio.data.report import RefusedRows
from studio.data.survey import Survey
from studio.data.survey import as_text as survey_as_text
from studio.data.tokenise import Raw, Tell, chunks
from studio.errors import RowError, counted
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.workspace import Workspace, write_json

# Refused rows and reasons that are listed one by one.
LISTED, REASONS = 100, 20
# Longer than any row: nothing is cut, so that what a cut would take can be told.
_UNCUT = 1 << 30
# Of both in a terminal, and the longest bar there.
_SHOWN, _WIDE = 10, 40
# Bytes that are hashed in a moment.
_READ_AT_ONCE = 64 << 20
# Conversations of more turns than this are counted together.
_MOST_TURNS = 30
_NOT_ROWS = {"origin", "base", "hub", "why"}


@dataclass(frozen=True)
class Question:
    """What the numbers depend on besides the files; without a tokenizer no tokens are counted."""

    entry: DatasetEntry
    view: View
    tokenizer: LightTokenizer | None = None
    template: Template | None = None

    def key(self, hashes: Mapping[str, str]) -> str:
        """The name of the answer: equal for equal content, asked and counted in the same way."""
        return key_of(
            {
                "hashes": list(hashes.items()),
                "entry": entry_mark(self.entry),
                "view": asdict(self.view) if self.tokenizer else None,
                "tokenizer": self.tokenizer.fingerprint if self.tokenizer else "",
                "template": self.template.jinja if self.template else "",
                "code": code_hash(),
            }
        )


def entry_mark(entry: DatasetEntry) -> str:
    """A mark of what an entry says of its rows."""
    return key_of(entry.model_dump(mode="json", exclude=_NOT_ROWS))


@dataclass
class _Tally:
    """All that is counted in the pass."""

    rows: int = 0
    refused: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)
    reasons: RefusedRows = field(default_factory=RefusedRows)
    turns: Counter[int] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    equal_sides: int = 0
    systems: int = 0
    tools: int = 0
    survey: Survey = field(default_factory=Survey)

    def refuse(self, raw: Raw, error: RowError, name: str, place: Workspace) -> None:
        """Take note of a row that cannot be used."""
        self.refused += 1
        told = error.at(place.shown(raw.file), raw.row)
        self.reasons.add(name, told)
        if len(self.listed) < LISTED:
            where = f"column {error.column!r}: " if error.column else ""
            self.listed.append({"row": raw.number, "file": told.file, "row_in_file": raw.row, "why": where + error.why})

    def take(self, number: int, example: Example) -> None:
        """Take note of a row that can be read."""
        self.survey.take(number, example, _MOST_TURNS)
        talk = [message for message in example.messages if message["role"] != "system"]
        if talk:
            self.turns[min(len(talk) + bool(example.chosen), _MOST_TURNS)] += 1
        self.systems += len(talk) < len(example.messages)
        self.tools += bool(example.tools)
        if example.label is not None:
            self.labels["wanted" if example.label else "not_wanted"] += 1
        self.equal_sides += bool(example.chosen) and example.chosen == example.rejected


def statistics(question: Question, place: Workspace, progress: Tell | None = None) -> dict[str, Any]:
    """The numbers of a dataset as plain values; kept ones where nothing has changed.

    Besides what `_result` counts they have all of `studio.data.survey.Survey.as_json`; `tokens` has the percentiles of
    the lengths in tokens, and `longest_rows` in it, [{"row", "tokens"}].

    Raises DatasetError for a file that cannot be read, or that changes meanwhile.
    """
    entry = question.entry
    files = entry.files()
    stamps = {path: Stamp.of(path) for path in files}
    hashes = {place.shown(path): file_hash(path, place.cache) for path in files}
    kept = _kept_file(question, hashes, place)
    if found := _read(kept):
        return {**found, "cached": True}
    total = sum(counts(entry, files, place.cache))
    tally, lengths = _pass(question, files, place, entry.num_samples or total, progress)
    for path, stamp in stamps.items():
        must_be_unchanged(path, stamp)
    result = _result(question, tally, lengths, hashes)
    write_json(kept, result)
    return {**result, "cached": False}


def kept_statistics(question: Question, place: Workspace) -> dict[str, Any] | None:
    """The numbers where they have been counted before. Of a large file no more is read than its stamp."""
    hashes = {}
    for path in question.entry.files():
        small = path.stat().st_size <= _READ_AT_ONCE
        content = file_hash(path, place.cache) if small else known_hash(path, place.cache)
        if not content:
            return None
        hashes[place.shown(path)] = content
    found = _read(_kept_file(question, hashes, place))
    return {**found, "cached": True} if found else None


def _kept_file(question: Question, hashes: Mapping[str, str], place: Workspace) -> Path:
    return place.cache / "statistics" / f"{question.key(hashes)[:32]}.json"


def _pass(
    question: Question, files: Sequence[Path], place: Workspace, total: int, progress: Tell | None
) -> tuple[_Tally, Lengths | None]:
    entry, view = question.entry, question.view
    tally = _Tally()
    lengths = Lengths() if question.tokenizer else None
    uncut = view if view.documents else replace(view, cutoff_len=_UNCUT)
    for chunk in chunks(entry, files, place.cache, None):
        for raw, rendered in zip(chunk, _rendered(chunk, question, uncut), strict=True):
            tally.rows += 1
            bad = raw.example if isinstance(raw.example, RowError) else _first_error(rendered)
            if bad is not None:
                tally.refuse(raw, bad, entry.name, place)
                continue
            if isinstance(raw.example, Example):
                tally.take(raw.number, raw.example)
            for pieces in rendered:
                if lengths is not None and question.tokenizer and not isinstance(pieces, RowError):
                    lengths.add(raw.number, pieces, view, question.tokenizer.unknown_id)
        if progress is not None:
            progress(f"counting {entry.name}", tally.rows, total)
    return tally, lengths


def _rendered(chunk: Sequence[Raw], question: Question, view: View) -> list[list[list[Rendered] | RowError]]:
    """What each raw row becomes, a list a side; empty without a tokenizer and for rows that cannot be read."""
    if question.tokenizer is None:
        return [[] for _ in chunk]
    parts = [[part for _, part in sides(raw.example)] if isinstance(raw.example, Example) else [] for raw in chunk]
    flat = [part for each in parts for part in each]
    done = iter(render(flat, question.tokenizer, question.template, view))
    return [[next(done) for _ in each] for each in parts]


def _first_error(rendered: Iterable[list[Rendered] | RowError]) -> RowError | None:
    return next((each for each in rendered if isinstance(each, RowError)), None)


def _result(question: Question, tally: _Tally, lengths: Lengths | None, hashes: dict[str, str]) -> dict[str, Any]:
    view = question.view
    return {
        "dataset": question.entry.name,
        "hashes": hashes,
        "entry": entry_mark(question.entry),
        "kind": kind_of(question.entry),
        "rows": tally.rows,
        "refused": tally.refused,
        "refused_rows": tally.listed,
        "reasons": [{"why": why, "count": count} for why, count in list(tally.reasons.reasons().items())[:REASONS]],
        "turns": [{"turns": turns, "count": tally.turns[turns]} for turns in sorted(tally.turns)],
        "most_turns": _MOST_TURNS,
        "labels": dict(tally.labels),
        "equal_sides": tally.equal_sides,
        "with_system": tally.systems,
        "with_tools": tally.tools,
        **tally.survey.as_json(),
        "cutoff_len": view.cutoff_len,
        "documents": view.documents,
        "tokenizer": question.tokenizer.name if question.tokenizer else "",
        "template": question.template.name if question.template else "",
        "tokens": _of_tokens(lengths, view.cutoff_len) if lengths is not None else None,
    }


def _of_tokens(lengths: Lengths, cutoff: int) -> dict[str, Any]:
    found = {each.name: getattr(lengths, each.name) for each in fields(lengths) if each.name != "lengths"}
    found["longest_rows"] = [{"row": -row, "tokens": size} for size, row in sorted(lengths.longest_rows, reverse=True)]
    return {**percentiles(lengths.lengths), **found, **summary(lengths.lengths), **bars(lengths.lengths, cutoff)}


def as_text(found: Mapping[str, Any]) -> str:
    """The numbers for a terminal, a line each."""
    name, tokens = visible(str(found["dataset"])), found["tokens"]
    said = [f"{name}: {counted(found['rows'], 'row')}, {found['refused']:,} refused"]
    said += [f"  refused {each['count']:,} times: {visible(each['why'])}" for each in found["reasons"]]
    said += [f"  row {each['row']}: {visible(each['why'])}" for each in found["refused_rows"][:_SHOWN]]
    if found["turns"]:
        turns = ", ".join(f"{each['count']:,} of {each['turns']}" for each in found["turns"])
        said.append(f"turns of a conversation: {turns} (those of {found['most_turns']} or more together)")
    said += survey_as_text(found)
    if tokens is None:
        return "\n".join([*said, "For numbers in tokens name a model with --model_name_or_path."])
    share = tokens["learned"] / max(tokens["tokens"], 1)
    said.append(
        f"length in tokens: mean {tokens['mean']:,.0f}, median {tokens['p50']:,}, 95 % up to {tokens['p95']:,}, "
        f"longest {tokens['longest']:,}"
    )
    said.append(
        f"{counted(tokens['tokens'], 'token')} within the cut-off, {tokens['learned']:,} bear loss ({share:.0%})"
    )
    said.append(
        f"cutoff_len {found['cutoff_len']:,}: {counted(tokens['truncated'], 'row')} truncated, of "
        f"{tokens['answer_cut']:,} the answer is cut ({counted(tokens['learned_cut'], 'token')} to learn are lost), "
        f"{tokens['without_target']:,} without a target and left out"
    )
    width = max((each["count"] for each in tokens["bars"]), default=0)
    for each in tokens["bars"]:
        bar = "█" * math.ceil(_WIDE * each["count"] / width) if width else ""
        line = "  ← cutoff_len" if each["from"] <= found["cutoff_len"] < each["from"] + tokens["bar_width"] else ""
        said.append(f"{each['from']:>9,} … {each['to']:<9,} {each['count']:>9,} {bar}{line}")
    return "\n".join([*said, *([f"longer: {tokens['beyond']:,}"] if tokens["beyond"] else [])])


def _read(path: Path) -> dict[str, Any] | None:
    """A kept result; what cannot be read is as good as not kept."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None
