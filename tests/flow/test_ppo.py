"""Stage ppo by its command: points, samples, held-out prompts, resume to the last bit, refusals, and that it learns."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from studio.workspace import Workspace

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
REWARDS = """
def even(sample):
    return 10 * sum(id < 300 and id % 2 == 0 for id in sample.answer_ids) / len(sample.answer_ids)


def huge(sample):
    return 1e30 * sample.answer_ids[0]


def longer(sample):
    return float(len(sample.answer_ids))
"""
PPO: dict[str, Any] = {
    "stage": "ppo", "reward_function": "rewards.py:even", "max_new_tokens": 6, "max_steps": 4, "save_steps": 2,
    "save_total_limit": 1, "logging_steps": 1, "per_device_train_batch_size": 2, "ppo_buffer_size": 2,
}  # fmt: skip
# Everything that a step remembers for the next one.
ALL: dict[str, Any] = {
    "finetuning_type": "full", "ppo_score_norm": "True", "ppo_whiten_rewards": "True", "gradient_accumulation_steps": 2,
    "ppo_missing_end_penalty": 1, "ppo_target_kl": 0.02, "ppo_entropy_weight": 0.01, "ppo_kl_horizon": 50,
    "gradient_checkpointing": "True", "top_p": 0.9, "top_k": 200, "temperature": 0.8,
    "val_size": 3, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": "True",
    "metric_for_best_model": "reward",
}  # fmt: skip
CURVE = {
    "reward", "reward_std", "score", "kl", "kl_coef", "entropy", "clip_fraction", "policy_loss", "value_loss",
    "explained_variance", "response_length", "generation_s", "update_s",
}  # fmt: skip
CLOCK = ("generation_s", "scoring_s", "update_s", "eval_runtime")


@pytest.fixture(scope="module", autouse=True)
def _functions(place: Workspace) -> None:
    place.path("rewards.py").write_text(REWARDS)


@pytest.fixture(scope="module")
def whole(place: Workspace, train: Any, look: Any) -> Any:
    """The run with everything in it, without an accident."""
    done = train(place, "saves/whole", **{**PPO, **ALL})
    assert done.code == 0, done.err
    return look(place.path("saves/whole"))


def curve(run: Any) -> list[dict[str, Any]]:
    """The points without what the clock says."""
    return [{name: value for name, value in point.items() if name not in CLOCK} for point in run.measured]


def test_every_step_tells_all_and_keeps_some_answers(whole: Any):
    steps = [point for point in whole.points if point["loss"] is not None]
    assert [point["step"] for point in steps] == [1, 2, 3, 4]
    assert all(point.keys() >= CURVE for point in steps)
    assert steps[0]["kl"] == 0, "the first answers come from the reference itself"
    assert all(point["score"] != point["reward"] for point in steps), "scores are scaled and unended answers pay"
    kept = [json.loads(line) for line in (whole.folder / "rollouts.jsonl").read_text().splitlines()]
    assert {line["step"] for line in kept} == {1, 2, 3, 4}
    assert all(line.keys() == {"step", "messages", "answer", "reward", "kl", "tokens"} for line in kept)
    assert all(1 <= line["tokens"] <= 6 and line["messages"][-1]["role"] == "user" for line in kept)
    held_out = [point for point in whole.points if "eval_reward" in point]
    assert [point["step"] for point in held_out[:2]] == [2, 4]
    assert all({"eval_kl", "eval_response_length"} <= point.keys() for point in held_out)


def test_the_final_weights_need_no_value_head(place: Workspace, train: Any, whole: Any):
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    assert train(place, "saves/adapter", **{**PPO, "max_steps": 1}).code == 0
    base = AutoModelForCausalLM.from_pretrained(place.models / "tiny-chat")
    adapted = PeftModel.from_pretrained(base, place.path("saves/adapter"))
    model = AutoModelForCausalLM.from_pretrained(whole.folder)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.isfinite(adapted(input_ids=ids).logits).all() and torch.isfinite(model(input_ids=ids).logits).all()
    for folder in (place.path("saves/adapter"), whole.folder):
        assert load_file(folder / "value_head.safetensors")["weight"].shape == (1, 32)
        assert not [name for file in folder.glob("*model.safetensors") for name in load_file(file) if "value" in name]


@pytest.mark.parametrize(
    ("event", "call", "number"),
    [
        ("optimizer", 7, KILL), ("evaluate", 27, TERM), ("evaluate", 45, TERM),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (
            ("backward", 9, KILL), ("evaluate", 40, KILL), ("disk", 30, KILL), ("backward", 3, TERM),
            ("evaluate", 12, TERM),
        )),
    ],
)  # fmt: skip
def test_broken_off_anywhere_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, look: Any, whole: Any, event: str, call: int, number: int
):
    folder = f"saves/broken_{event}_{call}_{number}"
    ended = train(place, folder, at=(event, call, number), **{**PPO, **ALL})
    assert ended.code == (14 if number == TERM else -KILL), ended.err
    assert "Traceback" not in ended.err
    done = train(place, folder, **{**PPO, **ALL})
    assert done.code == 0, done.err
    run = look(place.path(folder))
    assert run.weights() == whole.weights()
    assert curve(run) == curve(whole)
    for name in ("rollouts.jsonl", "value_head.safetensors"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_stop_in_the_middle_of_an_answer_throws_the_step_away(place: Workspace, train: Any, look: Any):
    values = {**PPO, "max_new_tokens": 200, "max_steps": 3, "save_steps": 3}
    stopped = train(place, "saves/midway", at=("evaluate", 300, TERM), **values)
    assert stopped.code == 14, stopped.err
    run = look(place.path("saves/midway"))
    assert run.checkpoints == ["checkpoint-1"], "a checkpoint of the step before is written, though none was due"
    assert "step 1 of 3 is saved" in stopped.err


def test_a_loss_that_is_no_number_ends_the_run_before_the_weights(place: Workspace, train: Any):
    done = train(place, "saves/huge", **{**PPO, "reward_function": "rewards.py:huge"})
    assert done.code == 13, done.err
    assert "diverged at step 1" in done.err and "--ppo_kl_coef" in done.err
    assert not place.path("saves/huge/adapter_model.safetensors").exists()


def test_freeze_and_a_rounded_base_learn_too(place: Workspace, train: Any, look: Any):
    for name, values in (("freeze", {"finetuning_type": "freeze", "freeze_trainable_layers": 1}),
                         ("nf4", {"quantization_bit": 4, "model_name_or_path": "models/tiny-chat"})):  # fmt: skip
        done = train(place, f"saves/{name}", **{**PPO, "max_steps": 2, **values})
        assert done.code == 0, done.err
        assert look(place.path(f"saves/{name}")).points[0]["kl"] == 0


def test_what_cannot_be_is_told_before_the_start(place: Workspace, train: Any):
    said = {
        "where do rewards come from": {"reward_function": ""},
        "--lora_dropout: not used by --stage ppo": {"lora_dropout": 0.1},
        "--neftune_noise_alpha: not used by --stage ppo": {"neftune_noise_alpha": 5},
        "--deepspeed: not used by --stage ppo": {"deepspeed": "ds.json"},
        "--repetition_penalty: not used by --stage ppo": {"repetition_penalty": 1.2},
        "--ppo_kl_coef 0: the adaptive penalty": {"ppo_kl_coef": 0},
        "positions of the model": {"max_new_tokens": 4090},
        "gets a new adapter before each step": {"ppo_engine": "vllm", "finetuning_type": "full"},
        "takes plain adapters": {"ppo_engine": "vllm", "pissa_init": "True"},
        "as it was before other adapters": {"ppo_engine": "vllm", "rope_scaling": "yarn"},
        "follows a held-out loss": {"lr_scheduler_type": "greedy"},
        "must be one of reward, kl": {"metric_for_best_model": "loss", "val_size": 2},
    }
    for words, values in said.items():
        done = train(place, "saves/none", **{**PPO, **values})
        assert done.code == 10, (words, done.err)
        assert words in done.err and "Traceback" not in done.err
    assert train(place, "saves/free", **{**PPO, "max_steps": 1, "ppo_kl_coef": 0, "ppo_kl_control": "fixed"}).code == 0


def test_answers_that_leave_the_reference_raise_the_alarm(place: Workspace, train: Any, look: Any):
    values = {
        **PPO,
        "finetuning_type": "full",
        "learning_rate": 1e-2,
        "ppo_target": 0.01,
        "max_steps": 8,
        "logging_steps": 4,
    }
    done = train(place, "saves/alarm", **values)
    assert done.code == 0, done.err
    run = look(place.path("saves/alarm"))
    assert next(point.get("alarm") for point in run.points if point["step"] == 8) == "kl_blowup"
    assert "warning: kl_blowup at step" in run.log


@pytest.mark.slow
def test_a_reward_model_on_the_same_base_is_held_beside_the_adapter_that_learns(
    place: Workspace, train: Any, look: Any
):
    from tests.conftest import CITIES, json_lines

    pairs = [{"instruction": f"What is the code of {city}?", "chosen": f"It is {city.upper()}.", "rejected": "No."}
             for city in CITIES]  # fmt: skip
    (place.data / "rm_pairs.jsonl").write_text(json_lines(pairs))
    registry = json.loads(place.dataset_info.read_text())
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    registry["rm_pairs"] = {"file_name": "rm_pairs.jsonl", "ranking": True, "columns": columns}
    place.dataset_info.write_text(json.dumps(registry))
    assert train(place, "saves/rm", stage="rm", dataset="rm_pairs", learning_rate=1e-2).code == 0
    values = {**PPO, "reward_function": "", "reward_model": "saves/rm"}
    done = train(place, "saves/judged", **values)
    assert done.code == 0, done.err
    whole = look(place.path("saves/judged"))
    assert "reward model saves/rm, on the base that learns" in whole.log
    assert not (whole.folder / "reward").exists(), "only the adapter that learns is saved"
    assert train(place, "saves/judged_killed", at=("optimizer", 20, KILL), **values).code == -KILL
    assert train(place, "saves/judged_killed", **values).code == 0
    run = look(place.path("saves/judged_killed"))
    assert run.json("run.json")["attempts"][-1]["resumed_from"]
    assert run.weights() == whole.weights()
    assert curve(run) == curve(whole)


# About 1 s a step of 16 short answers where the machine is busy.
LEARNING: dict[str, dict[str, Any]] = {
    "full": {"finetuning_type": "full", "learning_rate": 3e-3, "ppo_kl_coef": 0.3, "ppo_kl_horizon": 500},
    # Random embeddings give logits so small that an adapter cannot single tokens out, but at a low temperature.
    "lora": {"learning_rate": 3e-3, "temperature": 0.15, "ppo_kl_coef": 0.1},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARNING)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_mean_reward_rises_and_the_kl_stays_bounded(
    place: Workspace, train: Any, look: Any, method: str, seed: int
):
    folder = f"saves/learning_{method}_{seed}"
    values = {
        **PPO, **LEARNING[method], "seed": seed, "max_steps": 200, "save_strategy": "no", "logging_steps": 10,
        "per_device_train_batch_size": 16, "ppo_buffer_size": 1, "max_new_tokens": 8, "lr_scheduler_type": "constant",
    }  # fmt: skip
    assert train(place, folder, **values).code == 0
    points = look(place.path(folder)).points
    first, last = points[0], points[-1]
    assert first["reward"] < 4.5, "about a quarter of all tokens counts, of at most 8"
    assert last["reward"] > first["reward"] + 2.5
    assert 0.1 < last["kl"] < 15


@pytest.mark.slow
def test_two_processes_learn_as_one(place: Workspace, train: Any, look: Any):
    # One minibatch a step: which answers stand together is then the same, however they are divided.
    both = {**{name: value for name, value in PPO.items() if name != "per_device_train_batch_size"},
            "finetuning_type": "full", "ppo_buffer_size": 1, "max_steps": 3, "ppo_score_norm": "True",
            "ppo_whiten_rewards": "True", "val_size": 5, "eval_strategy": "steps", "eval_steps": 3}  # fmt: skip
    done = train(place, "saves/one", **both, per_device_train_batch_size=4)
    assert done.code == 0, done.err
    done = train(place, "saves/two", **both, per_device_train_batch_size=2, environment={"NPROC_PER_NODE": "2"})
    assert done.code == 0, done.err
    alone, divided = look(place.path("saves/one")), look(place.path("saves/two"))
    for left, right in zip(curve(alone), curve(divided), strict=True):
        for name in ("reward", "kl", "loss", "grad_norm", "explained_variance", "score", "eval_reward", "eval_kl"):
            if left.get(name) is not None:
                assert right[name] == pytest.approx(left[name], rel=1e-3, abs=1e-4), (name, left["step"])
