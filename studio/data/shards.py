"""A folder of shards: `.jsonl.zst` files in order and `index.json`, which lists them and is written last.

The index begins with the key `studio_shards` and says of each shard its rows, its bytes packed and unpacked, its
SHA-256 and the checksum that its zstd frame ends with, so that nothing must be read to know how many rows there are,
and four bytes tell that a shard is another one than it was.

    {"studio_shards": 2, "rows": …, "packed": …, "unpacked": …, "shuffled": null or {"seed": …},
     "entry": how the rows are read, as in dataset_info.json, "columns": names of the first row's columns,
     "sources": [{"path", "size", "sha256"}],
     "shards": [[name, rows, packed, unpacked, sha256, checksum], …]}

A folder is held against its index each time it is opened: every shard there, of the right size. Before a shard is read
its checksum is compared, and one that was written after the index (a copy may be) is hashed; what is damaged inside is
found by the checksum while it is read, and its rows are counted. Lists of schema 1 have no checksums.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from studio.errors import DatasetError, counted

INDEX = "index.json"
KEY, SCHEMA = "studio_shards", 2
_HEAD = 64
# Bytes at the end of a zstd frame.
CHECKSUM = 4


class Shard(NamedTuple):
    """One line of the index: bytes on the disk are `packed`, those of the rows `unpacked`.

    `checksum` is that of the rows as the zstd frame ends with it, in hex; "" where the index has none.
    """

    name: str
    rows: int
    packed: int
    unpacked: int
    sha256: str
    checksum: str = ""


@dataclass(frozen=True)
class Index:
    """What `index.json` of a folder says. `facts` is all of it but the shards; `written_ns` when that was."""

    folder: Path
    shards: tuple[Shard, ...]
    facts: Mapping[str, Any]
    sha256: str
    written_ns: int

    @functools.cached_property
    def by_name(self) -> dict[str, Shard]:
        """The shards by the names of their files."""
        return {shard.name: shard for shard in self.shards}

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)


def index_of(folder: Path) -> Index | None:
    """The index of a folder of shards; None for any other folder. Raises DatasetError for one that is not whole."""
    path = folder / INDEX
    try:
        known = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(known.st_mode):
        return None  # a folder of that name holds no list, and a pipe would be waited for
    return _read(path, known.st_size, known.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _read(path: Path, size: int, written_ns: int) -> Index | None:
    """The index as it was when it had that size and time."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if f'"{KEY}"'.encode() not in head:
            return None  # rows of a dataset may be in a file of this name
        data = head + file.read()
    try:
        facts = json.loads(data)
        schema = _whole(facts[KEY])
        shards = () if schema > SCHEMA else tuple(_shard(each) for each in facts.pop("shards"))
        if len({shard.name for shard in shards}) < len(shards):
            raise ValueError(path)  # rows of a shard that is listed twice would be seen twice
    except (ValueError, LookupError, TypeError, RecursionError):
        raise DatasetError(
            f"{path}: the index of the shards cannot be read; it is cut or was edited ({size:,} bytes). Fetch it "
            "again, or make the shards anew."
        ) from None
    if schema > SCHEMA:
        raise DatasetError(f"{path} was written by a newer studio (schema {schema}; this one reads {SCHEMA}). "
                           "Update the studio.")  # fmt: skip
    return Index(path.parent, shards, facts, hashlib.sha256(data).hexdigest(), written_ns)


def _shard(raw: Any) -> Shard:
    name, rows, packed, unpacked, sha256, *more = raw
    (checksum,) = more or [""]
    if not all(isinstance(each, str) for each in (name, sha256, checksum)):
        raise TypeError(raw)
    if Path(name).name != name or name in ("", ".."):
        raise ValueError(name)  # a shard lies beside its index
    return Shard(name, _whole(rows), _whole(packed), _whole(unpacked), sha256, checksum)


def _whole(value: Any) -> int:
    """A count as the index may have it. Raises ValueError."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value


def shard_files(index: Index) -> tuple[tuple[Path, ...], list[str]]:
    """The shards of a folder in order, and the names of other files there, which are not read.

    Raises DatasetError for a shard that is missing, or has not the size that the index says.
    """
    with os.scandir(index.folder) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    missing = [shard.name for shard in index.shards if shard.name not in sizes]
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise DatasetError(
            f"{index.folder / missing[0]}{more} must be there: {INDEX} lists {counted(len(index.shards), 'shard')} "
            f"with {counted(index.rows, 'row')}, and there is no such file. Fetch it again, or make the shards anew."
        )
    for shard in index.shards:
        if sizes[shard.name] != shard.packed:
            raise _changed(index.folder / shard.name, f"{shard.packed:,} bytes", f"{sizes[shard.name]:,}")
    others = sorted(name for name in sizes if name != INDEX and name not in index.by_name)
    return tuple(index.folder / shard.name for shard in index.shards), others


def listed(path: Path) -> Shard | None:
    """What an index beside a file says of it; None where there is none, or it does not list it. Raises DatasetError."""
    index = index_of(path.parent)
    return index.by_name.get(path.name) if index is not None else None


def known_sha256(path: Path) -> str:
    """The hash that the index says of a shard; "" where there is none, or the shard was written after the index or is
    another one.
    """
    index = index_of(path.parent)
    shard = index.by_name.get(path.name) if index is not None else None
    known = path.stat()
    if index is None or shard is None or known.st_size != shard.packed or known.st_mtime_ns > index.written_ns:
        return ""
    return shard.sha256 if shard.checksum in ("", _checksum(path)) else ""


def must_be_as_listed(path: Path) -> Shard | None:
    """What the index says of a file that is going to be read; None where none lists it.

    Raises DatasetError for a shard of another size or checksum, or one written after its index that holds something
    else.
    """
    shard = listed(path)
    if shard is None:
        return None
    known = path.stat()
    if known.st_size != shard.packed:
        raise _changed(path, f"{shard.packed:,} bytes", f"{known.st_size:,}")
    if shard.checksum and (ending := _checksum(path)) != shard.checksum:
        raise _changed(path, f"the zstd checksum {shard.checksum}", ending)
    index = index_of(path.parent)
    if index is not None and known.st_mtime_ns > index.written_ns:
        found = _sha256(path, known.st_size, known.st_mtime_ns)
        if found != shard.sha256:
            raise _changed(path, f"the SHA-256 {shard.sha256[:16]}…", f"{found[:16]}…")
    return shard


def _checksum(path: Path) -> str:
    """What a zstd file with a checksum ends with: 32 bits of the XXH64 of all that is in it (RFC 8878), in hex."""
    with path.open("rb") as file:
        file.seek(-min(CHECKSUM, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read().hex()


@functools.lru_cache(maxsize=65_536)
def _sha256(path: Path, _size: int, _written_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def must_have_given(path: Path, shard: Shard | None, rows: int) -> None:
    """Raise DatasetError where a shard gave another number of rows than its index says."""
    if shard is not None and rows != shard.rows:
        raise _changed(path, counted(shard.rows, "row"), f"{rows:,}")


def _changed(path: Path, expected: str, found: str) -> DatasetError:
    return DatasetError(
        f"{path} must have {expected} as {INDEX} beside it says, but it has {found}: the shard is cut or was changed. "
        "Fetch it again, or make the shards anew."
    )
