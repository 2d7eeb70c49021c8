"""`studio data shard` from the command line: what it says, what it leaves, and what a broken shard does to a run."""

from __future__ import annotations

import json
import signal
from typing import Any

from studio.workspace import Workspace

TERM = int(signal.SIGTERM)


def test_it_says_what_it_wrote_and_training_reads_it(place: Workspace, command: Any, train: Any, look: Any):
    words = ("data", "shard", "--dataset", "tiny_sft", "--output_dir", "data/parts", "--shard_rows", "8")
    done = command(place, *words, "--name", "parts", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["rows"], found["shards"], found["name"], found["folder"]) == (40, 5, "parts", "data/parts")
    runs = []
    for name, dataset in (("plain", "tiny_sft"), ("packed", "parts")):
        assert train(place, f"saves/{name}", dataset=dataset, max_steps=3).code == 0
        runs.append(look(place.path(f"saves/{name}")))
    assert runs[0].curve == runs[1].curve and runs[0].weights() == runs[1].weights(), "also from memory"
    again = command(place, *words)
    assert again.code == 10 and "exists already" in again.err


def test_a_cut_shard_ends_a_run_with_its_name(place: Workspace, command: Any, train: Any):
    words = ("data", "shard", "--dataset", "tiny_sft", "--output_dir", "data/broken", "--shard_rows", "8")
    assert command(place, *words, "--name", "broken").code == 0
    path = place.path("data/broken/shard-00003.jsonl.zst")
    path.write_bytes(path.read_bytes()[:-7])
    for streaming in ("True", "False"):
        done = train(place, f"saves/broken_{streaming}", dataset="broken", streaming=streaming)
        assert done.code == 10 and "Traceback" not in done.err
        assert "shard-00003.jsonl.zst must have" in done.err and "the shard is cut or was changed" in done.err


def test_a_stop_leaves_nothing_half_written(place: Workspace, command: Any):
    (place.data / "long.jsonl").write_text('{"text": "Bread needs patience, water and salt."}\n' * 3_000)
    before = {path.name for path in place.data.iterdir()}
    words = ("data", "shard", "--train_file", "data/long.jsonl", "--output_dir", "data/stopped")
    done = command(place, *words, "--shard_rows", "10", at=("fsync", 20, TERM))
    assert done.code == 14 and "nothing of it is kept" in done.err, done.err
    assert {path.name for path in place.data.iterdir()} == before


def test_the_command_says_what_is_missing(place: Workspace, command: Any):
    done = command(place, "data", "shard")
    assert done.code == 10
    assert "--dataset must name at least one dataset" in done.err and "--output_dir must name the folder" in done.err
    done = command(place, "data", "shard", "--dataset", "tiny_sft", "--output_dir", "data/x", "--shard_rows", "0")
    assert done.code == 10 and "--shard_rows 0" in done.err
