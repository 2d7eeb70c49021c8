"""The index of a folder of shards, where somebody wrote what cannot be meant."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from studio.data.shard_writer import ShardWriter
from studio.data.shards import INDEX, index_of
from studio.errors import DatasetError
from studio.workspace import Workspace


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with one shard of seven rows."""
    with ShardWriter(tmp_path, 1 << 20) as writer:
        for number in range(7):
            writer.add(b'{"text": "%d"}\n' % number)
    writer.write_index({})
    found = index_of(tmp_path)
    assert found is not None and found.rows == 7
    return tmp_path


LISTED = ["shard-00000.jsonl.zst", 7, 5, 5, "x"]


@pytest.mark.parametrize(
    "shown",
    [
        [LISTED, LISTED],
        *([[*LISTED[:1], rows, *LISTED[2:]]] for rows in (-7, 7.0, True, "7", None, float("inf"), 10**30)),
        *([[name, *LISTED[1:]]] for name in ("../index.json", "/etc/passwd", "", "..", ".", None)),
        [[*LISTED[:4], 5]],
        [LISTED[:4]],
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
