"""Held-out rows of files and datasets, before any tokenizer has seen them. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.example import Example
from studio.data.kinds import Kind, kind_of
from studio.data.reading import chosen_rows
from studio.data.tokenise import example_of
from studio.errors import DatasetError, RowError, counted
from studio.works.eval_text import HeldOutArguments
from studio.workspace import Workspace

# Rows of each source that a quick look reads.
FEW = 200


@dataclass(frozen=True)
class HeldOut:
    """One row to measure: `row` counts from 1 in `file`, `source` is the dataset or file that was named."""

    source: str
    file: str
    row: int
    example: Example
    kind: Kind


def read_held_out(asked: HeldOutArguments, place: Workspace) -> tuple[list[HeldOut], list[str]]:
    """The rows of all sources in their order, and what to tell about them.

    Raises DatasetError for a file that cannot be read, pairs and judged rows, and bad rows beyond what may be left out.
    """
    found: list[HeldOut] = []
    notes: list[str] = []
    for name, entry in sources(asked, place, notes):
        good, bad = _read(name, entry, chosen_rows(entry, entry.files(), place.cache, asked.max_samples), place)
        found += good
        if bad:
            notes.append(left_out(bad, len(good) + len(bad), name, asked.max_bad_rows, skip=asked.skip_bad_rows))
    if not found:
        raise DatasetError("an evaluation needs at least one text; there is none. Name another file or dataset.")
    return found, notes


def sources(asked: HeldOutArguments, place: Workspace, notes: list[str]) -> Iterator[tuple[str, DatasetEntry]]:
    """The named sources with their entries. Raises DatasetError for one whose rows are none to measure so."""
    catalog = read_catalog(place, asked.dataset_dir)
    notes += catalog.notes if asked.dataset else []
    entries = [(name, catalog[name]) for name in asked.dataset]
    for path in asked.text_file:
        entry = entry_of_file(path, place).model_copy(update={"sample_by": asked.sample_by})
        notes.append(entry.why)
        entries.append((path, entry))
    for name, entry in entries:
        if (kind := kind_of(entry)) in ("pairs", "judged"):
            raise DatasetError(f"{name} holds {kind}, of which no side is the text to measure. studio eval pairs "
                               "measures pairs; for others name texts or conversations.")  # fmt: skip
        yield name, entry


def _read(name: str, entry: DatasetEntry, rows: Iterable[Any], place: Workspace) -> tuple[list[HeldOut], list[str]]:
    good: list[HeldOut] = []
    bad: list[str] = []
    for placed in rows:
        example = example_of(placed.value, entry)
        if isinstance(example, RowError):
            bad.append(str(example.at(place.shown(placed.file), placed.row)))
        else:
            kind = "text" if example.text else kind_of(entry)
            good.append(HeldOut(name, place.shown(placed.file), placed.row, example, kind))
    return good, bad


def left_out(bad: list[str], count: int, name: str, most: float, *, skip: bool) -> str:
    """The note about bad rows of a source of `count`. Raises DatasetError when they may not be left out."""
    shown = "\n".join(f"  {sentence}" for sentence in bad[:5])
    if not skip:
        raise DatasetError(f"{counted(len(bad), 'row')} of {name} cannot be used:\n{shown}\nCorrect them, or set "
                           "--skip_bad_rows True to leave them out.")  # fmt: skip
    if len(bad) > (most if most >= 1 else most * count):
        raise DatasetError(f"{len(bad):,} of {counted(count, 'row')} of {name} cannot be used, more than "
                           f"--max_bad_rows {most:g} lets out:\n{shown}")  # fmt: skip
    return f"{counted(len(bad), 'row')} of {name} left out:\n{shown}"


def quick_facts(asked: HeldOutArguments, place: Workspace) -> dict[str, Any]:
    """The first texts of each source: {"texts", "characters", "kinds": {source: kind of its rows}, "notes"}."""
    notes: list[str] = []
    kinds: dict[str, Kind] = {}
    texts = characters = 0
    for name, entry in sources(asked, place, notes):
        kinds[name] = kind_of(entry)
        some = islice(chosen_rows(entry, entry.files(), place.cache, min(asked.max_samples or FEW, FEW)), FEW)
        good, _ = _read(name, entry, some, place)
        texts += len(good)
        characters += sum(len(each.example.text) for each in good)
    return {"texts": texts, "characters": characters, "kinds": kinds, "notes": notes}
