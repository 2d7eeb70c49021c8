"""Training from a stream: the same numbers as from memory, and exact after a kill, wherever it falls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from studio.workspace import Workspace

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
FULL = {"finetuning_type": "full", "logging_steps": 1}
IN_ORDER = {**FULL, "train_sampling_strategy": "sequential", "max_steps": 14}
# A pass over 40 rows in windows of 16 and packs of 96 tokens: 6 steps of two packs, so 14 steps take more than two.
SHUFFLED = {
    **FULL, "streaming": "True", "buffer_size": 16, "packing": "True", "cutoff_len": 96, "max_steps": 14,
    "per_device_train_batch_size": 2, "save_steps": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def shards(place: Workspace, command: Any) -> str:
    """The rows of tiny_sft in six shards."""
    done = command(
        place, "data", "shard", "--dataset", "tiny_sft", "--output_dir", "data/shards", "--shard_rows", "7",
        "--name", "shards",
    )  # fmt: skip
    assert done.code == 0, done.err
    return "shards"


@pytest.fixture(scope="module")
def whole(place: Workspace, train: Any, look: Any, shards: str) -> Any:
    """A shuffled and packed run over the shards that nothing disturbs."""
    done = train(place, "saves/whole", dataset=shards, **SHUFFLED)
    assert done.code == 0, done.err
    return look(place.path("saves/whole"))


@pytest.mark.parametrize("stage", [pytest.param("sft", marks=pytest.mark.slow), "pt"])
def test_in_order_it_is_training_from_memory_step_by_step(
    place: Workspace, train: Any, look: Any, command: Any, shards: str, stage: str
):
    dataset, more = shards, {"stage": stage, "gradient_accumulation_steps": 2 if stage == "sft" else 1}
    source = {"sft": "tiny_sft", "pt": "tiny_pt"}[stage]
    if stage == "pt":
        words = ("--dataset", "tiny_pt", "--output_dir", "data/texts", "--shard_bytes", "400", "--name", "texts")
        assert command(place, "data", "shard", *words).code == 0
        dataset, more = "texts", {**more, "packing": "False", "model_name_or_path": "models/tiny", "cutoff_len": 16}
    memory = train(place, f"saves/memory_{stage}", dataset=source, **IN_ORDER, **more)
    assert memory.code == 0, memory.err
    stream = train(place, f"saves/stream_{stage}", dataset=dataset, streaming="True", **IN_ORDER, **more)
    assert stream.code == 0, stream.err
    left, right = look(place.path(f"saves/stream_{stage}")), look(place.path(f"saves/memory_{stage}"))
    assert left.curve == right.curve and len(left.curve) == 14
    assert left.json("first_batch.json") == right.json("first_batch.json")
    assert left.weights() == right.weights(), "every weight must be the same bits"


def test_shards_are_streamed_as_the_plain_file_is(place: Workspace, train: Any, look: Any, shards: str):
    values = {**SHUFFLED, "max_steps": 5}  # within the first pass, in which shards come in their order
    for name, dataset, workers in (("file", "tiny_sft", 0), ("parts", shards, 1)):
        done = train(place, f"saves/{name}", dataset=dataset, dataloader_num_workers=workers, **values)
        assert done.code == 0, done.err
    left, right = (look(place.path(f"saves/{name}")) for name in ("file", "parts"))
    assert left.curve == right.curve
    assert left.weights() == right.weights()


def test_a_pass_has_another_order_than_the_one_before_and_is_told_as_one(whole: Any):
    losses = [loss for _, loss in whole.curve]
    assert len(set(losses)) == len(losses)
    epochs = [point["epoch"] for point in whole.points]
    assert epochs == sorted(epochs) and 2 <= epochs[-1] < 3, "passes over the rows, not a share of max_steps"
    told = whole.json("run.json")["results"]["streamed"]
    assert told["passes"] == epochs[-1]
    assert told["datasets"]["shards"]["refused"] == 0 and told["datasets"]["shards"]["share_tokens"] == 1.0


@pytest.mark.parametrize(
    ("call", "workers", "number"),
    [
        (8, 0, KILL),
        (11, 1, KILL),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [(2, 0, KILL), (5, 1, KILL), (13, 0, KILL)]),
        pytest.param(8, 1, TERM, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_it_goes_on_to_the_same_bytes(
    place: Workspace, train: Any, look: Any, shards: str, whole: Any, call: int, workers: int, number: int
):
    folder = f"saves/killed_{call}_{number}"
    values = {**SHUFFLED, "dataset": shards, "dataloader_num_workers": workers}
    died = train(place, folder, at=("backward", call, number), **values)
    assert died.code == (-KILL if number == KILL else 14), died.err
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    run = look(place.path(folder))
    if number == KILL:
        run.must_end_as(whole)
    assert run.weights() == whole.weights()
    assert run.measured == whole.measured
    assert run.json("run.json")["results"] == whole.json("run.json")["results"]


def test_a_mix_goes_on_to_the_same_bytes_too(place: Workspace, train: Any, look: Any, shards: str):
    values = {
        **FULL, "streaming": "True", "dataset": f"{shards},tiny_share", "mix_strategy": "interleave_over",
        "interleave_probs": "0.25,0.75", "buffer_size": 8, "lora_dropout": 0.2, "finetuning_type": "lora",
        "max_steps": 40, "save_steps": 15, "logging_steps": 5, "validation_file": "data/tiny_sft.json",
    }  # fmt: skip
    assert train(place, "saves/mix", **values).code == 0
    assert train(place, "saves/mix_killed", at=("backward", 34, KILL), **values).code == -KILL
    done = train(place, "saves/mix_killed", **values)
    assert done.code == 0, done.err
    left, right = look(place.path("saves/mix_killed")), look(place.path("saves/mix"))
    left.must_end_as(right)
    told = right.json("run.json")["results"]["streamed"]["datasets"]
    assert told["shards"]["rows"] + told["tiny_share"]["rows"] == 160
    # 160 draws: within three standard deviations of what was asked.
    assert abs(told["shards"]["rows"] / 160 - 0.25) < 3 * (0.25 * 0.75 / 160) ** 0.5
    assert "eval_loss" in right.json("run.json")["results"]


def test_two_processes_take_other_rows_and_learn_what_one_does_with_twice_the_batch(
    place: Workspace, train: Any, look: Any, shards: str
):
    values = {**IN_ORDER, "dataset": shards, "streaming": "True", "max_steps": 6}
    two = train(place, "saves/two", environment={"NPROC_PER_NODE": "2"}, **{**values, "per_device_train_batch_size": 2})
    assert two.code == 0, two.err
    one = train(place, "saves/one", **values)
    assert one.code == 0, one.err
    left, right = look(place.path("saves/two")), look(place.path("saves/one"))
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=1e-5)
    weights = [load_file(run.folder / "model.safetensors") for run in (left, right)]
    assert all(float((weights[0][name] - weights[1][name]).abs().max()) <= 1e-5 for name in weights[0])
    seen = [run.json("run.json")["results"]["streamed"]["datasets"]["shards"] for run in (left, right)]
    assert seen[0]["rows"] == seen[1]["rows"] == 24 and seen[0]["tokens"] == seen[1]["tokens"]
    # Another number of processes has no place in the stream to go on from.
    begun = {**values, "resume_from_checkpoint": "saves/two/checkpoint-2"}
    done = train(place, "saves/two_as_one", **begun)
    assert done.code == 15 and "was written by 2 processes" in done.err, done.err


def test_bad_rows_end_the_run_with_their_place_or_are_counted(place: Workspace, train: Any, look: Any):
    rows = [json.dumps({"instruction": f"Say {n}.", "output": str(n)}) for n in range(90)]
    rows[79] = '{"instruction": "Say it.", "output": 7}'
    rows[83] = '{"instruction": "cut'
    place.path("data/bad.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    values = {**FULL, "train_file": "data/bad.jsonl", "dataset": "", "streaming": "True", "buffer_size": 1}
    values |= {"max_steps": 30, "cutoff_len": 64, "save_steps": 100}
    stopped = train(place, "saves/bad", **values)
    assert stopped.code == 10 and "Traceback" not in stopped.err
    assert "every row must be usable" in stopped.err and "data/bad.jsonl, row 80" in stopped.err
    few = train(place, "saves/few", skip_bad_rows="True", max_bad_rows=1, dataloader_num_workers=1, **values)
    assert few.code == 10 and "max_bad_rows 1 allows 1 refused rows" in few.err and "row 84" in few.err
    done = train(place, "saves/skipped", skip_bad_rows="True", max_bad_rows=10, **values)
    assert done.code == 0, done.err
    run = look(place.path("saves/skipped"))
    assert "refused: bad.jsonl: data/bad.jsonl, row 80" in run.log
    assert run.json("run.json")["results"]["streamed"]["datasets"]["bad.jsonl"]["refused"] == 4, "two in each pass"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"stage": "dpo"}, "--stage dpo needs all of its rows before it begins"),
        ({"max_steps": -1}, "--streaming True: needs --max_steps"),
        ({"val_size": 0.1}, "--val_size 0.1: rows are held out by chance from all of them"),
        ({"save_strategy": "epoch"}, "--save_strategy epoch: where a stream's rows end is known when it comes"),
        ({"dataloader_num_workers": 4}, "--dataloader_num_workers 4: a stream has one reader"),
        ({"do_train": "False", "eval_dataset": "tiny_sft"}, "nothing is streamed"),
        ({"buffer_size": 9, "train_sampling_strategy": "sequential"}, "keeps their order. Leave one of them out"),
        ({"streaming": "False", "buffer_size": 9}, "only used with --streaming True"),
        ({"train_sampling_strategy": "group_by_length"}, "--train_sampling_strategy group_by_length"),
    ],
)
def test_what_a_stream_cannot_do_is_told_before_it_begins(place: Workspace, train: Any, asked: Any, told: str):
    done = train(place, "saves/never", **{"streaming": "True", **asked})
    assert done.code == 10, done.err
    assert told in " ".join(done.err.split())
    assert not place.path("saves/never").exists()


def test_a_run_does_not_go_on_with_other_shards(place: Workspace, train: Any, command: Any):
    words = ("data", "shard", "--dataset", "tiny_sft", "--output_dir", "data/other", "--shard_rows")
    assert command(place, *words, "9", "--name", "other").code == 0
    values = {**SHUFFLED, "dataset": "other"}
    assert train(place, "saves/other", at=("backward", 8, KILL), **values).code == -KILL
    assert command(place, *words, "11", "--overwrite_output_dir", "True").code == 0
    done = train(place, "saves/other", **values)
    assert done.code == 15, done.err
    assert "data/other/index.json changed since" in done.err


@pytest.mark.slow
def test_where_one_of_two_processes_is_killed_both_end_soon_and_the_run_goes_on_to_the_same_bytes(
    place: Workspace, train: Any, look: Any, shards: str, small: Any
):
    values = {**SHUFFLED, "dataset": shards, "max_steps": 20, "save_steps": 5}
    two = {"NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "1"}
    whole = train(place, "saves/two_whole", environment=two, **values)
    assert whole.code == 0, whole.err
    words = [f"--{name}={value}" for name, value in {**small, **values, "output_dir": "saves/two_killed"}.items()]
    folder = place.path("saves/two_killed")
    with subprocess.Popen(
        [sys.executable, "-m", "studio", "train", *words], cwd=place.root, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **two, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1"},
    ) as run:  # fmt: skip
        while run.poll() is None and not any(folder.glob("checkpoint-*/manifest.json")):
            time.sleep(0.05)
        os.kill(process_of_rank(1, run.pid), KILL)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 128 + KILL, err
    assert "process 2 of 2 was killed by signal 9 (SIGKILL)" in err and "Traceback" not in err
    done = train(place, "saves/two_killed", environment=two, **values)
    assert done.code == 0, done.err
    look(folder).must_end_as(look(place.path("saves/two_whole")))


@pytest.mark.slow
def test_a_row_that_only_the_second_process_reads_ends_the_run_with_its_place(place: Workspace, train: Any):
    rows = [{"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "It"}]}] * 90
    ask, answer = rows[66]["messages"]  # beyond the first 64
    rows[66] = {"messages": [ask, {**answer, "weight": 0}]}
    place.path("data/second.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = {**IN_ORDER, "train_file": "data/second.jsonl", "dataset": "", "streaming": "True", "max_steps": 40}
    values |= {"per_device_train_batch_size": 2, "environment": {"NPROC_PER_NODE": "2"}}
    done = train(place, "saves/second", **values)
    assert done.code == 10 and "Traceback" not in done.err
    assert "process 2 of 2: every row must be usable; second.jsonl: data/second.jsonl, row 67: " in done.err


def process_of_rank(rank: int, parent: int) -> int:
    """The process that torchrun, which runs in `parent`, started for a rank."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text().replace("LOCAL_RANK", ""):
            return int(child)
    raise AssertionError(f"no process of rank {rank}")
