"""studio tokenizer inspect: what one vocabulary, or two, make of texts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.errors import ModelError, StudioError
from studio.model.find import find_model
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.model.tokenizer_files import read_object
from studio.vocabulary import compare, texts
from studio.vocabulary.merging import batches
from studio.vocabulary.rows import rows_of
from studio.vocabulary.scripts import ANY, BLOCKS, Rule
from studio.works.base import Ear
from studio.workspace import Workspace

RECORD = "vocabulary.json"
SHOWN_LOST, SHOWN_UNUSED, SHOWN_CHANGED = 8, 40, 40
# Backgrounds at the terminal, one after the other.
COLOURS = (44, 42, 45, 46, 43)


def run(asked: Any, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Look at a vocabulary; a plain result ("before" parts only where there is another to compare with):

    folder, before_folder   what was looked at; "" without another
    tokens            {"after", "before"}: counts; special {"after": [{"id", "text"}], "before": [...]}
    rows              rows of the embeddings, null without weights; free: those behind the last token
    measures          {"datasets": [...], "scripts": [...]}: rows {"name", "texts", "characters", "bytes", "after":
                      {"tokens", "tokens_per_character", "bytes_per_token"}, "before": {…}}
    example           {"text", "after": [{"text", "ids"}], "before": [...]}
    vocabulary        {"same", "added", "gone", "moved", "moved_samples": [{"text", "before", "after"}]}: tokens of both
                      with the same id, of one only, of both with another id; null without another
    changed           {"texts", "characters", "changed", "samples"}: samples of many languages whose ids differ, those
                      in the scripts that the vocabulary was extended by left out; null without another
    unused            {"count", "of", "samples": [{"id", "text"}]}: tokens that none of the texts has
    round_trip        {"texts", "lost", "samples"}: texts that do not come back from their ids as they were
    texts, notes, seconds
    """
    started = time.monotonic()
    folder = _folder(asked.look.model_name_or_path, place)
    light = open_tokenizer(folder, place.cache)
    other, notes = _other(asked.look.compare_with, folder, place)
    read = texts.read(texts.Asked.of(asked), place, ear, hold_out=False)
    if not read.learned and not asked.look.text:
        notes.append("no --dataset and no --text: samples of many languages are looked at")
    looked = dict(read.learned) or {"samples": [asked.look.text] if asked.look.text else list(compare.KEPT)}
    both = {"after": light.fast, **({"before": other.fast} if other else {})}
    example = asked.look.text or next(text for several in looked.values() for text in several)
    ear.tell(1, 3, "counting tokens")
    measured = compare.measures(looked, both)
    ear.tell(2, 3, "looking for what never occurs")
    flat = [text for several in looked.values() for text in several]
    shown = example[: max(compare.SHOWN_CHARACTERS, len(asked.look.text))]
    return {
        "folder": place.shown(folder), "before_folder": place.shown(other.folder) if other else "",
        "tokens": {"after": light.size, **({"before": other.size} if other else {})},
        "special": {label: _special(one) for label, one in (("after", light), ("before", other)) if one},
        **_rows(folder, light, notes),
        "measures": measured,
        "example": {"text": shown, **{label: compare.spans(shown, fast) for label, fast in both.items()}},
        "vocabulary": _vocabulary(light, other) if other else None,
        "changed": compare.changed(compare.KEPT, other.fast, light.fast, _rule(folder)) if other else None,
        **_used(light, flat), "texts": read.counts(), "notes": [*read.notes, *notes],
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip


def _folder(asked: str, place: Workspace) -> Path:
    """A tokenizer's folder, or a model's."""
    path = place.path(asked)
    if path.is_dir() and (path / "tokenizer.json").is_file():
        return path
    return find_model(asked, place)


def _other(asked: str, folder: Path, place: Workspace) -> tuple[LightTokenizer | None, list[str]]:
    """The vocabulary to compare with: the one asked for, else the base that an extended model names, where it is."""
    if asked:
        return open_tokenizer(_folder(asked, place), place.cache), []
    base = str(read_object(folder / RECORD).get("base") or "")
    if not base:
        return None, []
    try:
        # A record may come from anywhere: nothing is fetched because of it.
        if not place.path(base).is_dir():
            return None, [f"its base is not compared: there is no folder {base}. Name it with --compare_with"]
        return open_tokenizer(_folder(base, place), place.cache), [f"compared with {base}, its base ({RECORD})"]
    except StudioError as error:
        return None, [f"its base is not compared: {error}"]


def _rule(folder: Path) -> Rule | None:
    """Which scripts an extended vocabulary was extended by; None when that is not known."""
    listed = read_object(folder / RECORD).get("scripts")
    names = tuple(map(str, listed)) if isinstance(listed, list) else ()
    return Rule(names, 0) if names and set(names) <= {ANY, *BLOCKS} else None


def _special(light: LightTokenizer) -> list[dict[str, Any]]:
    tokens = light.fast.get_added_tokens_decoder().items()
    return [{"id": number, "text": token.content} for number, token in sorted(tokens) if token.special]


def _rows(folder: Path, light: LightTokenizer, notes: list[str]) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        return {"rows": None, "free": None}
    try:
        rows = rows_of(folder)
    except ModelError as error:
        notes.append(f"its weights were not looked at: {error}")
        return {"rows": None, "free": None}
    if light.size > rows:
        notes.append(
            f"{light.size:,} tokens need as many rows of embeddings; there are {rows:,}. Extend the model anew"
        )
    return {"rows": rows, "free": rows - light.size}


def _vocabulary(light: LightTokenizer, other: LightTokenizer) -> dict[str, Any]:
    new, old = light.fast.get_vocab(), other.fast.get_vocab()
    moved = sorted((old[token], new[token], token) for token in new.keys() & old.keys() if new[token] != old[token])
    return {
        "same": len(new.keys() & old.keys()) - len(moved), "added": len(new.keys() - old.keys()),
        "gone": len(old.keys() - new.keys()), "moved": len(moved),
        "moved_samples": [{"text": token, "before": a, "after": b} for a, b, token in moved[:SHOWN_CHANGED]],
    }  # fmt: skip


def _used(light: LightTokenizer, flat: Sequence[str]) -> dict[str, Any]:
    """Which tokens the texts have, and which texts do not come back."""
    seen: set[int] = set()
    lost = []
    for batch in batches(flat):
        for text, encoding in zip(batch, light.fast.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            seen.update(encoding.ids)
            if light.fast.decode(encoding.ids, skip_special_tokens=False) != text:
                lost.append(text[: compare.SHOWN_CHARACTERS])
    unused = sorted(set(light.fast.get_vocab().values()) - seen)
    step = max(len(unused) // SHOWN_UNUSED, 1)
    samples = [
        {"id": number, "text": light.fast.decode([number], skip_special_tokens=False)}
        for number in unused[::step][:SHOWN_UNUSED]
    ]
    return {
        "unused": {"count": len(unused), "of": len(light.fast.get_vocab()), "samples": samples},
        "round_trip": {"texts": len(flat), "lost": len(lost), "samples": lost[:SHOWN_LOST]},
    }


def as_text(found: dict[str, Any]) -> str:
    """What came of it: numbers, and the example in colours where a terminal shows them."""
    cut = coloured if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else divided
    before = "before" in found["tokens"]
    lines = [f"{found['folder']}: {found['tokens']['after']:,} tokens, {_told_rows(found)}"]
    for table in ("scripts", "datasets"):
        lines += [f"{table}: tokens per character (bytes per token)"]
        lines += [_line(row, before) for row in found["measures"][table]]
    for label in ("before", "after"):
        if label in found["example"]:
            spans = found["example"][label]
            lines += [f"{label}, {sum(len(span['ids']) for span in spans)} tokens:", cut(spans)]
    if (vocabulary := found["vocabulary"]) is not None:
        lines.append(
            f"against {found['before_folder']}: {vocabulary['same']:,} tokens keep their id, {vocabulary['moved']:,} "
            f"have another, {vocabulary['added']:,} are new, {vocabulary['gone']:,} are gone; "
            f"{found['changed']['changed']} of {found['changed']['texts']} samples of many languages get other ids"
        )
    unused, trip = found["unused"], found["round_trip"]
    lines.append(f"{unused['count']:,} of {unused['of']:,} tokens stand in none of the texts")
    lines.append(f"{trip['texts'] - trip['lost']:,} of {trip['texts']:,} texts come back from their ids as they were")
    return "\n".join([*lines, *found["notes"]])


def _told_rows(found: Mapping[str, Any]) -> str:
    return "no weights" if found["rows"] is None else f"{found['rows']:,} rows of embeddings ({found['free']:,} free)"


def _line(row: Mapping[str, Any], before: bool) -> str:
    told = f"  {row['name']}: "
    if before:
        told += f"{row['before']['tokens_per_character']:.3f} ({row['before']['bytes_per_token']:.2f}) → "
    return told + f"{row['after']['tokens_per_character']:.3f} ({row['after']['bytes_per_token']:.2f})"


def coloured(spans: Sequence[Mapping[str, Any]]) -> str:
    """The text with a background for each token, for a terminal; red where a character is cut into several."""
    parts = []
    for place, span in enumerate(spans):
        colour = 41 if len(span["ids"]) > 1 else COLOURS[place % len(COLOURS)]
        parts.append(f"\033[{colour}m\033[97m{span['text']}\033[0m" if span["ids"] else span["text"])
    return "".join(parts)


def divided(spans: Sequence[Mapping[str, Any]]) -> str:
    """The text with a bar between its tokens, for a pipe or a file; `京(3)` is a character of three tokens."""
    several = (f"{span['text']}({len(span['ids'])})" if len(span["ids"]) > 1 else span["text"] for span in spans)
    return "|".join(several)
