"""The datasets of a workspace as the page lists them: what each is, whether it can be used, which stages it fits."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.data.catalog import Catalog, Unreadable, registry_of
from studio.data.edit import read, registry_path, usable_catalog
from studio.data.entry import DatasetEntry
from studio.data.kinds import kind_of, why_not
from studio.data.shards import Index, index_of, shard_files
from studio.data.source import known_count
from studio.errors import DatasetError, StudioError
from studio.recipe import STAGES
from studio.workspace import Workspace, resolve

# Files of a folder or pattern that are looked at, and missing files that are explained, for one list.
_MOST_FILES, _EXPLAINED = 10_000, 8


def list_datasets(place: Workspace, dataset_dir: str = "data") -> dict[str, Any]:
    """Every dataset with its health. Files are looked at from outside only, so thousands are listed at once.

    While a registry on the disk cannot be read, its last good text is listed; `broken` says why and where.
    """
    catalog, broken = usable_catalog(place, dataset_dir)
    explained = itertools.count()
    path, _ = registry_of(place, dataset_dir)
    return {
        "version": version_of(place, dataset_dir),
        "path": place.shown(path),
        "datasets": [_row(name, catalog, place, explained) for name in catalog.names],
        "notes": catalog.notes,
        "broken": [broken_as_json(each, place) for each in broken],
        "registries": [{"path": place.shown(each), "version": read(each)[1]} for each, _ in registries(place)],
    }


def broken_as_json(error: Unreadable, place: Workspace) -> dict[str, Any]:
    """What is wrong with a registry as a whole, and where; `error` leaves the place to the others."""
    return {
        "path": place.shown(error.origin),
        "error": re.sub(r"^[^\n]*?: line \d+, column \d+: ", "", error.sentence) if error.line else error.sentence,
        "line": error.line,
        "column": error.column,
    }


def registries(place: Workspace, dataset_dir: str = "data") -> list[tuple[Path, Path]]:
    """The registries with the folders their paths are relative to; the one for new entries first."""
    usual = registry_of(place, dataset_dir)
    top = (place.dataset_info, place.data)
    return [usual] if usual == top or not top[0].exists() or top[0].resolve() == usual[0].resolve() else [usual, top]


def registry_named(place: Workspace, path: str) -> tuple[Path, Path]:
    """One of the registries by its shown path, "" for the usual one. Raises DatasetError, StudioError."""
    known = registries(place)
    for origin, base in known:
        if path in ("", place.shown(origin)):
            return registry_path(place, origin), base
    names = ", ".join(place.shown(origin) for origin, _ in known)
    raise DatasetError(f"{path[:80]!r} is no registry of this workspace; there is {names}.")


def version_of(place: Workspace, dataset_dir: str = "data") -> str:
    """A mark that changes with either registry, and with what lies in the folder of the data."""
    found = hashlib.sha256()
    with contextlib.suppress(OSError):
        found.update(str(place.path(dataset_dir).stat().st_mtime_ns).encode())
    for path in {place.dataset_info, place.path(dataset_dir) / place.dataset_info.name}:
        found.update(path.read_bytes() if path.is_file() else b"\0")
    return found.hexdigest()


def _row(name: str, catalog: Catalog, place: Workspace, explained: Iterator[int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name, "file": "", "format": "", "kind": "", "size_bytes": None, "rows": None, "encoding": "",
        "stages": [], "why_not": {}, "health": "broken", "complaint": "", "hub": False,
        "registry": place.shown(catalog.origin(name)), "line": catalog.line(name),
    }  # fmt: skip
    try:
        entry = catalog[name]
    except DatasetError as error:
        why = str(error)
        return row | {"complaint": why, "why_not": dict.fromkeys(STAGES, why)}
    kind = kind_of(entry)
    against = {stage: why_not(kind, STAGES[stage].wants, stage) for stage in STAGES}
    row |= {
        "format": entry.formatting,
        "kind": kind,
        "encoding": entry.encoding,
        "stages": [stage for stage, why in against.items() if not why],
        "why_not": {stage: why for stage, why in against.items() if why},
    }
    if entry.hub is not None:
        return row | {"file": entry.hub.repo, "hub": True, "health": "ok"}
    return row | _files(entry, place, explained)


def _files(entry: DatasetEntry, place: Workspace, explained: Iterator[int]) -> dict[str, Any]:
    """Where the rows lie, how much that is, and whether it is there."""
    shown = ", ".join(_shown(entry, asked, place) for asked in entry.file_name[:3])
    more = len(entry.file_name) - 3
    row: dict[str, Any] = {"file": shown + (f" + {more}" if more > 0 else "")}
    try:
        sizes = [size for asked in entry.file_name for size in _sizes(entry.base, asked)]
    except (StudioError, OSError) as error:
        return row | {"health": "missing", "complaint": _missing(entry, str(error), explained)}
    if not sizes:
        return row | {"health": "missing", "complaint": _missing(entry, "There is no such file.", explained)}
    found = {"health": "ok", "size_bytes": sum(sizes)}
    if not found["size_bytes"]:
        return row | found | {"health": "broken", "complaint": f"{shown} is empty (0 bytes)."}
    try:
        index = _whole_shards(entry)
    except (DatasetError, OSError) as error:
        return row | found | {"health": "broken", "complaint": str(error)}
    if index is not None:
        found |= {"size_bytes": sum(shard.packed for shard in index.shards)}
        return row | found | {"rows": entry.num_samples or index.rows}
    return row | found | {"rows": _known_rows(entry, place, len(sizes))}


def _whole_shards(entry: DatasetEntry) -> Index | None:
    """The index of a dataset that is one folder of shards. Raises DatasetError where the folder is not as it says."""
    index = index_of(resolve(entry.base, entry.file_name[0])) if len(entry.file_name) == 1 else None
    if index is not None:
        shard_files(index)
    return index


def _shown(entry: DatasetEntry, asked: str, place: Workspace) -> str:
    return place.shown(Path(os.path.abspath(entry.base / asked)))


def _sizes(base: Path, asked: str) -> list[int]:
    """Bytes of each file that one text of file_name means. Raises OSError or StudioError when there is none."""
    path = resolve(base, asked)
    if path.is_file():
        return [path.stat().st_size]
    if path.is_dir():
        inside = (Path(here) / name for here, _, names in os.walk(path) for name in names if not name.startswith("."))
        return [each.stat().st_size for each in itertools.islice(inside, _MOST_FILES)]
    if glob.has_magic(asked):
        # Path.glob would take hidden files in.
        named = glob.iglob(asked, root_dir=base, recursive=True)  # noqa: PTH207
        files = (resolve(base, name) for name in itertools.islice(named, _MOST_FILES))
        return [each.stat().st_size for each in files if each.is_file()]
    raise FileNotFoundError(f"{asked}: there is no such file.")


def _missing(entry: DatasetEntry, plain: str, explained: Iterator[int]) -> str:
    """Why the files are not there; the whole sentence, with the nearest spelling, for the first ones only."""
    if next(explained) < _EXPLAINED:
        try:
            entry.files()
        except StudioError as error:
            return str(error)
    return plain


def _known_rows(entry: DatasetEntry, place: Workspace, files: int) -> int | None:
    """The number of rows where it has been counted before."""
    if entry.num_samples or files != 1 or len(entry.file_name) != 1:
        return entry.num_samples or None
    path = resolve(entry.base, entry.file_name[0])
    if not path.is_file():
        return None
    return known_count(path, place.cache, sample_by=entry.sample_by, encoding=entry.encoding)
