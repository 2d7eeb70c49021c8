"""Some rows through the steps that look at one row at a time: what a worker process does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from studio.cleaning import mend
from studio.cleaning.language import foreign
from studio.cleaning.minhash import Bands, bands_for, keys_of
from studio.cleaning.personal import mask
from studio.cleaning.repetition import Limits, repeating
from studio.cleaning.rows import Row, blank, columns_of, is_running_text, joined, line_of, with_texts
from studio.cleaning.tally import Tally
from studio.cleaning.units import Hashes, Units, shingles, units_of
from studio.data.catalog import DatasetEntry
from studio.data.reading import Placed
from studio.data.tokenise import example_of
from studio.errors import RowError
from studio.works.clean import CleanSet, shares


@dataclass(frozen=True)
class Cleaned:
    """What came of a chunk: the lines that stay, one a row, and what tells each from others.

    `lines` is their text, `sizes` [rows] the bytes of each, `files` and `rows` [rows] where each comes from;
    `exact` [rows, 2] and `near` [rows, bands] are its keys. A row without words has no keys of the second kind
    (`worded` [rows]). `refused` are rows that cannot be read.
    """

    lines: bytes
    sizes: npt.NDArray[np.int64]
    files: npt.NDArray[np.uint16]
    rows: npt.NDArray[np.uint32]
    exact: Hashes
    near: Hashes
    worded: npt.NDArray[np.bool_]
    tally: Tally
    refused: tuple[RowError, ...]
    read: int


@dataclass
class _Kept:
    """A row on its way."""

    where: tuple[str, int]
    file: int
    row: Row
    text: str
    running: bool


@dataclass(frozen=True)
class Recipe:
    """The steps as they are asked for. `held_out` rows are mended and compared, but never removed."""

    asked: CleanSet
    entry: DatasetEntry
    names: dict[Any, tuple[int, str]]
    held_out: bool = False
    bands: Bands = field(default_factory=lambda: Bands(1, 1))

    @property
    def compares(self) -> bool:
        """Whether rows are compared with each other at all."""
        asked = self.asked.duplicates
        return bool(asked.exact_duplicates or asked.near_duplicates or asked.held_out)

    def limits(self) -> Limits:
        """Those of repetition."""
        asked = self.asked.filters
        return Limits(
            asked.max_repeated_lines,
            asked.max_repeated_line_characters,
            shares(asked.max_top_ngrams),
            shares(asked.max_repeated_ngrams),
        )


def clean(recipe: Recipe, chunk: Sequence[Placed]) -> Cleaned:
    """One chunk. Raises DatasetError for a column that is asked for and not there."""
    tally = Tally(recipe.asked.output.samples)
    refused: list[RowError] = []
    kept = list(_mended(recipe, chunk, tally, refused))
    units = units_of([row.text for row in kept])
    if not recipe.held_out:
        stays = _filtered(recipe, kept, units, tally)
        if not all(stays):
            kept = [row for row, stay in zip(kept, stays, strict=True) if stay]
            units = units_of([row.text for row in kept])
    lines = [line_of(row.row) for row in kept]
    exact, near, worded = _keys(recipe, kept, units)
    return Cleaned(
        b"".join(lines), np.array([len(line) for line in lines], np.int64),
        np.array([row.file for row in kept], np.uint16), np.array([row.where[1] for row in kept], np.uint32),
        exact, near, worded, tally, tuple(refused), len(chunk),
    )  # fmt: skip


def _mended(recipe: Recipe, chunk: Sequence[Placed], tally: Tally, refused: list[RowError]) -> Iterator[_Kept]:
    """The rows that can be read, mended; those of which nothing is left are counted out."""
    for _, path, number, value in chunk:
        index, name = recipe.names[path]
        example = example_of(value, recipe.entry)
        if blank(value, recipe.entry):
            if not recipe.held_out:
                tally.remove("empty", (name, number), "")
            continue
        if isinstance(value, RowError) or isinstance(example, RowError):
            error = example if isinstance(example, RowError) else value
            assert isinstance(error, RowError)
            refused.append(error.at(name, number))
            continue
        running = is_running_text(example)
        columns = columns_of(value, recipe.entry, example, recipe.asked.repairs.columns)
        where, row, before = (name, number), value, joined(example)
        for step, change in _repairs(recipe.asked, running=running):
            made = {**row, **{column: with_texts(row[column], change) for column in columns}}
            if made == row:
                continue
            if step == "personal" and recipe.asked.repairs.personal == "remove" and not recipe.held_out:
                tally.remove("personal", where, before)
                row = {}
                break
            row, old = made, before
            example = example_of(row, recipe.entry)
            before = "" if isinstance(example, RowError) else joined(example)
            if not recipe.held_out:
                _tell_change(tally, step, where, (old, before), (value, row, columns))
        if isinstance(example, RowError) and not recipe.held_out:
            tally.remove("empty", where, str(next((value[column] for column in columns), "")))
        elif row and not isinstance(example, RowError):
            yield _Kept(where, index, row, before, running)


def _tell_change(
    tally: Tally, step: str, where: tuple[str, int], texts: tuple[str, str], rows: tuple[Row, Row, list[str]]
) -> None:
    """Count a change; one that leaves the joined text as it was is shown by its columns."""
    old, new = texts
    if old == new:
        before, after, columns = rows
        old, new = ("\n".join(str(row.get(column, "")) for column in columns) for row in (before, after))
    tally.change(step, where, old, new)


def _repairs(asked: CleanSet, *, running: bool) -> list[tuple[str, Callable[[str], str]]]:
    """The steps that change texts. Code and tables in questions and answers keep their tags and spaces."""
    wanted = asked.repairs
    found: list[tuple[str, Callable[[str], str]]] = []
    if wanted.repair_encoding:
        found.append(("repair_encoding", mend.repair_encoding))
    if wanted.remove_html and running:
        found.append(("remove_html", mend.remove_html))
    if wanted.remove_control:
        found.append(("remove_control", mend.remove_control))
    if wanted.tidy_space:
        found.append(("tidy_space", mend.tidy_space if running else mend.tidy_ends))
    if wanted.personal != "keep" and wanted.personal_kinds:
        found.append(("personal", partial(mask, kinds=wanted.personal_kinds)))
    return found


def _filtered(recipe: Recipe, kept: Sequence[_Kept], units: Units, tally: Tally) -> list[bool]:
    """Whether each row stays. The first rule that it breaks is the one that removes it."""
    asked = recipe.asked.filters
    repeats = [""] * len(kept)
    if asked.remove_repetition and any(row.running for row in kept):
        repeats = repeating([row.text for row in kept], units, recipe.limits())
    stays = []
    for number, row in enumerate(kept):
        broken = _broken(recipe, row, float(units.signs[number]), repeats[number])
        if broken:
            tally.remove(broken[0], row.where, row.text, broken[1])
        stays.append(not broken)
    return stays


def _broken(recipe: Recipe, row: _Kept, signs: float, repeats: str) -> tuple[str, str] | None:
    """The step that removes a row and why; None when it stays."""
    asked = recipe.asked.filters
    if row.running and len(row.text) < asked.min_length:
        return "min_length", ""
    if row.running and len(row.text) > asked.max_length:
        return "max_length", ""
    if row.running and mend.broken(row.text) > asked.max_broken:
        return "max_broken", ""
    if row.running and signs > asked.max_symbols:
        return "max_symbols", ""
    if asked.languages and (language := foreign(row.text, asked.languages, asked.language_confidence)):
        return "languages", language
    if row.running and repeats:
        return "remove_repetition", repeats
    return None


def _keys(recipe: Recipe, kept: Sequence[_Kept], units: Units) -> tuple[Hashes, Hashes, npt.NDArray[np.bool_]]:
    """What rows are compared by: 128 bits of all their units, and the keys of their sequences."""
    if not recipe.compares:
        return np.zeros((0, 2), np.uint64), np.zeros((0, 1), np.uint64), np.zeros(len(kept), np.bool_)
    digests = b"".join(units.digest(number, row.text) for number, row in enumerate(kept))
    exact = np.frombuffer(digests, "<u8").reshape(-1, 2)
    made, starts = sequences(recipe.asked, units)
    worded = np.diff(starts) > 0
    near = np.zeros((len(kept), recipe.bands.bands), np.uint64)
    if worded.any():
        near[worded] = keys_of(made, np.append(starts[:-1][worded], starts[-1]), recipe.bands)
    return exact, near, worded


def sequences(asked: CleanSet, units: Units) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The word sequences that rows are compared by, and where those of each begin."""
    wanted = asked.duplicates
    return shingles(units, np.where(units.single >= 0.5, wanted.shingle_characters, wanted.shingle_words))


def bands_of(asked: CleanSet) -> Bands:
    """How rows are hashed for what is asked."""
    return bands_for(asked.duplicates.near_threshold)
