"""Training on a mix: what is asked is what is learned, and a run that was killed goes on with the same rows."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)
# tiny_sft has 40 rows, tiny_share 20.
TWO = {"dataset": "tiny_sft,tiny_share", "mix_strategy": "interleave_over", "interleave_probs": "0.25,0.75"}


@pytest.fixture(scope="module")
def mixed(place: Workspace, train: Any, look: Any) -> Any:
    """Two epochs over the mix, checkpoints within and at the end of one."""
    done = train(place, "saves/mixed", max_steps=-1, num_train_epochs=2, save_steps=25, logging_steps=5, **TWO)
    assert done.code == 0, done.err
    return look(place.path("saves/mixed"))


def test_the_points_and_the_record_tell_what_was_seen(mixed: Any):
    last, seen = mixed.points[-1], mixed.json("run.json")["results"]["seen"]
    assert last["seen"] == {each["name"]: {"rows": each["rows"], "tokens": each["tokens"]} for each in seen}
    first, second = seen
    assert (first["name"], first["size_rows"], first["asked"]) == ("tiny_sft", 40, 0.25)
    # An epoch ends when all 40 rows of the slower source were drawn, once each.
    assert first["rows"] == 80 and first["passes"] == 2
    rows = first["rows"] + second["rows"]
    # 160 draws an epoch: the share is within three standard deviations of what was asked.
    assert abs(first["rows"] / rows - 0.25) < 3 * (0.25 * 0.75 / (rows / 2)) ** 0.5
    assert second["passes"] == second["rows"] / 20 > 5
    counts = [point["seen"]["tiny_share"]["rows"] for point in mixed.points if "seen" in point]
    assert counts == sorted(counts) and counts[0] > 0


def test_the_log_says_what_was_asked_beside_what_was_seen(mixed: Any):
    (line,) = [line for line in mixed.log.splitlines() if "seen: tiny_sft: " in line]
    assert "asked 25.0%" in line and "2.00 times over its 40 rows" in line


@pytest.mark.parametrize("call", [12, 40])
def test_a_killed_run_goes_on_with_the_same_rows_and_counts(
    place: Workspace, train: Any, look: Any, mixed: Any, call: int
):
    folder = f"saves/killed_{call}"
    values = {"max_steps": -1, "num_train_epochs": 2, "save_steps": 25, "logging_steps": 5, **TWO}
    assert train(place, folder, at=("backward", call, KILL), **values).code == -KILL
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    run = look(place.path(folder))
    run.must_end_as(mixed)
    assert run.json("run.json")["results"]["seen"] == mixed.json("run.json")["results"]["seen"]


@pytest.mark.parametrize("stage", ["ppo", pytest.param("grpo", marks=pytest.mark.slow)])
def test_prompts_that_were_answered_are_counted_also_by_a_run_that_was_killed(
    place: Workspace, train: Any, look: Any, stage: str
):
    place.path("rewards.py").write_text("def length(sample):\n    return float(len(sample.answer_ids))\n")
    values = {**TWO, "stage": stage, "reward_function": "rewards.py:length", "max_new_tokens": 4, "max_steps": 4}
    values |= {"logging_steps": 1, "per_device_train_batch_size": 8}
    # Of a step 8 prompts, or 8 answers to 2.
    values |= {"ppo_buffer_size": 1} if stage == "ppo" else {"num_generations": 4}
    prompts, folder = {"ppo": 8, "grpo": 2}[stage], f"saves/prompts_{stage}"
    assert train(place, folder, at=("backward", 4, KILL), **values).code == -KILL
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    run = look(place.path(folder))
    totals = [sum(each["rows"] for each in point["seen"].values()) for point in run.points if "seen" in point]
    assert totals == [prompts, 2 * prompts, 3 * prompts, 4 * prompts]
    seen = run.json("run.json")["results"]["seen"]
    assert sum(each["rows"] for each in seen) == 4 * prompts and all(each["tokens"] > each["rows"] for each in seen)


def test_packs_hold_the_rows_of_the_mix(place: Workspace, train: Any, look: Any):
    values = {**TWO, "packing": "True", "cutoff_len": 128, "max_steps": -1, "num_train_epochs": 1}
    done = train(place, "saves/packed", **values)
    assert done.code == 0, done.err
    first, second = look(place.path("saves/packed")).json("run.json")["results"]["seen"]
    assert first["rows"] == 40 and second["rows"] > 80


def test_rows_held_out_are_not_mixed_in(place: Workspace, train: Any, look: Any):
    done = train(place, "saves/held_out", val_size=12, max_steps=-1, num_train_epochs=1, **TWO)
    assert done.code == 0, done.err
    run = look(place.path("saves/held_out"))
    seen = run.json("run.json")["results"]["seen"]
    assert sum(each["size_rows"] for each in seen) == 60 - 12
    assert "12 held out" in run.log


@pytest.fixture(scope="module")
def shares(place: Workspace) -> dict[str, float]:
    """A file of shares that repeats the small text and takes a part of the large one."""
    for name, count in (("small", 20), ("large", 80)):
        lines = [json.dumps({"text": f"Line {number:03d} of a text about bridges."}) + "\n" for number in range(count)]
        place.path(f"data/{name}.jsonl").write_text("".join(lines))
    asked = {"data/small.jsonl": 0.6, "data/large.jsonl": 0.6}
    place.path("shares.json").write_text(json.dumps(asked))
    return asked


POLICY = {"stage": "pt", "model_name_or_path": "models/tiny", "dataset": "", "sample_policy_file": "shares.json",
          "packing": "False", "max_steps": -1, "num_train_epochs": 1}  # fmt: skip


def test_a_file_of_shares_is_one_epoch(place: Workspace, train: Any, look: Any, shares: Any):
    """Sizes are 1 to 4, so 0.6 of all is three passes over the one and three quarters of one over the other."""
    done = train(place, "saves/shares", **POLICY)
    assert done.code == 0, done.err
    run = look(place.path("saves/shares"))
    small, large = run.json("run.json")["results"]["seen"]
    assert (small["rows"], large["rows"]) == (60, 60)
    assert (small["passes"], large["passes"]) == (3, 0.75)
    assert small["asked"] == large["asked"] == 0.5
    assert "shares.json: one epoch has 1.2 times" in run.log
    assert "shares.json" in run.json("run.json")["data"]["hashes"]


def test_a_run_does_not_go_on_with_other_shares(place: Workspace, train: Any, shares: Any):
    assert train(place, "saves/changed", at=("backward", 10, KILL), **POLICY).code == -KILL
    place.path("shares.json").write_text(json.dumps({**shares, "data/small.jsonl": 0.7}))
    refused = train(place, "saves/changed", **POLICY)
    place.path("shares.json").write_text(json.dumps(shares))
    assert refused.code == 15 and "shares.json" in refused.err


def test_a_file_of_shares_that_is_not_there_is_told(place: Workspace, train: Any):
    done = train(place, "saves/refused", **{**POLICY, "sample_policy_file": "nowhere.json"})
    assert done.code == 10 and "nowhere.json: there is no such file" in done.err and "Traceback" not in done.err


def test_the_plan_tells_what_will_be_seen(place: Workspace, command: Any, small: Any):
    words = [f"--{name}={value}" for name, value in {**small, **TWO, "output_dir": "saves/p", "max_steps": 60}.items()]
    done = command(place, "train", *words, "--plan", "--json")
    assert done.code == 0, done.err
    first, second = json.loads(done.out)["mix"]
    assert first["rows"] + second["rows"] == pytest.approx(60 * 4, abs=1)
    assert first["asked"] == 0.25 and first["passes"] == pytest.approx(first["rows"] / 40, rel=0.05)


def test_probabilities_that_sum_to_something_else_are_divided_and_told(place: Workspace, train: Any, look: Any):
    values = {**TWO, "interleave_probs": "1,3", "max_steps": 2}
    assert train(place, "saves/ratio", **values).code == 0
    assert "interleave_probs sum to 4; each is divided by that: 0.25, 0.75" in look(place.path("saves/ratio")).log


@pytest.mark.slow
def test_two_processes_count_together(place: Workspace, train: Any, look: Any):
    values = {**TWO, "max_steps": 10, "save_steps": 4, "logging_steps": 5, "per_device_train_batch_size": 2,
              "environment": {"NPROC_PER_NODE": "2"}}  # fmt: skip
    assert train(place, "saves/two", **values).code == 0
    seen = look(place.path("saves/two")).json("run.json")["results"]["seen"]
    assert sum(each["rows"] for each in seen) == 10 * 2 * 2
