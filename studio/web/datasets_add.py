"""New datasets for the page: files that come by upload or lie in data/ already, what they hold, their entries."""

from __future__ import annotations

import os
import re
import secrets
import time
import unicodedata
from collections.abc import AsyncIterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import anyio.to_thread

from studio.data.catalog import read_catalog
from studio.data.compressed import PACKINGS
from studio.data.converted import USUAL
from studio.data.edit import usable_catalog
from studio.data.encoding import size_words
from studio.data.entry import DatasetEntry, entry_of
from studio.data.example import FORMATS, TAGS, Example, to_example
from studio.data.inspect import visible
from studio.data.readers import ENDINGS, is_data
from studio.data.reading import dataset_rows
from studio.data.register import place_of, recognised, register
from studio.data.report import alike
from studio.data.shapes import shape_of
from studio.errors import DatasetError, DiskFullError, RowError, StudioError
from studio.web.datasets_rows import data_file
from studio.web.site import Site
from studio.workspace import Workspace

MOST_BYTES = 512 << 20
_PART, _PIECE = ".upload-", 1 << 20
_LEFT_OVER_S = 24 * 3600
# A name of a file may have 255 bytes; there must be room for a number and what backup programs add.
_MOST_NAME = 180
_MOST_FILES, _TRIED = 2_000, 200
# Beside data stands what tells about it, or is hidden.
_ABOUT = (".", "readme", "licens", "licenc", "notice", "dataset_info", "dataset_dict", "state.json")

# Names under which the studio would not look for rows: a registry, the record of a run.
_DECIDING = ("dataset_info.json", "run.json")


class TooLarge(StudioError):
    """More bytes than an upload may have."""


class WrongEnding(StudioError):
    """A file that no reader takes."""


def safe_name(asked: str) -> str:
    """The name under which an upload is kept: its last part, without what a shell, a page or a path could misread.

    Raises WrongEnding for an ending that is not one of a data file.
    """
    name = unicodedata.normalize("NFC", asked).replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[^\w.()+-]+", "_", name).rstrip("._- ")
    ending = ending_of(name)
    if name.lower() in _DECIDING:
        raise WrongEnding(f"an upload must have another name than {name}: a file of this name decides something.")
    if not ending:
        packed = ", ".join(PACKINGS)
        raise WrongEnding(
            f"an upload must end in one of {', '.join(ENDINGS)} (text may be packed: {packed} behind it); "
            f"{visible(asked[-80:])!r} does not. Convert the file, or correct its name."
        )
    stem = name[: -len(ending)].strip("._- ") or "data"
    while len((stem + ending).encode()) > _MOST_NAME:
        stem = stem[:-1]
    return stem + ending


def ending_of(name: str) -> str:
    """The ending of a data file with its packing, such as .jsonl.gz; "" for another."""
    lower = name.lower()
    packing = next((each for each in PACKINGS if lower.endswith(each)), "")
    inner = lower.removesuffix(packing) if packing else lower
    ending = next((each for each in ENDINGS if inner.endswith(each)), "")
    return name[-len(ending + packing) :] if ending and is_data(Path("x" + ending + packing)) else ""


async def receive(place: Workspace, asked: str, expected: int | None, body: AsyncIterator[bytes]) -> Path:
    """Write an upload into data/ under a name that was free; what ends early leaves nothing.

    Raises WrongEnding, TooLarge, DiskFullError, DatasetError.
    """
    name = safe_name(asked)
    if expected is not None and expected > MOST_BYTES:
        raise _too_large(expected)
    place.data.mkdir(exist_ok=True)
    _sweep(place.data)
    part = place.data / f"{_PART}{secrets.token_hex(8)}"
    try:
        size = await _write(part, body)
        if expected is not None and size != expected:
            raise DatasetError(f"{name}: {size:,} of {expected:,} bytes came. Upload it again.")
        if not size:
            raise DatasetError(f"{name} is empty (0 bytes); nothing was kept.")
        return await anyio.to_thread.run_sync(_settle, part, place.data, name)
    except OSError as error:
        raise DiskFullError(f"{name} could not be kept in data/: {error.strerror}. Free some space.") from None
    finally:
        part.unlink(missing_ok=True)


async def _write(part: Path, body: AsyncIterator[bytes]) -> int:
    """All bytes of the body into a file; gives how many."""
    size, held = 0, bytearray()
    with part.open("xb") as out:
        async for piece in body:
            size += len(piece)
            if size > MOST_BYTES:
                raise _too_large(size)
            held += piece
            if len(held) >= _PIECE:
                await anyio.to_thread.run_sync(out.write, bytes(held))
                held.clear()
        out.write(held)
        out.flush()
        await anyio.to_thread.run_sync(os.fsync, out.fileno())
    return size


def _settle(part: Path, folder: Path, name: str) -> Path:
    """Give a whole file its name, or the next one that is free; never in place of another file."""
    ending = ending_of(name)
    for number in range(1, 10_000):
        more = f"-{number}" if number > 1 else ""
        path = folder / f"{name[: -len(ending)]}{more}{ending}"
        try:
            os.link(part, path)
        except FileExistsError:
            continue
        return path
    raise DatasetError(f"data/ has ten thousand files named {name}. Rename the upload.")


def _sweep(folder: Path) -> None:
    """Remove what uploads left behind when the machine went down."""
    for path in folder.glob(f"{_PART}*"):
        if time.time() - path.stat().st_mtime > _LEFT_OVER_S:
            path.unlink(missing_ok=True)


def _too_large(size: int) -> TooLarge:
    return TooLarge(
        f"an upload may have {size_words(MOST_BYTES)}; this one has {size_words(size)} or more. "
        "Copy the file into data/ by hand: it is listed here then."
    )


def free_files(place: Workspace) -> list[dict[str, Any]]:
    """The data files below data/ that no entry names, the newest first."""
    catalog, _ = usable_catalog(place)
    named: set[Path] = set()
    for name in catalog.names:
        try:
            entry = catalog[name]
        except DatasetError:
            continue
        named |= {Path(os.path.abspath(entry.base / each)) for each in entry.file_name}
    found = []
    for path in islice(_below(place.data), _MOST_FILES):
        if not (named & {path, *path.parents}):
            facts = path.stat()
            found.append({"path": place.shown(path), "size_bytes": facts.st_size, "modified": facts.st_mtime})
    return sorted(found, key=lambda each: -float(each["modified"]))


def _below(folder: Path) -> Any:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.lower().startswith(_ABOUT))
        for name in sorted(names):
            path = Path(here) / name
            if not name.lower().startswith(_ABOUT) and is_data(path) and path.is_file():
                yield path


def look(site: Site, path: str, encoding: str) -> dict[str, Any]:
    """What a file seems to hold: its entry with the reason, its columns, every way to read it, a free name.

    What cannot be told alone comes as `error`, and the person chooses.
    """
    place = site.workspace
    file = data_file(site, path)
    found: dict[str, Any] = {
        "path": place.shown(file), "name": _free_name(file, place), "entry": None, "why": "", "error": "",
        "encoding": encoding, "looks_like": "", "encodings": list(USUAL), "columns": [], "formats": [],
    }  # fmt: skip
    try:
        found["columns"], first = _columns(file, encoding, place)
    except StudioError as error:
        said = re.search(r'"encoding": "([\w-]+)"', str(error))
        return found | {"error": str(error), "looks_like": said[1] if said else ""}
    found["formats"] = _ways(file, first)
    try:
        raw, why = recognised(path, place, encoding=encoding)
        return found | {"entry": raw, "why": why}
    except StudioError as error:
        return found | {"error": str(error)}


def _columns(file: Path, encoding: str, place: Workspace) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """The columns of the first rows with what they hold, and these rows."""
    raw = {"file_name": str(file), **({"encoding": encoding} if encoding else {})}
    entry = entry_of(file.name, raw, file, place.root)
    first = [row.value for row in islice(dataset_rows(entry, entry.files()), _TRIED)]
    good = [row for row in first if not isinstance(row, RowError)]
    if not good:
        raise next(row for row in first if isinstance(row, RowError))
    names = list(dict.fromkeys(str(name) for row in good for name in row))[:200]
    columns = [{"name": name, "holds": shape_of([row.get(name) for row in good], name)} for name in names]
    return columns, good


def _ways(file: Path, first: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every format: the columns it reads, and how many of the first rows it reads as they are."""
    found = []
    for name in FORMATS:
        each = FORMATS[name]
        entry = entry_of(file.name, {"file_name": str(file), "formatting": name}, file, file.parent)
        found.append(
            {
                "name": name,
                "columns": dict(each.columns),
                "meanings": list(each.meanings),
                "tags": {**TAGS, **each.tags} if name in ("sharegpt", "openai") else {},
                "ranking": {"chosen", "rejected"} <= set(each.meanings),
                "reads": sum(isinstance(_tried(row, entry), Example) for row in first[:20]),
            }
        )
    return found


def _tried(row: dict[str, Any] | RowError, entry: DatasetEntry) -> Example | RowError:
    if isinstance(row, RowError):
        return row
    try:
        return to_example(dict(row), entry)
    except RowError as error:
        return error


def reads(entry: DatasetEntry) -> dict[str, Any]:
    """How many of the first rows an entry reads, and why not the others. Raises DatasetError."""
    tried = [_tried(row.value, entry) for row in islice(dataset_rows(entry, entry.files()), _TRIED)]
    wrong: dict[str, int] = {}
    for each in tried:
        if isinstance(each, RowError):
            why = alike(str(each))
            wrong[why] = wrong.get(why, 0) + 1
    reasons = [{"why": visible(why), "count": count} for why, count in wrong.items()][:5]
    return {"tried": len(tried), "read": len(tried) - sum(wrong.values()), "reasons": reasons}


def add(site: Site, name: str, path: str, encoding: str, mapping: Mapping[str, Any]) -> None:
    """Write the entry of a file into the registry. Raises DatasetError, WorkspaceError."""
    place = site.workspace
    file = data_file(site, path)
    where = place_of(str(file), place, encoding=encoding)
    register(name.strip(), {**where, **{key: value for key, value in mapping.items() if key not in where}}, place)


def _free_name(file: Path, place: Workspace) -> str:
    """The name of the file without its endings, with a number where it is taken."""
    stem = re.sub(r"[,\s]+", "_", file.name.partition(".")[0]).strip("-_ ")[:100] or "data"
    try:
        taken = read_catalog(place).names
    except DatasetError:
        return stem
    return next(name for name in (stem, *(f"{stem}_{n}" for n in range(2, 10_000))) if name not in taken)
