"""A file of shares is read as it is, and what is unclear in it is refused by its key."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.data.asked import mix_of
from studio.data.policy import entries_of, read_policy, sizes_of
from studio.data.sizes import quick_size, size_of
from studio.errors import DatasetError, StudioError
from studio.recipe import make_recipe
from studio.workspace import Workspace


def write(place: Workspace, content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    (place.root / "shares.json").write_text(text, encoding="utf-8")
    return "shares.json"


def rows(count: int) -> str:
    return "".join(json.dumps({"text": f"Line {number:04d} of it."}) + "\n" for number in range(count))


def test_the_passes_follow_from_sizes_in_bytes(workspace: Workspace):
    """Of 100 and 300 bytes, half of all 400 bytes is two passes over the one and two thirds of one over the other."""
    policy = read_policy(write(workspace, {"a": 0.5, "b": 0.5}), workspace)
    assert policy.passes([100, 300]) == pytest.approx([2, 2 / 3])
    # A row of b is three times as long, so a third as many rows make as many bytes.
    assert policy.probabilities([100, 300], [10, 30]) == pytest.approx([0.75, 0.25])


def test_sources_are_datasets_files_folders_and_patterns(workspace: Workspace):
    folder = workspace.data / "shards"
    folder.mkdir()
    for name in ("x-1.jsonl", "x-2.jsonl", "y-1.jsonl"):
        (folder / name).write_text(rows(10))
    (workspace.root / "one.jsonl").write_text(rows(10))
    policy = read_policy(write(workspace, {"tiny_pt": 1.5, "data/shards/x-*.jsonl": 0.5, "one.jsonl": 0.1}), workspace)
    entries = entries_of(policy, workspace, "data")
    assert [entry.name for entry in entries] == ["tiny_pt", "data/shards/x-*.jsonl", "one.jsonl"]
    sizes = sizes_of(entries, policy, workspace.cache)
    assert sizes == [(workspace.data / "tiny_pt.jsonl").stat().st_size, 2 * len(rows(10)), len(rows(10))]
    asked = make_recipe({"stage": "pt", "model_name_or_path": "m", "output_dir": "o",
                         "sample_policy_file": "shares.json"})[0]  # fmt: skip
    mix, hashes, notes = mix_of(asked.data, entries, workspace)
    passes = [share * sum(sizes) / size for share, size in zip((1.5, 0.5, 0.1), sizes, strict=True)]
    assert mix.passes == pytest.approx(passes)
    assert mix.asked == pytest.approx((1.5 / 2.1, 0.5 / 2.1, 0.1 / 2.1))
    assert list(hashes) == ["shares.json"] and "2.1 times" in notes[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"tiny_pt": -0.5}, r'"tiny_pt": the share must be a number above 0; it is -0.5'),
        ('{"tiny_pt": NaN}', r'"tiny_pt": .* it is NaN'),
        ('{"tiny_pt": Infinity}', r'"tiny_pt": .* it is Infinity'),
        ('{"tiny_pt": [NaN]}', r'"tiny_pt": .* it is \["NaN"\]'),
        ('{"tiny_pt": 1e999}', r'"tiny_pt": .* it is inf'),
        (f'{{"tiny_pt": 1{"0" * 400}}}', r'"tiny_pt": the share must be at most 1,000,000 times all bytes; it is 1000'),
        (f'{{"tiny_pt": 1{"0" * 5_000}}}', r'a share has thousands of digits'),
        ({"tiny_pt": 0}, r'"tiny_pt": the share is 0\. Take the line out'),
        ({"tiny_pt": "0.5"}, r'"tiny_pt": .* such as 0\.5; it is "0\.5"'),
        ({"tiny_pt": True}, r'"tiny_pt": .* it is true'),
        ('{"tiny_pt": 0.5, "tiny_pt": 0.7}', r'"tiny_pt": stands twice'),
        ([], "must be an object"),
        ({}, "must be an object"),
        ('{"tiny_pt": 0.5', "line 1, column"),
        ({"tiny_pd": 0.5}, r'"tiny_pd": is neither .*tiny_pt'),
        ({"data/none-*.jsonl": 0.5}, r'"data/none-\*\.jsonl": '),
        ({"tiny_pt": 0.5, "data/tiny_pt.jsonl": 0.5}, r'"data/tiny_pt.jsonl": it reads data/tiny_pt.jsonl'),
        ({"../../etc/\u0000": 0.5}, r"a path must be one non-empty line"),
    ],
)  # fmt: skip
def test_what_is_unclear_is_told_with_its_key(workspace: Workspace, content: Any, why: str):
    with pytest.raises(StudioError, match=why) as told:
        entries_of(read_policy(write(workspace, content), workspace), workspace, "data")
    assert "--sample_policy_file shares.json" in str(told.value)


def test_a_file_that_is_not_there_or_no_text_is_told(workspace: Workspace):
    with pytest.raises(DatasetError, match="there is no such file"):
        read_policy("none.json", workspace)
    (workspace.root / "shares.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_policy("shares.json", workspace)


def test_a_source_that_is_already_sampled_is_refused(workspace: Workspace):
    known = json.loads(workspace.dataset_info.read_text())
    known["tiny_pt"]["num_samples"] = 5
    workspace.dataset_info.write_text(json.dumps(known))
    with pytest.raises(DatasetError, match=r'"tiny_pt": .*num_samples 5'):
        entries_of(read_policy(write(workspace, {"tiny_pt": 1}), workspace), workspace, "data")


def test_a_packed_file_counts_unpacked_and_is_read_once(workspace: Workspace):
    path = workspace.data / "packed.jsonl.gz"
    path.write_bytes(gzip.compress(rows(500).encode()))
    policy = read_policy(write(workspace, {"data/packed.jsonl.gz": 1}), workspace)
    (entry,) = entries_of(policy, workspace, "data")
    assert quick_size([path], workspace.cache) == (path.stat().st_size, False)
    old = path.stat().st_mtime - 100
    os.utime(path, (old, old))
    assert size_of(entry, workspace.cache) == len(rows(500))
    assert quick_size([path], workspace.cache) == (len(rows(500)), True)


def test_parquet_counts_as_its_columns_before_compression(workspace: Workspace):
    path = workspace.data / "columns.parquet"
    pq.write_table(pa.table({"text": ["the same words again"] * 5_000}), path, use_dictionary=False, compression="zstd")
    size, exact = quick_size([path], workspace.cache)
    assert exact and 100_000 < size < 140_000 and path.stat().st_size < 20_000
