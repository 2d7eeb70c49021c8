"""Sharding: rows of any registered dataset or file as `.jsonl.zst` shards of one size, with an index."""

from __future__ import annotations

import importlib
from typing import Any

from studio.arguments.base import Arguments, Text, arg
from studio.works.base import WORKS, SourceOfRows, Work, WorkSet
from studio.workspace import Workspace


class ShardOutput(Arguments):
    """Where the shards go, how large they are, and in which order their rows stand."""

    output_dir: Text = arg("", level="basic")
    """Folder for the shards and their index.json."""

    overwrite_output_dir: bool = arg(False)
    """Move a folder that is already there aside (it gets a date) and begin anew."""

    name: Text = arg("", level="basic")
    """Name under which the folder is registered in dataset_info.json as one dataset; unset: it is not registered."""

    shard_bytes: int = arg(256 << 20, level="basic", ge=1, le=1 << 40)
    """Bytes of rows in a shard, before packing; a shard ends with the row that reaches it."""

    shard_rows: int | None = arg(None, level="basic", ge=1, le=10**12)
    """Most rows of a shard; unset: only shard_bytes ends one."""

    zstd_level: int = arg(3, ge=1, le=22)
    """How hard zstd packs: 3 is fast, 19 about a quarter smaller and twenty times slower; all unpack as fast."""

    zstd_threads: int = arg(0, ge=0, le=1024)
    """Threads that pack beside the one that reads; 0 packs in that one."""

    shuffle: bool = arg(False, level="basic")
    """Write the rows in a random order, each order as likely; needs room on the disk for the rows once more."""

    seed: int = arg(42, ge=0, le=2**32 - 1)
    """Start of the random order; the same seed gives the same shards."""

    skip_bad_rows: bool = arg(False)
    """Leave out rows that cannot be read, up to max_bad_rows, and list them; else stop at them."""

    max_bad_rows: float = arg(0.01, ge=0, le=10**12)
    """Most rows that skip_bad_rows may leave out: below 1 a share, from 1 on a number of rows."""


class ShardSet(WorkSet):
    """The arguments of `studio data shard`."""

    source: SourceOfRows
    output: ShardOutput

    def complaints(self) -> list[str]:
        """Rows, and a place for the shards."""
        told = []
        if not (self.source.dataset or self.source.train_file):
            told.append("--dataset must name at least one dataset of dataset_info.json, or --train_file a file; both "
                        "are empty.")  # fmt: skip
        if not self.output.output_dir:
            told.append("--output_dir must name the folder of the shards, such as data/my_shards; it is empty.")
        if self.output.skip_bad_rows and not self.output.max_bad_rows:
            told.append("--skip_bad_rows True: --max_bad_rows 0 allows none. Raise it, or leave skip_bad_rows out.")
        return told


def _facts(asked: Any, place: Workspace) -> dict[str, Any]:
    """How many files would be read and their bytes (`studio.data.sharding.facts`)."""
    found: dict[str, Any] = importlib.import_module("studio.data.sharding").facts(asked, place)
    return found


WORKS.add(
    "shard",
    Work(
        name="shard",
        words=("data", "shard"),
        asked=ShardSet,
        kind="data",
        does="studio.data.sharding",
        about="Pack rows into .jsonl.zst shards of one size, with an index.\n\nThe folder is one dataset: its rows are "
        "counted without reading them, and training reads them as a stream (--streaming True).",
        output="output_dir",
        facts=_facts,
    ),
)
