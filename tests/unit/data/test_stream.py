"""A stream: each row once in a pass, bounded windows, an equal share for each process, and exact after any group."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.data.beginning import begin, identities
from studio.data.catalog import entry_of_file
from studio.data.mixing import Mix
from studio.data.render import View
from studio.data.shard_writer import ShardWriter
from studio.data.stream import Stream
from studio.data.tokenise import Plan
from studio.data.windows import Way
from studio.errors import DatasetError
from studio.model.tokenizer import open_tokenizer
from studio.workspace import Workspace

MANY = 2_300


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """The rows in a file, or a folder of shards where the name has no ending."""
    lines = [json.dumps(row) + "\n" for row in rows]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=300)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path, table.schema) as out:
            out.write_table(table, max_chunksize=100)
    elif path.suffix == ".csv":
        path.write_text("text\n" + "".join(f'"{row["text"]}"\n' for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix:
        path.write_text("".join(lines))
    else:
        path.mkdir()
        with ShardWriter(path, 1 << 30, 240) as writer:
            for line in lines:
                writer.add(line.encode())
        writer.write_index({})
    return str(path)


def plan_of(place: Workspace, model: Path, *files: str, cutoff_len: int = 64, limit: int | None = None) -> Plan:
    """What the rows of these files become in stage pt."""
    entries = tuple(entry_of_file(file, place) for file in files)
    tokenizer = open_tokenizer(model, place.cache)
    view = View(cutoff_len=cutoff_len, wants="documents")
    return Plan(entries, tuple(tuple(entry.files()) for entry in entries), tokenizer, None, view, limit)


def texts(plan: Plan, groups: Any) -> list[str]:
    """The texts of all rows of groups, in order."""
    fast = plan.tokenizer.fast
    return [fast.decode(row.input_ids[:-1].tolist()) for group in groups for row in group.rows]


def pass_of(drawn: Any) -> int:
    """The pass that a group is of, from 0: a slice never holds rows of two."""
    place = drawn.state["place"]
    begins = place["at"] == 0 and place["turn"] < 0
    return int(place["passes"]) + begins


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Short texts that are all different, of different lengths."""
    return [{"text": f"Row {number}" + " and more" * (number % 7)} for number in range(MANY)]


WAYS = {
    "in order": Way(),
    "shuffled": Way(buffer_size=500),
    "packed": Way(packing=True),
    "shuffled and packed": Way(buffer_size=700, packing=True),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_pass_has_every_row_once_and_the_next_one_another_order(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]], way: Way
):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows))
    plain = [row["text"] for row in rows]
    passes: list[list[str]] = [[], []]
    for drawn in Stream(plan, way, workspace).groups():
        if pass_of(drawn) > 1:
            break
        passes[pass_of(drawn)] += texts(plan, [drawn])
    assert Counter(passes[0]) == Counter(passes[1]) == Counter(plain)
    if way.buffer_size <= 1 and not way.packing:
        assert passes[0] == passes[1] == plain
    if way.buffer_size > 1:
        assert passes[0] != passes[1] != plain
        # A window is shuffled within itself.
        assert way.packing or Counter(passes[0][: way.buffer_size]) == Counter(plain[: way.buffer_size])


@pytest.mark.parametrize("ending", ["", ".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt"])
def test_after_any_group_it_goes_on_with_the_same_groups(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]], ending: str
):
    plan = plan_of(workspace, tiny_model, write(workspace.data / f"rows{ending}", rows))
    way = Way(buffer_size=333, packing=ending in ("", ".parquet"))
    whole = list(islice(Stream(plan, way, workspace).groups(), 3_000 if not way.packing else 900))
    for at in (0, 1, 57, 332, 333, 500, 899, 1_700, 2_299, 2_300, 2_990):
        if at >= len(whole) - 5:
            continue
        again = Stream(plan, way, workspace)
        again.restore(json.loads(json.dumps(whole[at].state)))
        for left, right in zip(islice(again.groups(), 6), whole[at + 1 :], strict=False):
            assert [row.input_ids.tolist() for row in left.rows] == [row.input_ids.tolist() for row in right.rows]
            assert left.state == right.state or json.dumps(left.state) == json.dumps(right.state)
    assert len(json.dumps(whole[700].state)) < 2_000, "a place in the stream is small"


def test_shards_are_streamed_as_one_file_of_the_same_rows(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]]
):
    way = Way(buffer_size=512, packing=True)
    groups = []
    for name in ("one.jsonl", "parts"):
        plan = plan_of(workspace, tiny_model, write(workspace.data / name, rows))
        groups.append([texts(plan, [drawn]) for drawn in islice(Stream(plan, way, workspace).groups(), 400)])
    assert groups[0] == groups[1]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_pass_without_overlap_and_without_loss(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]], way: Way, world: int
):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows))
    shares = []
    for rank in range(world):
        stream = Stream(plan, replace(way, rank=rank, world=world, per_turn=4), workspace)
        got: list[str] = []
        for drawn in stream.groups():
            if pass_of(drawn) > 0:
                break
            got += texts(plan, [drawn])
        shares.append(got)
    assert Counter(text for share in shares for text in share) == Counter(row["text"] for row in rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 4


def test_packs_fill_sequences_and_hold_whole_rows(workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]]):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows), cutoff_len=128)
    packs = list(islice(Stream(plan, Way(buffer_size=1_000, packing=True), workspace).groups(), 300))
    sizes = [sum(len(row.input_ids) for row in pack.rows) for pack in packs]
    assert max(sizes) <= 128
    assert sum(sizes) / (len(sizes) * 128) > 0.97


def test_max_samples_takes_the_first_rows_again_in_each_pass(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]]
):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows), limit=250)
    groups = islice(Stream(plan, Way(buffer_size=100), workspace).groups(), 500)
    first = [row["text"] for row in rows[:250]]
    assert Counter(texts(plan, groups)) == Counter(first * 2)


def test_long_rows_end_a_window_early_and_that_is_told(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    from studio.data import windows as module

    monkeypatch.setattr(module, "WINDOW_CHARACTERS", 3_000)
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows))
    groups = list(islice(Stream(plan, Way(buffer_size=5_000), workspace).groups(), MANY))
    assert Counter(texts(plan, groups)) == Counter(row["text"] for row in rows)
    (told,) = [sentence for drawn in groups for sentence in drawn.told]
    assert told.startswith("rows are long: ") and "instead of 5,000 (buffer_size)" in told


def test_only_first_rows_are_read_before_it_begins(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    folder = write(workspace.data / "parts", rows)
    plan = plan_of(workspace, tiny_model, folder)
    # All but the first shard are of no use, and nobody looks into them.
    for path in sorted(Path(folder).glob("*.zst"))[1:]:
        path.write_bytes(b"\0" * path.stat().st_size)
    beginning, first, report = begin(plan, Way(), Mix(), workspace)
    assert beginning.rows == MANY and report.rows == len(first) == 64
    assert list(beginning.hashes) == ["data/parts/index.json"]
    assert beginning.sentences() == [
        "streaming: 2,300 rows by their index in 10 files, in their order; rows are checked as they come, the first "
        "ones now"
    ]
    with pytest.raises(DatasetError, match=r"shard-00001.jsonl.zst"):
        list(islice(beginning.open(0, 1, 1, workspace).groups(), 300))


def test_a_large_file_is_known_by_its_size_and_time(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    from studio.data import beginning

    path = workspace.data / "tiny_pt.jsonl"
    small = identities([path], workspace)
    monkeypatch.setattr(beginning, "HASHED_BYTES", 10)
    large = identities([path], workspace)
    assert len(small["data/tiny_pt.jsonl"]) == 64
    known = path.stat()
    assert large == {"data/tiny_pt.jsonl": f"{known.st_size} bytes, written {known.st_mtime_ns}"}


def test_rows_without_anything_to_learn_end_the_stream(workspace: Workspace, tiny_model: Path):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "a.jsonl", [{"text": "one two three"}] * 30))
    plan = replace(plan, view=View(cutoff_len=1, wants="documents"))
    with pytest.raises(DatasetError, match=r"0 of 30 rows of a\.jsonl have target tokens at cutoff_len 1\."):
        next(Stream(plan, Way(), workspace).groups())


def test_rows_that_are_refused_count_once_over_all_processes_and_for_each_ones_limit(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]]
):
    for at in range(0, MANY, 23):
        rows[at] = {"text": at}
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows))
    way = Way(skip_bad_rows=True, max_bad_rows=100, world=2, per_turn=4)
    streams = [Stream(plan, replace(way, rank=rank), workspace) for rank in (0, 1)]
    states = [[drawn.state for drawn in islice(stream.groups(), 1_060)] for stream in streams]
    assert sum(stream.counts[0].refused for stream in streams) == 100
    for stream, seen in zip(streams, states, strict=True):
        again = Stream(plan, replace(stream.way, max_bad_rows=95), workspace)
        again.restore(seen[-1])  # in the second slice, with most of them behind it
        with pytest.raises(DatasetError, match=r"max_bad_rows 95 allows 95 refused rows .* refused: 96"):
            list(islice(again.groups(), 50))


def test_a_further_pass_over_the_same_bad_rows_takes_nothing_from_the_number_that_may_be_left_out(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]]
):
    rows[3] = rows[1_700] = {"text": 3}
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows))
    stream = Stream(plan, Way(skip_bad_rows=True, max_bad_rows=2), workspace)
    seen = [drawn.state for drawn in islice(stream.groups(), 3 * MANY)]
    again = Stream(plan, stream.way, workspace)
    again.restore(json.loads(json.dumps(seen[2 * MANY])))
    assert len(list(islice(again.groups(), MANY))) == MANY, "nor after a resume"


def test_a_process_without_anything_to_learn_ends_too(workspace: Workspace, tiny_model: Path):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "a.jsonl", [{"text": "one two three"}] * 30))
    plan = replace(plan, view=View(cutoff_len=1, wants="documents"))
    with pytest.raises(DatasetError, match=r"0 of 240 rows of a\.jsonl have target tokens at cutoff_len 1\."):
        next(Stream(plan, Way(rank=1, world=2), workspace).groups())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_share_of_a_pass_that_is_told_is_the_one_that_was_given(
    workspace: Workspace, tiny_model: Path, rows: list[dict[str, Any]], way: Way
):
    plan = plan_of(workspace, tiny_model, write(workspace.data / "parts", rows))
    given = 0
    for drawn in Stream(plan, way, workspace).groups():
        given += len(drawn.rows)
        assert drawn.state["passes"] == pytest.approx(given / MANY)
        if given >= 2 * MANY:
            break
    assert drawn.state["passes"] == pytest.approx(2)


@pytest.mark.parametrize("ending", ["", ".jsonl"])
def test_shares_of_bytes_come_true_where_the_first_rows_are_not_like_the_rest(
    workspace: Workspace, tiny_model: Path, ending: str
):
    growing = [{"text": "a" * (20 if number < 64 else 500)} for number in range(600)]
    even = [{"text": "b" * 200} for _ in range(600)]
    names = [write(workspace.data / f"{name}{ending}", rows) for name, rows in (("grow", growing), ("even", even))]
    plan = plan_of(workspace, tiny_model, *names, cutoff_len=512)
    beginning, _, _ = begin(plan, Way(), Mix(asked=(0.5, 0.5)), workspace)
    means = [sum(len(json.dumps(row)) + 1 for row in rows) / 600 for rows in (growing, even)]
    wanted = 1 / means[0] / (1 / means[0] + 1 / means[1])
    assert beginning.way.probabilities == pytest.approx((wanted, 1 - wanted))


READER = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from tests.unit.data.test_stream import pass_of, plan_of
from studio.data.stream import Stream
from studio.data.windows import Way
from studio.workspace import Workspace
plan = plan_of(Workspace.find(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], cutoff_len=512)
stream = Stream(plan, Way(buffer_size=2000, packing=True), Workspace.find(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 0
for drawn in stream.groups():
    if pass_of(drawn) > 0:
        break
    rows += len(drawn.rows)
print(rows, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(place: Workspace, model: Path, folder: str) -> tuple[int, int]:
    """Rows of a pass, and the most memory that a process needs to stream them, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(place.root), str(model), folder, str(Path(__file__).parents[3])],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    rows, _, most = map(int, done.stdout.split())
    return rows, most >> 10


@pytest.mark.slow
def test_twenty_times_the_rows_need_no_more_memory(workspace: Workspace, tiny_model: Path):
    line = {"text": "Bread needs patience, water and salt. " * 20}
    small = write(workspace.data / "small", [line] * 3_000)
    large = write(workspace.data / "large", [line] * 60_000)
    few, many = peak(workspace, tiny_model, small), peak(workspace, tiny_model, large)
    assert (few[0], many[0]) == (3_000, 60_000)
    # 45 MB of text more; what is allowed is the noise of the allocator.
    assert many[1] < few[1] + 15, (few, many)
