"""Rows of two answers to compare, of named files and datasets. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.example import Example
from studio.data.kinds import kind_of
from studio.data.reading import chosen_rows
from studio.data.tokenise import example_of
from studio.errors import DatasetError, RowError
from studio.evaluate.text_rows import FEW, left_out
from studio.works.eval_pairs import PairsArguments
from studio.workspace import Workspace


@dataclass(frozen=True)
class Pair:
    """One row: `source` is the name of its file or dataset, `row` counts from 1 in `file`."""

    source: str
    file: str
    row: int
    example: Example

    @property
    def prompt(self) -> str:
        """The message that both answer."""
        return str(self.example.messages[-1]["content"])


def read_pairs(asked: PairsArguments, place: Workspace, *, most: int | None = None) -> tuple[list[Pair], list[str]]:
    """The pairs of all sources in their order, and what to tell about them; at most `most` of each.

    Raises DatasetError for a file that holds none, and for bad rows beyond what may be left out.
    """
    found: list[Pair] = []
    notes: list[str] = []
    limit = min(filter(None, (asked.max_samples, most)), default=None)
    for name, entry in _sources(asked, place, notes):
        good: list[Pair] = []
        bad: list[str] = []
        for placed in islice(chosen_rows(entry, entry.files(), place.cache, limit), limit):
            example = example_of(placed.value, entry)
            if isinstance(example, RowError):
                bad.append(str(example.at(place.shown(placed.file), placed.row)))
            else:
                good.append(Pair(name, place.shown(placed.file), placed.row, example))
        if bad:
            notes.append(left_out(bad, len(good) + len(bad), name, asked.max_bad_rows, skip=asked.skip_bad_rows))
        found += good
    if not found:
        raise DatasetError("an evaluation needs at least one pair; there is none. Name another file or dataset.")
    return found, notes


def _sources(asked: PairsArguments, place: Workspace, notes: list[str]) -> Iterator[tuple[str, DatasetEntry]]:
    catalog = read_catalog(place, asked.dataset_dir)
    notes += catalog.notes if asked.dataset else []
    for name, path in asked.test_reward_model_acc_files.items():
        entry = entry_of_file(path, place)
        notes.append(f"{name}: {entry.why}")
        yield name, _must_compare(name, entry)
    for name in asked.dataset:
        yield name, _must_compare(name, catalog[name])


def _must_compare(name: str, entry: DatasetEntry) -> DatasetEntry:
    if (kind := kind_of(entry)) != "pairs":
        raise DatasetError(f"{name} must hold pairs of a chosen and a rejected answer; it holds {kind} rows. Name a "
                           "file with prompt, chosen and rejected.")  # fmt: skip
    return entry


def quick_facts(asked: PairsArguments, place: Workspace) -> dict[str, Any]:
    """The first pairs of each source: {"pairs": {source: number}, "notes"}."""
    pairs, notes = read_pairs(asked, place, most=FEW)
    names = list(dict.fromkeys(pair.source for pair in pairs))
    return {"pairs": {name: sum(pair.source == name for pair in pairs) for name in names}, "notes": notes}
