"""Shards: every row once, in order or in another one, listed by an index that finds what is amiss."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from studio.data import sharding, source
from studio.data.catalog import read_catalog
from studio.data.hashes import file_hash
from studio.data.shards import INDEX, index_of, shard_files
from studio.errors import DatasetError, StudioError
from studio.recipe import make_set
from studio.works.shard import ShardSet
from studio.workspace import Workspace


class Ear:
    """Hears everything."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float, str]] = []

    def say(self, sentence: str) -> None:
        self.heard.append((0, 0, sentence))

    def tell(self, done: float, total: float, text: str) -> None:
        self.heard.append((done, total, text))


def shard(place: Workspace, ear: Ear | None = None, **values: Any) -> dict[str, Any]:
    """`studio data shard` with these arguments."""
    asked, _ = make_set(ShardSet, {"output_dir": "data/shards", **values})
    assert asked.complaints() == []
    return sharding.run(asked, place, ear or Ear())


def unpacked(path: Path) -> list[Any]:
    """The rows of a shard, read without the studio."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        return [json.loads(line) for line in stream.read().decode().splitlines()]


@pytest.fixture
def shards(workspace: Workspace) -> Path:
    """tiny_sft (40 rows) in six shards of at most seven rows, registered as `parts`."""
    shard(workspace, dataset="tiny_sft", shard_rows=7, name="parts")
    return workspace.data / "shards"


def test_every_row_stands_in_the_shards_in_order_and_the_index_says_what_they_are(workspace: Workspace, shards: Path):
    rows = json.loads((workspace.data / "tiny_sft.json").read_text(encoding="utf-8"))
    index = json.loads((shards / INDEX).read_text(encoding="utf-8"))
    files = [shards / each[0] for each in index["shards"]]
    assert [each[1] for each in index["shards"]] == [7, 7, 7, 7, 7, 5]
    assert [row for path in files for row in unpacked(path)] == rows
    assert [each[2] for each in index["shards"]] == [path.stat().st_size for path in files]
    assert [each[4] for each in index["shards"]] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert index["rows"] == 40 and index["columns"] == ["instruction", "input", "output"]
    (read,) = index["sources"]
    assert read["sha256"] == hashlib.sha256((workspace.data / "tiny_sft.json").read_bytes()).hexdigest()
    assert not [path.name for path in shards.iterdir() if path.name not in {INDEX, *(file.name for file in files)}]


def test_the_registry_reads_the_folder_as_one_dataset_and_counts_without_reading(
    workspace: Workspace, shards: Path, monkeypatch: pytest.MonkeyPatch
):
    entry = read_catalog(workspace)["parts"]
    files = entry.files()
    assert [path.name for path in files] == [f"shard-{number:05}.jsonl.zst" for number in range(6)]
    assert entry.columns == read_catalog(workspace)["tiny_sft"].columns
    hashes = [file_hash(path, workspace.cache) for path in files]
    assert hashes == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    monkeypatch.setattr(source, "reader_of", None)  # nothing may be read
    assert [source.count(path, workspace.cache) for path in files] == [7, 7, 7, 7, 7, 5]
    assert [source.known_count(path, workspace.cache) for path in files] == [7, 7, 7, 7, 7, 5]


def test_shards_end_with_the_row_that_reaches_their_bytes(workspace: Workspace):
    found = shard(workspace, dataset="tiny_pt", shard_bytes=500)
    index = index_of(workspace.data / "shards")
    assert index is not None
    rows = [row for each in index.shards for row in unpacked(index.folder / each.name)]
    assert rows == [json.loads(line) for line in (workspace.data / "tiny_pt.jsonl").read_text().splitlines()]
    for each in index.shards[:-1]:
        lines = [
            json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in unpacked(index.folder / each.name)
        ]
        sizes = [len(line.encode()) + 1 for line in lines]
        assert sum(sizes) == each.unpacked >= 500 > sum(sizes[:-1])
    assert found["rows"] == 60 and found["unpacked"] == sum(each.unpacked for each in index.shards)


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "txt", "jsonl.gz", "json"])
def test_any_form_of_file_gives_the_same_rows(workspace: Workspace, ending: str):
    rows = [{"text": f"Line {number}, “{'水' * (number % 5)}”."} for number in range(50)]
    path = workspace.data / f"rows.{ending}"
    table = pa.Table.from_pylist(rows)
    if ending == "csv":
        path.write_text("text\n" + "".join(f'"{row["text"]}"\n' for row in rows), encoding="utf-8")
    elif ending == "parquet":
        pq.write_table(table, path, row_group_size=8)
    elif ending == "arrow":
        with pa.ipc.new_stream(path, table.schema) as out:
            out.write_table(table)
    elif ending == "txt":
        path.write_text("".join(row["text"] + "\n" for row in rows), encoding="utf-8")
    elif ending == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        with pa.CompressedOutputStream(str(path), "gzip") as out:
            out.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    shard(workspace, train_file=str(path), shard_rows=20)
    index = index_of(workspace.data / "shards")
    assert index is not None
    assert [row for each in index.shards for row in unpacked(index.folder / each.name)] == rows


def test_shuffling_keeps_every_row_once_is_seeded_and_gives_each_place_to_any_row(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    from studio.data import shard_writer

    monkeypatch.setattr(shard_writer, "_BUCKET_BYTES", 600)  # several parts, as a large dataset has
    monkeypatch.setattr(shard_writer, "_PIECE", 200)
    orders = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        found = shard(workspace, dataset="tiny_pt", shard_rows=25, shuffle=True, seed=seed, output_dir=f"data/{folder}")
        assert found["shuffled"] and not (workspace.data / folder / ".scattered").exists()
        index = index_of(workspace.data / folder)
        assert index is not None
        orders.append([row["text"] for each in index.shards for row in unpacked(index.folder / each.name)])
    plain = [json.loads(line)["text"] for line in (workspace.data / "tiny_pt.jsonl").read_text().splitlines()]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(plain) and orders[0] != plain
    # Where the first row ends up: over many seeds it is anywhere, in the mean in the middle.
    places = []
    for seed in range(200):
        parts = shard_writer.Scattered(workspace.data / "parts", 3_000, seed)
        for number in range(40):
            parts.add(b"%d %s\n" % (number, b"." * 60))
        order = [int(line.split()[0]) for line in parts.lines()]
        assert sorted(order) == list(range(40))
        places.append(order.index(0))
    assert abs(sum(places) / 200 - 19.5) < 3 * (40**2 / 12 / 200) ** 0.5


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("missing", "shard-00002.jsonl.zst must be there: index.json lists 6 shards with 40 rows"),
        ("cut", "bytes as index.json beside it says, but it has"),
        ("same size", "shard-00002.jsonl.zst"),
        ("other rows", "it says otherwise"),
        ("index cut", "the index of the shards cannot be read; it is cut or was edited"),
        ("newer", "was written by a newer studio (schema 9"),
    ],
)
def test_what_is_amiss_with_a_shard_is_told_by_its_name(workspace: Workspace, shards: Path, harm: str, told: str):
    path, index = shards / "shard-00002.jsonl.zst", shards / INDEX
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(content[:-9])
    elif harm == "same size":
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        os.utime(path, ns=(0, 0))  # even where its time says that nothing happened
    elif harm == "other rows":
        text = index.read_text().replace('"shard-00002.jsonl.zst", 7', '"shard-00002.jsonl.zst", 8')
        index.write_text(text)
        told = "shard-00002.jsonl.zst must have 8 rows as index.json beside it says, but it has 7"
    elif harm == "index cut":
        index.write_text(index.read_text()[:-30])
    else:
        index.write_text(index.read_text().replace('"studio_shards": 2', '"studio_shards": 9'))
    with pytest.raises(DatasetError) as error:
        for file in read_catalog(workspace)["parts"].files():
            list(source.rows(file))
    assert told in str(error.value)
    assert str(error.value).endswith(".") and ("shard-00002" in str(error.value) or "index.json" in str(error.value))


def test_a_shard_that_was_written_after_the_index_is_hashed(workspace: Workspace, shards: Path):
    copy = workspace.data / "copy"
    shutil.copytree(shards, copy, copy_function=shutil.copy)
    later = (copy / INDEX).stat().st_mtime_ns + 10**9
    path = copy / "shard-00001.jsonl.zst"
    os.utime(path, ns=(later, later))
    assert len(list(source.rows(path))) == 7, "a copy is as good"
    other = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(b'{"text": "x"}\n' * 7)
    ending = path.read_bytes()[-4:]
    path.write_bytes(other + bytes(max(path.stat().st_size - len(other) - 4, 0)) + ending)
    os.utime(path, ns=(later + 1, later + 1))
    with pytest.raises(DatasetError, match=r"shard-00001.jsonl.zst must have the SHA-256 .* the shard is cut or was"):
        list(source.rows(path))


def test_other_files_beside_shards_are_left_out_and_told(workspace: Workspace, shards: Path):
    (shards / "shard-00009.jsonl.zst").write_bytes((shards / "shard-00000.jsonl.zst").read_bytes())
    (shards / "rows.jsonl").write_text('{"text": "mine"}\n')
    found = read_catalog(workspace)["parts"].found()
    assert len(found.files) == 6
    for name in ("shard-00009.jsonl.zst", "rows.jsonl"):
        assert f"{name} (not in index.json)" in " ".join(found.notes)


def test_a_name_that_cannot_be_one_is_told_before_anything_is_written(workspace: Workspace):
    with pytest.raises(DatasetError, match=r"--name 'a,b': a name must be"):
        shard(workspace, dataset="tiny_sft", name="a,b")
    assert not (workspace.data / "shards").exists()


def test_shards_that_could_not_be_registered_are_told_to_be_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def taken(*_: Any) -> None:
        raise StudioError("Another command writes there.")

    monkeypatch.setattr(sharding, "register", taken)
    with pytest.raises(DatasetError, match=r"is written and whole, but .*--train_file data/shards"):
        shard(workspace, dataset="tiny_sft", name="parts")
    assert index_of(workspace.data / "shards") is not None


def test_an_index_json_with_rows_is_a_data_file_as_before(workspace: Workspace):
    folder = workspace.data / "plain"
    folder.mkdir()
    (folder / INDEX).write_text(json.dumps([{"instruction": "a", "input": "", "output": "b"}]))
    assert index_of(folder) is None
    (workspace.root / "dataset_info.json").write_text(json.dumps({"plain": {"file_name": "plain"}}))
    assert [path.name for path in read_catalog(workspace)["plain"].files()] == [INDEX]


def test_a_row_that_cannot_be_read_stops_or_is_counted(workspace: Workspace):
    path = workspace.data / "bad.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n{"text": "c"}\n' + '{"text": "d"}\n' * 20)
    with pytest.raises(DatasetError, match=r"data/bad.jsonl, row 2: .*--skip_bad_rows True"):
        shard(workspace, train_file="data/bad.jsonl")
    assert not (workspace.data / "shards").exists()
    with pytest.raises(DatasetError, match=r"max_bad_rows 0\.01 allows 0 refused rows of 23"):
        shard(workspace, train_file="data/bad.jsonl", skip_bad_rows=True)
    found = shard(workspace, train_file="data/bad.jsonl", skip_bad_rows=True, max_bad_rows=1)
    assert (found["rows"], found["refused"]) == (22, 1) and found["examples"][0]["row"] == 2
    assert "refused 1 times" in sharding.as_text(found)


def test_streaming_is_named_only_for_rows_that_a_stage_streams(workspace: Workspace):
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    (workspace.data / "pairs.jsonl").write_text(json.dumps(pair) + "\n", encoding="utf-8")
    pairs, answers = (
        shard(workspace, train_file="data/pairs.jsonl"),
        shard(workspace, dataset="tiny_sft", output_dir="data/two", name="two"),
    )
    assert sharding.as_text(pairs).endswith("train on it with --train_file data/shards")
    assert sharding.as_text(answers).endswith("train on it with --dataset two --streaming True --max_steps N")


def test_values_without_a_word_in_json_are_written_as_text_and_counted(workspace: Workspace):
    import datetime

    rows = {"text": ["a", "b"], "day": [datetime.date(2024, 2, 29), None], "weight": [float("nan"), 1.5]}
    pq.write_table(pa.table(rows), workspace.data / "dates.parquet")
    found = shard(workspace, train_file="data/dates.parquet")
    index = index_of(workspace.data / "shards")
    assert index is not None
    assert unpacked(index.folder / index.shards[0].name) == [
        {"text": "a", "day": "2024-02-29", "weight": None}, {"text": "b", "day": None, "weight": 1.5},
    ]  # fmt: skip
    assert found["as_text"] == 2 and "written as text" in sharding.as_text(found)


def test_a_word_that_looks_like_no_number_counts_nothing_twice(workspace: Workspace):
    import datetime

    rows = {"text": ["To Infinity"], "day": [datetime.date(2024, 2, 29)]}
    pq.write_table(pa.table(rows), workspace.data / "word.parquet")
    assert shard(workspace, train_file="data/word.parquet")["as_text"] == 1


def test_datasets_that_are_read_in_other_ways_are_not_put_together(workspace: Workspace):
    with pytest.raises(DatasetError, match=r"'tiny_share' has other columns, formatting.* than 'tiny_sft'"):
        shard(workspace, dataset="tiny_sft,tiny_share")


def test_a_folder_that_is_there_is_refused_or_moved_aside(workspace: Workspace, shards: Path):
    with pytest.raises(StudioError, match="exists already"):
        shard(workspace, dataset="tiny_pt")
    shard(workspace, dataset="tiny_pt", overwrite_output_dir=True)
    assert [path.name for path in workspace.data.glob("shards.old-*")]
    with pytest.raises(DatasetError, match="a dataset of this name is registered"):
        shard(workspace, dataset="tiny_pt", output_dir="data/third", name="parts")
    assert not (workspace.data / "third").exists()


def test_what_a_work_does_is_heard_to_its_end(workspace: Workspace):
    ear = Ear()
    (workspace.data / "many.jsonl").write_text('{"text": "some words"}\n' * 5_000)
    shard(workspace, ear, train_file="data/many.jsonl", shuffle=True)
    shares = [done / total for done, total, text in ear.heard if text.startswith("scattering")]
    assert shares == sorted(shares) and len(shares) == 5


def test_very_many_shards_are_found_by_the_index_alone(workspace: Workspace):
    folder = workspace.data / "very_many"
    folder.mkdir()
    count = 5_000
    for number in range(count):
        (folder / f"shard-{number:05}.jsonl.zst").touch()
    random.seed(0)
    lines = [[f"shard-{number:05}.jsonl.zst", 3, 0, 9, f"{random.getrandbits(256):064x}"] for number in range(count)]
    (folder / INDEX).write_text(json.dumps({"studio_shards": 1, "rows": 3 * count, "shards": lines}))
    index = index_of(folder)
    assert index is not None and index.rows == 3 * count
    files, others = shard_files(index)
    assert len(files) == count and others == []
