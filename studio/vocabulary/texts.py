"""Texts of datasets to learn a vocabulary from, and some held out to measure it on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.example import Example, sides
from studio.data.reading import chosen_rows
from studio.data.tokenise import example_of
from studio.errors import ArgumentError, RowError, counted
from studio.works.base import Ear
from studio.workspace import Workspace

# One text of so many is held out, of each dataset the first among them.
HELD_OUT_EVERY = 20
TELL_EVERY = 500


@dataclass(frozen=True)
class Asked:
    """Which texts to read: names of datasets, files, how much of them, and the seed of what is drawn."""

    dataset: Sequence[str]
    train_file: Sequence[str]
    dataset_dir: str
    max_chars: int
    sample_rows: int | None
    seed: int

    @classmethod
    def of(cls, asked: Any, dataset: Sequence[str] | None = None) -> Asked:
        """From the groups `source` and `sample` of a work; `dataset` instead of what it names."""
        source, sample = asked.source, asked.sample
        names = source.dataset if dataset is None else dataset
        files = source.train_file if dataset is None else ()
        return cls(names, files, source.dataset_dir, sample.max_chars, sample.sample_rows, sample.seed)


@dataclass
class Texts:
    """What was read: texts by dataset, those held out apart, and what to tell about it."""

    learned: dict[str, list[str]] = field(default_factory=dict)
    held_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: int = 0
    repeated: int = 0

    @property
    def all(self) -> list[str]:
        """Every text to learn from."""
        return [text for texts in self.learned.values() for text in texts]

    @property
    def characters(self) -> int:
        """The characters to learn from."""
        return sum(map(len, self.all))

    def counts(self) -> dict[str, dict[str, int]]:
        """Texts and characters by dataset, and those held out."""
        return {
            name: {
                "texts": len(texts),
                "characters": sum(map(len, texts)),
                "held_out": len(self.held_out.get(name, [])),
                "held_out_characters": sum(map(len, self.held_out.get(name, []))),
            }
            for name, texts in self.learned.items()
        }


def entries_of(dataset: Sequence[str], files: Sequence[str], dataset_dir: str, place: Workspace) -> list[DatasetEntry]:
    """The datasets by name and the files without an entry. Raises DatasetError."""
    catalog = read_catalog(place, dataset_dir)
    return [*(catalog[name] for name in dataset), *(entry_of_file(path, place) for path in files)]


def read(asked: Asked, place: Workspace, ear: Ear, *, hold_out: bool = True) -> Texts:
    """The texts that are asked for; of two equal ones the first.

    Each dataset gives at most its equal share of `max_chars`; with `sample_rows` so many rows of each are drawn.
    Raises DatasetError, and ArgumentError when nothing has any text.
    """
    found, seen = Texts(), set[int]()
    entries = entries_of(asked.dataset, asked.train_file, asked.dataset_dir, place)
    share = asked.max_chars // max(len(entries), 1)
    if not share:
        raise ArgumentError([
            f"--max_chars {asked.max_chars}: must be at least one for each of the {len(entries)} datasets. Read more."
        ])  # fmt: skip
    for number, entry in enumerate(entries):
        once = _once(_drawn(entry, asked, place, found), seen, found)
        texts = _limited(once, share, ear, f"reading {entry.name}", number, len(entries))
        learned, held = _split(texts, hold_out)
        found.learned[entry.name] = found.learned.get(entry.name, []) + learned
        found.held_out[entry.name] = found.held_out.get(entry.name, []) + held
        if sum(map(len, texts)) >= share:
            of = " of the rows that were drawn" if asked.sample_rows else ""
            found.notes.append(f"{entry.name}: the first {share:,} characters{of} are read (max_chars)")
    if entries and not found.characters:
        raise ArgumentError([f"--dataset: {', '.join(entry.name for entry in entries)} must have text; there is none."])
    if found.repeated:
        found.notes.append(f"{counted(found.repeated, 'text')} stood there before and count once")
    if found.refused:
        found.notes.append(f"{counted(found.refused, 'row')} could not be read and were left out")
    return found


def _once(texts: Iterator[str], seen: set[int], found: Texts) -> Iterator[str]:
    """Each text the first time: what stands in every row, such as one system prompt, would count like a language."""
    for text in texts:
        key = hash(text)
        if key in seen:
            found.repeated += 1
            continue
        seen.add(key)
        yield text


def _limited(texts: Iterator[str], share: int, ear: Ear, what: str, number: int, of: int) -> list[str]:
    found: list[str] = []
    total = 0
    for text in texts:
        found.append(text[: share - total])
        total += len(found[-1])
        if total >= share:
            break
        if len(found) % TELL_EVERY == 0:
            ear.tell(number + min(total / max(share, 1), 1), of, what)
    return found


def _split(texts: list[str], hold_out: bool) -> tuple[list[str], list[str]]:
    if not hold_out or len(texts) < 2:
        return texts, []
    return (
        [text for place, text in enumerate(texts) if place % HELD_OUT_EVERY],
        texts[::HELD_OUT_EVERY],
    )


def _drawn(entry: DatasetEntry, asked: Asked, place: Workspace, found: Texts) -> Iterator[str]:
    """The texts of all rows in order, or of `sample_rows` rows drawn from all of them, the same for a seed."""
    rows = _rows(entry, place, found)
    if not asked.sample_rows:
        for texts in rows:
            yield from texts
        return
    chance = random.Random(f"{asked.seed} {entry.name}")
    kept: list[tuple[int, list[str]]] = []
    for number, texts in enumerate(rows):
        if len(kept) < asked.sample_rows:
            kept.append((number, texts))
        elif (at := chance.randrange(number + 1)) < asked.sample_rows:
            kept[at] = (number, texts)
    for _, texts in sorted(kept):
        yield from texts


def _rows(entry: DatasetEntry, place: Workspace, found: Texts) -> Iterator[list[str]]:
    for placed in chosen_rows(entry, entry.files(), place.cache, None):
        example = placed.value if isinstance(placed.value, RowError) else example_of(placed.value, entry)
        if isinstance(example, RowError):
            found.refused += 1
        elif texts := texts_of(example):
            yield texts


def texts_of(example: Example) -> list[str]:
    """The texts that a row holds: its document, or what each message of it says."""
    if example.text and not example.messages:
        return [example.text]
    messages = [message for _, side in sides(example) for message in side.messages]
    said = [message["content"] for message in messages if isinstance(message.get("content"), str)]
    return [text for text in dict.fromkeys(said) if text.strip()]
