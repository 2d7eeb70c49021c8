"""The index of a folder of shards, where somebody wrote what cannot be meant."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from studio.data import source
from studio.data.hashes import file_hash
from studio.data.shard_writer import ShardWriter
from studio.data.shards import INDEX, index_of
from studio.errors import DatasetError
from studio.workspace import Workspace


def write(folder: Path, first: int) -> Path:
    """A folder with one shard of seven rows, which are numbers of one digit."""
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, 1 << 20) as writer:
        for number in range(first, first + 7):
            writer.add(b'{"text": "%d"}\n' % number)
    writer.write_index({})
    found = index_of(folder)
    assert found is not None and found.rows == 7
    return folder


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Such a folder."""
    return write(tmp_path, 0)


LISTED = ["shard-00000.jsonl.zst", 7, 5, 5, "x"]


@pytest.mark.parametrize(
    "shown",
    [
        [LISTED, LISTED],
        *([[*LISTED[:1], rows, *LISTED[2:]]] for rows in (-7, 7.0, True, "7", None, float("inf"), 10**30)),
        *([[name, *LISTED[1:]]] for name in ("../index.json", "/etc/passwd", "", "..", ".", None)),
        [[*LISTED[:4], 5]],
        [LISTED[:4]],
        [[*LISTED, "0", "0"]],
        [[*LISTED, 0]],
        {"shard-00000.jsonl.zst": LISTED},
    ],
    ids=lambda shown: str(shown)[:40],
)
def test_an_index_that_cannot_be_meant_is_told_before_a_shard_is_opened(shards: Path, shown: Any):
    (shards / INDEX).write_text(json.dumps({"studio_shards": 1, "shards": shown}))
    with pytest.raises(DatasetError, match=r"index.json: the index of the shards cannot be read"):
        index_of(shards)


def test_an_index_that_is_nested_without_end_is_told(shards: Path):
    (shards / INDEX).write_text('{"studio_shards": 1, "shards": ' + "[" * 200_000)
    with pytest.raises(DatasetError, match=r"index.json: the index of the shards cannot be read"):
        index_of(shards)


def test_a_folder_or_a_pipe_named_as_the_index_is_none(workspace: Workspace):
    folder, pipe = workspace.data / "folder", workspace.data / "pipe"
    (folder / INDEX).mkdir(parents=True)
    pipe.mkdir()
    os.mkfifo(pipe / INDEX)
    assert index_of(folder) is None and index_of(pipe) is None


def test_a_shard_in_the_place_of_another_is_found_though_size_rows_and_time_are_the_same(workspace: Workspace):
    here, other = (write(workspace.data / name, first) for name, first in (("here", 0), ("other", 3)))
    path, stranger = (folder / LISTED[0] for folder in (here, other))
    known = path.stat()
    assert stranger.stat().st_size == known.st_size
    true = file_hash(stranger, workspace.cache)
    shutil.copyfile(stranger, path)
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    with pytest.raises(DatasetError, match=r"shard-00000.jsonl.zst must have the zstd checksum \w{8} as index.json"):
        list(source.rows(path))
    assert file_hash(path, workspace.cache) == true, "nor is the hash of the index taken for its own"


def test_an_index_without_checksums_is_read_as_before(shards: Path):
    index = json.loads((shards / INDEX).read_text())
    index |= {"studio_shards": 1, "shards": [line[:5] for line in index["shards"]]}
    (shards / INDEX).write_text(json.dumps(index))
    assert len(list(source.rows(shards / LISTED[0]))) == 7
