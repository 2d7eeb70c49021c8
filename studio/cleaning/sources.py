"""What is cleaned and what is held out: datasets of the registry and files, found and checked before a row is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.data.blocks import START
from studio.data.catalog import Catalog, DatasetEntry, entry_of_file, name_complaint, read_catalog
from studio.data.example import FORMATS, TAGS
from studio.data.hashes import Stamp, must_be_unchanged
from studio.data.readers import no_rows, reader_of
from studio.data.reading import Placed
from studio.data.textfile import TextFile
from studio.errors import ArgumentError, DatasetError, StudioError
from studio.model.staging import in_the_way
from studio.works.clean import CleanSet
from studio.workspace import Workspace


@dataclass(frozen=True)
class Source:
    """One dataset or file: its entry, its files, their bytes, and the name of the file that its rows go to."""

    entry: DatasetEntry
    files: tuple[Path, ...]
    size: int
    output: str = ""
    stamps: tuple[Stamp, ...] = ()

    def must_be_unchanged(self) -> None:
        """Raise DatasetError when a file is another one than before it was read."""
        for path, stamp in zip(self.files, self.stamps, strict=True):
            must_be_unchanged(path, stamp)


def find(asked: CleanSet, place: Workspace) -> tuple[list[Source], list[Source], list[str]]:
    """What is cleaned, what is held out, and what to tell about them.

    Raises DatasetError for what is not there or cannot be read, ArgumentError for an output that is there already
    or a name that cannot be given.
    """
    catalog = read_catalog(place, asked.source.dataset_dir)
    names = dict.fromkeys(asked.source.dataset)
    paths = dict.fromkeys(asked.source.train_file)
    entries = [*(catalog[name] for name in names), *(entry_of_file(path, place) for path in paths)]
    held = [_held_out(name, catalog, place) for name in dict.fromkeys(asked.duplicates.held_out)]
    must_be_free(asked, place, catalog)
    if asked.output.name and len({_form(entry) for entry in entries}) > 1:
        raise ArgumentError(
            [
                f"--name {asked.output.name}: one entry describes rows of one form, and these are of several "
                f"({', '.join(f'{entry.name}: {entry.formatting}' for entry in entries)}). Clean them one by one."
            ]
        )
    taken: set[str] = set()
    sources = [_source(entry, taken) for entry in entries]
    every = [
        f"{entry.name}: num_samples {entry.num_samples:,} counts in training; here all of its rows are cleaned."
        for entry in entries
        if entry.num_samples
    ]
    notes = [
        *catalog.notes,
        *every,
        *(note for entry in (*entries, *held) for note in (*entry.found().notes, entry.why)),
    ]
    return sources, [_source(entry, set()) for entry in held], [note for note in dict.fromkeys(notes) if note]


def facts(asked: CleanSet, place: Workspace) -> dict[str, Any]:
    """The sources with their sizes: {"sources": [{"name", "files", "bytes"}]}. Raises what stands in the way."""
    catalog = read_catalog(place, asked.source.dataset_dir)
    must_be_free(asked, place, catalog)
    for name in asked.duplicates.held_out:
        if name not in catalog and not place.path(name).exists():
            raise _no_held_out(name, catalog)
    entries = [catalog[name] for name in asked.source.dataset]
    # A hub is not asked before the start.
    local = [_source(entry, set()) for entry in entries if entry.hub is None]
    told = [{"name": each.entry.name, "files": len(each.files), "bytes": each.size} for each in local]
    for path in map(place.path, asked.source.train_file):
        if not path.exists() and not any(mark in path.name for mark in "*?["):
            raise DatasetError(f"--train_file {place.shown(path)}: there is no such file. Correct the path.")
        told.append({"name": path.name, "files": 1, "bytes": path.stat().st_size if path.is_file() else 0})
    return {"sources": told}


def must_be_free(asked: CleanSet, place: Workspace, catalog: Catalog) -> None:
    """Raise ArgumentError when the output is there already, or the name cannot be given."""
    said = []
    target = place.target(asked.output.output_dir)
    if in_the_way(target, replace=asked.output.overwrite_output_dir):
        said.append(
            f"--output_dir {asked.output.output_dir}: it is there already. Choose another name, or move the old one "
            "aside with --overwrite_output_dir True."
        )
    if name := asked.output.name:
        if complaint := name_complaint(name):
            said.append(f"--name {name!r}: {complaint}.")
        elif name in catalog:
            said.append(f"--name {name}: a dataset of this name is registered. Choose another, or edit its entry.")
    if said:
        raise ArgumentError(said)


def placed_rows(source: Source, hear: Callable[[float], None]) -> Iterator[Placed]:
    """Every row of a source in order; `hear` is told the bytes read so far. Raises DatasetError for a broken file."""
    number, before = 0, 0
    for path in source.files:
        size = path.stat().st_size
        file = TextFile(path, source.entry.encoding, lambda share, at=before, all_of=size: hear(at + share * all_of))  # type: ignore[misc]
        # A packed or converted file tells itself how far it is; marks of Parquet and Arrow count no bytes.
        tells = not (file.packed or file.encoding or file.ending in (".parquet", ".arrow"))
        empty = True
        for block in reader_of(file, source.entry.sample_by)(file, START):
            if tells:
                hear(before + block.mark.offset)
            for row, value in block.rows:
                number, empty = number + 1, False
                yield Placed(number, path, row, value)
        if empty:
            raise no_rows(path)
        before += size
        hear(before)


def entry_for(source: Source, files: Sequence[str]) -> dict[str, Any]:
    """The registry's entry for the cleaned rows of a source: its form, with lines of JSON in UTF-8 as its files."""
    entry = source.entry
    raw: dict[str, Any] = {"file_name": files[0] if len(files) == 1 else list(files)}
    if entry.formatting != "alpaca":
        raw["formatting"] = entry.formatting
    if entry.ranking:
        raw["ranking"] = True
    if entry.listed or dict(entry.columns) != dict(FORMATS[entry.formatting].columns):
        raw["columns"] = dict(entry.columns)
    usual = {**TAGS, **FORMATS[entry.formatting].tags}
    if tags := {tag: word for tag, word in entry.tags.items() if usual.get(tag) != word}:
        raw["tags"] = tags
    return raw


def _held_out(name: str, catalog: Catalog, place: Workspace) -> DatasetEntry:
    if name in catalog:
        return catalog[name]
    if not place.path(name).exists():
        raise _no_held_out(name, catalog)
    return entry_of_file(name, place)


def _no_held_out(name: str, catalog: Catalog) -> StudioError:
    known = ", ".join(catalog.names[:12]) or "none"
    return ArgumentError(
        [
            f"--held_out {name}: must be a dataset of the registry ({known}) or a file; there is neither. "
            "Correct the name."
        ]
    )


def _source(entry: DatasetEntry, taken: set[str]) -> Source:
    files = tuple(entry.files())
    stem = re.sub(r"[^\w.-]+", "_", re.sub(r"(\.\w{1,7}){1,2}$", "", entry.name)).strip("._") or "rows"
    name, count = stem, 1
    while name in taken or name in ("clean", "manifest"):
        count += 1
        name = f"{stem}-{count}"
    taken.add(name)
    stamps = tuple(map(Stamp.of, files))
    return Source(entry, files, sum(stamp.size for stamp in stamps), f"{name}.jsonl", stamps)


def _form(entry: DatasetEntry) -> str:
    return repr((entry.formatting, entry.ranking, sorted(entry.columns.items()), sorted(entry.tags.items())))
