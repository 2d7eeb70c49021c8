"""How many bytes a dataset has when it is unpacked: what shares of a mix are measured in."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.data.entry import DatasetEntry
from studio.data.hashes import Stamp, must_be_unchanged
from studio.data.shards import listed
from studio.data.textfile import TextFile
from studio.workspace import write_json

_PIECE = 1 << 20


def size_of(entry: DatasetEntry, cache: Path, progress: Callable[[float], None] | None = None) -> int:
    """Bytes of all files of a dataset: those of plain files on the disk, of packed ones and of parquet unpacked.

    A packed file is read through once; its size is kept until its stamp changes. `progress` hears the share read of
    each such file, 0 to 1. Raises DatasetError.
    """
    return sum(_size(path, cache, progress) for path in entry.files())


def quick_size(files: Sequence[Path], cache: Path) -> tuple[int, bool]:
    """Bytes as `size_of` counts them where they are known without reading, else on the disk; and whether all are."""
    found = [(_known(path, cache), path.stat().st_size) for path in files]
    return sum(on_disk if known is None else known for known, on_disk in found), all(
        known is not None for known, _ in found
    )


def _size(path: Path, cache: Path, progress: Callable[[float], None] | None) -> int:
    known = _known(path, cache)
    if known is not None:
        return known
    before = Stamp.of(path)
    total = 0
    with TextFile(path, "", progress).open() as file:
        while piece := file.read(_PIECE):
            total += len(piece)
    must_be_unchanged(path, before)
    if time.time_ns() - before.mtime_ns > 1_000_000_000:  # two edits in a moment may leave one stamp
        write_json(_kept(path, cache), {"stamp": asdict(before), "bytes": total})
    return total


def _known(path: Path, cache: Path) -> int | None:
    """The size where no byte of the rows must be read for it."""
    if path.suffix.lower() == ".parquet":
        return _of_parquet(path)
    if shard := listed(path):
        return shard.unpacked
    if not TextFile(path).packed:
        return path.stat().st_size
    try:
        kept: Any = json.loads(_kept(path, cache).read_text(encoding="utf-8"))
        return int(kept["bytes"]) if kept["stamp"] == asdict(Stamp.of(path)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_parquet(path: Path) -> int:
    """The bytes of all columns before compression, as its end tells; those on the disk where it tells nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        facts = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return path.stat().st_size
    return sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))


def _kept(path: Path, cache: Path) -> Path:
    return cache / "sizes" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:32]}.json"
