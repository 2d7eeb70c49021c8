"""Memory that runs out makes the micro-batch smaller and nothing else; a loss that is no number is looked at twice."""

from __future__ import annotations

import math
import signal
from typing import Any

import pytest

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB."
HOST = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
# Kinds of runs, with a micro-batch of 4 and of 1 that make the same step.
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"lora_dropout": 0.2, "neftune_noise_alpha": 5},
    "full": {"finetuning_type": "full", "gradient_accumulation_steps": 2, "logging_steps": 3},
    "epochs": {"max_samples": 11, "max_steps": -1, "num_train_epochs": 2, "lora_dropout": 0.1},
}


def less(documents: int, raises: str = "OutOfMemoryError", text: str = CUDA) -> dict[str, Any]:
    return {"documents": documents, "raises": raises, "text": text}


def halved(values: dict[str, Any], by: int) -> dict[str, Any]:
    """The same run with a micro-batch so many times smaller, and more of them."""
    times = int(values.get("gradient_accumulation_steps", 1))
    return {**values, "per_device_train_batch_size": 4 // by, "gradient_accumulation_steps": times * by}


def plain(run: Any) -> list[dict[str, Any]]:
    """The curve without its notes, and without how much of an epoch a smaller last batch is."""
    return [{name: value for name, value in point.items() if name not in ("note", "epoch")} for point in run.measured]


@pytest.mark.parametrize(
    ("kind", "fits", "error"),
    [
        ("lora", 2, ("OutOfMemoryError", CUDA)),
        pytest.param("lora", 1, ("MemoryError", ""), marks=pytest.mark.slow),
        pytest.param("full", 2, ("", HOST), marks=pytest.mark.slow),
        ("epochs", 1, ("OutOfMemoryError", CUDA)),
    ],
)
def test_the_micro_batch_halves_until_it_fits_and_the_run_is_that_of_the_smaller_one(
    place: Workspace, train: Any, look: Any, kind: str, fits: int, error: tuple[str, str]
):
    values = KINDS[kind]
    folder = f"saves/full_{kind}_{fits}"
    done = train(place, folder, confined=less(fits, *error), **values)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    small = train(place, f"{folder}_small", **halved(values, 4 // fits))
    assert small.code == 0, small.err
    run, other = look(place.path(folder)), look(place.path(f"{folder}_small"))
    assert run.weights() == other.weights()
    assert plain(run) == plain(other)
    times = int(values.get("gradient_accumulation_steps", 1))
    sizes = [size for size in (2, 1) if size >= fits]
    said = [f"memory ran out at step 1: micro-batch {2 * size} → {size}, accumulation {4 // size * times}"
            for size in sizes]  # fmt: skip
    for sentence, entry in zip(said, run.json("run.json")["incidents"], strict=True):
        assert sentence in done.err and sentence in run.log
        assert sentence in entry["text"] and entry["step"] == 1
    assert [entry["size"] for entry in run.json("run.json")["incidents"]] == sizes
    first, *later = [point.get("note", "") for point in run.points]
    assert all(sentence in first for sentence in said) and not any(later)


@pytest.mark.parametrize("call", [pytest.param(3, marks=pytest.mark.slow), 6])
def test_killed_after_memory_ran_out_it_goes_on_with_the_smaller_micro_batch(
    place: Workspace, train: Any, look: Any, call: int
):
    """`call` 3: killed before the checkpoint after it; 6: behind that."""
    values = KINDS["lora"]
    # Step 2 begins with a backward pass of a batch of 4, the second of the run, and ends with two of 2.
    full = ("backward", 2, {"raises": "OutOfMemoryError", "text": CUDA})
    assert train(place, f"saves/whole_{call}", at=full, **values).code == 0
    folder = f"saves/cut_{call}"
    assert train(place, folder, at=[full, ("backward", call, KILL)], **values).code == -KILL
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    run = look(place.path(folder))
    assert "memory ran out" not in done.err, "it is remembered, and not met again"
    assert run.json("run.json")["incidents"][0]["size"] == 2
    run.must_end_as(look(place.path(f"saves/whole_{call}")))


def test_in_the_middle_of_a_step_all_of_it_is_taken_again(place: Workspace, train: Any, look: Any):
    values = {**KINDS["lora"], "gradient_accumulation_steps": 3, "max_steps": 1, "logging_steps": 1}
    full = ("backward", 3, {"raises": "OutOfMemoryError", "text": CUDA})
    assert train(place, "saves/middle", at=full, **values).code == 0
    assert train(place, "saves/middle_small", **halved(values, 2)).code == 0
    run, other = look(place.path("saves/middle")), look(place.path("saves/middle_small"))
    assert run.weights() == other.weights() and plain(run) == plain(other)


def test_where_one_row_does_not_fit_it_ends_with_12_and_says_what_to_lower(place: Workspace, train: Any, look: Any):
    done = train(place, "saves/none", confined=less(0), **KINDS["lora"])
    assert done.code == 12
    assert "although --per_device_train_batch_size 4 was taken 1 at a time. Lower --cutoff_len, then" in done.err
    assert (
        done.err.index("--cutoff_len, then")
        < done.err.index("--gradient_checkpointing True, then")
        < done.err.index("--quantization_bit 4")
    )
    assert "Traceback" not in done.err
    assert look(place.path("saves/none")).json("run.json")["attempts"][-1]["outcome"] == "MemoryFullError"


def test_an_evaluation_takes_fewer_rows_at_a_time_too(place: Workspace, train: Any, look: Any):
    values = {"val_size": 6, "eval_strategy": "steps", "eval_steps": 2, "per_device_train_batch_size": 1}
    few = train(place, "saves/few", confined=less(1), per_device_eval_batch_size=4, **values)
    assert few.code == 0, few.err
    assert train(place, "saves/one", per_device_eval_batch_size=1, **values).code == 0
    run, other = look(place.path("saves/few")), look(place.path("saves/one"))
    assert plain(run) == plain(other) and run.weights() == other.weights()
    assert [(entry["what"], entry["step"], entry["size"]) for entry in run.json("run.json")["incidents"]] == [
        ("eval", 2, 2), ("eval", 2, 1)
    ]  # fmt: skip
    notes = {point["step"]: point["note"] for point in run.points if "note" in point}
    assert list(notes) == [2] and "memory ran out while evaluating after step 2: 1 at a time now" in notes[2]


# -- a loss that is no number


def test_a_loss_that_is_no_number_once_changes_nothing_but_is_told(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any
):
    done = train(place, "saves/once", poison=[3], **kinds["lora"])
    assert done.code == 0, done.err
    run, said = look(place.path("saves/once")), "step 3 was computed again, because its loss was nan"
    assert run.weights() == unbroken("lora").weights()
    assert plain(run) == plain(unbroken("lora"))
    assert said in done.err and said in run.json("run.json")["incidents"][0]["text"]
    assert [point["step"] for point in run.points if said in point.get("note", "")] == [4]


def test_also_in_the_last_of_several_batches_of_a_step(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any
):
    done = train(place, "saves/batches", poison=[6], **kinds["accumulated"])
    assert done.code == 0, done.err
    run = look(place.path("saves/batches"))
    assert run.weights() == unbroken("accumulated").weights() and plain(run) == plain(unbroken("accumulated"))


def test_a_loss_that_is_no_number_twice_ends_with_13_and_the_last_good_checkpoint(
    place: Workspace, train: Any, look: Any, kinds: Any
):
    from safetensors.torch import load_file

    done = train(place, "saves/twice", poison=[5, 6], **{**kinds["full"], "lr_scheduler_type": "constant"})
    assert done.code == 13
    assert "training diverged at step 5: loss=nan, lr=0.001, last good checkpoint-4. Lower --learning_rate" in done.err
    run = look(place.path("saves/twice"))
    assert run.checkpoints == ["checkpoint-2", "checkpoint-4"]
    for name in run.checkpoints:
        kept = load_file(run.folder / name / "model.safetensors")
        assert all(bool(weight.isfinite().all()) for weight in kept.values())
    assert not (run.folder / "model.safetensors").exists()
    assert all(math.isfinite(loss) for _, loss in run.curve)


PPO: dict[str, Any] = {
    "stage": "ppo", "reward_function": "rewards.py:early", "max_new_tokens": 6, "max_steps": 3, "logging_steps": 1,
    "per_device_train_batch_size": 4, "ppo_buffer_size": 2, "finetuning_type": "full", "val_size": 4,
    "per_device_eval_batch_size": 4, "eval_strategy": "steps", "eval_steps": 1,
}  # fmt: skip


@pytest.mark.parametrize("fits", [pytest.param(2, marks=pytest.mark.slow), 1])
def test_ppo_writes_looks_and_learns_with_fewer_answers_at_a_time(place: Workspace, train: Any, look: Any, fits: int):
    place.path("rewards.py").write_text("def early(sample):\n    return -sum(sample.answer_ids) / 1000\n")
    if not place.path("saves/ppo_roomy").exists():
        assert train(place, "saves/ppo_roomy", **PPO).code == 0
    done = train(place, f"saves/ppo_{fits}", confined=less(fits), **PPO)
    assert done.code == 0, done.err
    run, other = look(place.path(f"saves/ppo_{fits}")), look(place.path("saves/ppo_roomy"))
    found = {(entry["what"], entry["size"]) for entry in run.json("run.json")["incidents"]}
    assert {("train", fits), ("write", fits), ("eval", fits)} <= found
    assert f"memory ran out at step 1 while answers were looked at or learned from: {fits} at a time now" in done.err
    assert "memory ran out" in run.points[0]["note"]
    clock = ("generation_s", "scoring_s", "update_s", "eval_runtime")
    for point, same in zip(plain(run), plain(other), strict=True):
        numbers = {name: value for name, value in same.items() if name not in clock and isinstance(value, float)}
        assert {name: point[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-5)


def test_ppo_ends_with_12_where_one_answer_does_not_fit(place: Workspace, train: Any):
    place.path("rewards.py").write_text("def early(sample):\n    return 0.0\n")
    done = train(place, "saves/ppo_none", confined=less(0), **PPO)
    assert done.code == 12 and "Traceback" not in done.err
    assert "Lower --max_new_tokens" in done.err


GROUPS: dict[str, Any] = {
    "reward_function": "rewards.py:early", "max_new_tokens": 6, "max_steps": 3, "logging_steps": 1,
    "num_generations": 4, "lora_dropout": 0.1, "save_steps": 50,
}  # fmt: skip
# Old log-probabilities and those of the reference are looked at too; tokens of one answer, of a micro-batch, of a step.
ROUNDS: dict[str, dict[str, Any]] = {
    "dapo": {"stage": "grpo", "num_iterations": 2, "beta": 0.1},
    "grpo": {"stage": "grpo", "loss_type": "grpo"},
    "dr_grpo": {"stage": "grpo", "loss_type": "dr_grpo"},
    "rloo": {"stage": "rloo"},
}
# These are divided by the answers of a micro-batch, dapo by their tokens.
SAME = ("rloo", "grpo", "dr_grpo")


@pytest.mark.parametrize("kind", ["dapo", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SAME)])
def test_groups_of_answers_go_through_in_parts_and_the_run_is_that_of_the_smaller_micro_batch(
    place: Workspace, train: Any, look: Any, kind: str
):
    place.path("rewards.py").write_text("def early(sample):\n    return -sum(sample.answer_ids) / 1000\n")
    values = {**GROUPS, **ROUNDS[kind]}
    done = train(place, f"saves/groups_{kind}", confined=less(2), **values)
    assert done.code == 0, done.err
    small = train(place, f"saves/groups_{kind}_small", **halved(values, 2))
    assert small.code == 0, small.err
    run, other = look(place.path(f"saves/groups_{kind}")), look(place.path(f"saves/groups_{kind}_small"))
    assert ("train", 2) in {(entry["what"], entry["size"]) for entry in run.json("run.json")["incidents"]}
    assert "memory ran out at step 1" in done.err and "memory ran out at step 1" in run.points[0]["note"]
    for point, same in zip(plain(run), plain(other), strict=True):
        numbers = {name: value for name, value in same.items() if isinstance(value, float)}
        assert "loss" in numbers and ("reward" in numbers or kind == "dapo"), "dapo learns twice from each round"
        assert {name: point[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("stage", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
def test_where_one_of_a_group_does_not_fit_it_ends_with_12(place: Workspace, train: Any, look: Any, stage: str):
    place.path("rewards.py").write_text("def early(sample):\n    return 0.0\n")
    done = train(place, f"saves/groups_none_{stage}", confined=less(0), stage=stage, **GROUPS)
    assert done.code == 12 and "Traceback" not in done.err
    assert "Lower --max_new_tokens, then how many answers" in done.err
    run = look(place.path(f"saves/groups_none_{stage}"))
    assert run.json("run.json")["attempts"][-1]["outcome"] == "MemoryFullError"


def test_a_loss_of_answers_that_is_no_number_once_is_computed_again(place: Workspace, train: Any, look: Any):
    place.path("rewards.py").write_text("def early(sample):\n    return -sum(sample.answer_ids) / 1000\n")
    values = {**GROUPS, "stage": "grpo", "gradient_accumulation_steps": 2}
    assert train(place, "saves/groups_clean", **values).code == 0
    done = train(place, "saves/groups_poisoned", poison=[4], **values)
    assert done.code == 0, done.err
    assert "step 2 was computed again, because its loss was nan" in done.err
    run, other = look(place.path("saves/groups_poisoned")), look(place.path("saves/groups_clean"))
    assert run.weights() == other.weights() and plain(run) == plain(other)
