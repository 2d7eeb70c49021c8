"""Learning from groups of answers (grpo and rloo): rewards rise, and a run that is stopped ends as one that was not."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from studio.workspace import Workspace
from tests.fidelity.plain import previewed

TERM, KILL = int(signal.SIGTERM), int(signal.SIGKILL)
# A reward that every token takes part in, so that two layers learn it in some steps.
REWARDS = """
def early(sample):
    return sum(id < 150 for id in sample.answer_ids) / len(sample.answer_ids)


def said(samples):
    for sample in samples:
        assert sample.messages[-1]["role"] == "user", sample
        assert sample.row["answer"], sample
        assert isinstance(sample.answer, str), sample
    return [float(len(sample.answer_ids)) for sample in samples]


def broken(samples):
    return [1 / 0 for sample in samples]
"""
GROUPS = {
    "per_device_train_batch_size": 8, "num_generations": 4, "max_new_tokens": 6, "finetuning_type": "full",
    "reward_function": "rewards.py:early", "max_steps": 6, "logging_steps": 1, "save_steps": 2,
}  # fmt: skip
# Two learnings from each round, so that a checkpoint stands in the middle of one; several epochs; both sums.
KINDS: dict[str, dict[str, Any]] = {
    "grpo": {"num_iterations": 3, "gradient_accumulation_steps": 2, "beta": 0.1, "logging_steps": 3},
    "rloo": {"finetuning_type": "lora", "lora_dropout": 0.1, "max_samples": 5, "max_steps": -1, "num_train_epochs": 3},
}


@pytest.fixture(scope="module", autouse=True)
def _functions(place: Workspace) -> None:
    place.path("rewards.py").write_text(REWARDS)


@pytest.mark.parametrize("stage", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_rewards_rise(place: Workspace, train: Any, look: Any, stage: str):
    values = {**GROUPS, "max_steps": 40, "save_steps": 40, "per_device_train_batch_size": 32, "num_generations": 8,
              "max_new_tokens": 8, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}  # fmt: skip
    done = train(place, f"saves/rising_{stage}", stage=stage, **values)
    assert done.code == 0, done.err
    points = look(place.path(f"saves/rising_{stage}")).points
    rewards = [point["reward"] for point in points]
    first, last = sum(rewards[:5]) / 5, sum(rewards[-5:]) / 5
    assert first < 0.35, "of the tokens a model draws at random"
    assert last > first + 0.35
    told = {"reward", "reward_std", "entropy", "clip_fraction", "response_length"}
    assert all(told <= point.keys() for point in points)
    assert all(("kl" in point) == (stage == "rloo") for point in points), "there is a reference where it costs"


@pytest.mark.parametrize("kind", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_stopped_or_killed_it_ends_with_the_same_bytes(place: Workspace, train: Any, look: Any, kind: str):
    values = {**GROUPS, "stage": kind, **KINDS[kind]}
    assert train(place, f"saves/whole_{kind}", **values).code == 0
    whole = look(place.path(f"saves/whole_{kind}"))
    assert "steps: 6 (" in whole.log and whole.points[-1]["step"] == 6, "the plan counts as the loop does"
    assert ("of each pass 1 are left out" in whole.log) == (kind == "rloo")
    accidents = [(9 if kind == "grpo" else 5, KILL, -KILL), (7 if kind == "grpo" else 3, TERM, 14)]
    if kind == "rloo":
        accidents.append((2, KILL, -KILL))  # before there is a checkpoint, with answers in the file already
    for call, number, code in accidents:
        folder = f"saves/broken_{kind}_{call}"
        ended = train(place, folder, at=("backward", call, number), **values)
        assert ended.code == code, ended.err
        run = look(place.path(folder))
        done = train(place, folder, **values)
        assert done.code == 0, done.err
        assert run.weights() == whole.weights()
        assert (run.folder / "rollouts.jsonl").read_bytes() == (whole.folder / "rollouts.jsonl").read_bytes()
        if number == KILL:
            run.must_end_as(whole)


def test_the_rows_are_prompts_and_answers_are_kept_for_reading(place: Workspace, train: Any, look: Any, command: Any):
    values = {**GROUPS, "reward_function": "rewards.py:said", "max_steps": 1}
    done = train(place, "saves/read", stage="grpo", **values)
    assert done.code == 0, done.err
    run = look(place.path("saves/read"))
    kept = [json.loads(line) for line in (run.folder / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(kept) == 8
    assert all(line["step"] == 1 and line["reward"] == line["tokens"] for line in kept)
    assert len({line["messages"][-1]["content"] for line in kept[:4]}) == 1, "four answers to one prompt"
    (first, *_) = run.json("first_batch.json")["rows"]
    shown = [row["input_ids"] for row in previewed(place, command, "tiny_sft", "--stage", "grpo")]
    assert first["input_ids"] in shown and not any(first["loss_mask"])


def test_what_cannot_be_is_told_before_the_start(place: Workspace, train: Any):
    said = {
        "does not evaluate": {"val_size": 5},
        "where do rewards come from": {"reward_function": ""},
        "defines no function lively": {"reward_function": "rewards.py:lively"},
        "positions of the model": {"max_new_tokens": 100000},
        "must be a multiple of it": {"num_generations": 3},
        "--deepspeed: not used by --stage grpo": {"deepspeed": "ds.json"},
    }
    for words, values in said.items():
        done = train(place, "saves/none", stage="grpo", **{**GROUPS, **values})
        assert done.code == 10, words
        assert words in done.err
        assert "Traceback" not in done.err
    assert not place.path("saves/none/checkpoint-2").exists()


def test_a_function_that_fails_ends_the_run_with_its_line(place: Workspace, train: Any):
    done = train(place, "saves/failed", stage="grpo", **{**GROUPS, "reward_function": "rewards.py:broken"})
    assert done.code == 10
    assert "line 15 (return [1 / 0 for sample in samples]): ZeroDivisionError: division by zero" in done.err
    assert "Traceback" not in done.err


def test_the_order_of_prompts_has_a_seed_of_its_own(place: Workspace, train: Any, look: Any):
    values = {**GROUPS, "stage": "rloo", "max_steps": 1}
    first = {}
    for seed in (1, 2):
        assert train(place, f"saves/order_{seed}", **values, data_seed=seed).code == 0
        first[seed] = look(place.path(f"saves/order_{seed}")).json("first_batch.json")["rows"]
    assert first[1] != first[2]


@pytest.mark.parametrize(("kind", "token"), [pytest.param("grpo", 9, marks=pytest.mark.slow), ("rloo", 15)])
def test_a_stop_while_answers_are_written_throws_the_step_away_and_takes_it_again(
    place: Workspace, train: Any, look: Any, kind: str, token: int
):
    """Of the second round; for rloo it is the first of its second epoch."""
    values = {**GROUPS, "stage": kind, **KINDS[kind], "save_steps": 50}
    assert train(place, f"saves/undisturbed_{kind}", **values).code == 0
    whole = look(place.path(f"saves/undisturbed_{kind}"))
    folder = f"saves/halted_{kind}"
    stopped = train(place, folder, at=("token", token, TERM), **values)
    assert stopped.code == 14, stopped.err
    run = look(place.path(folder))
    (kept,) = run.checkpoints
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    assert f"going on from {kept}" in done.err
    assert run.weights() == whole.weights() and run.measured == whole.measured
    assert (run.folder / "rollouts.jsonl").read_bytes() == (whole.folder / "rollouts.jsonl").read_bytes()


def test_the_plan_counts_what_is_learned_as_often_as_it_is(place: Workspace, train: Any):
    def tokens(**values: Any) -> int:
        done = train(place, "saves/planned", "--plan", "--json", **{"max_steps": -1, "num_train_epochs": 1, **values})
        assert done.code == 0, done.err
        return int(json.loads(done.out)["tokens"]["value"])

    base = {"reward_function": "rewards.py:early", "max_new_tokens": 6, "per_device_train_batch_size": 8}
    once = tokens(**base, stage="ppo", ppo_epochs=1)
    assert tokens(**base, stage="ppo", ppo_epochs=3) == 3 * once
    assert tokens(**base, stage="grpo", num_generations=4, num_iterations=2) == 8 * once
