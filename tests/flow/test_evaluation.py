"""Measuring while training, trackers, and the ways of learning that stand beside the plain one."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.workspace import Workspace


def independent(place: Workspace, model: Path, rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Loss and accuracy of a model on rows, one row at a time with nothing of ours but the ids."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model).eval()
    total, right, count = 0.0, 0, 0
    for row in rows:
        ids, mask = torch.tensor(row["input_ids"]), torch.tensor(row["loss_mask"])
        with torch.no_grad():
            logits = network(ids[None]).logits[0, :-1]
        kept, targets = logits[mask[1:]], ids[1:][mask[1:]]
        total += float(torch.nn.functional.cross_entropy(kept, targets, reduction="sum"))
        right += int((kept.argmax(-1) == targets).sum())
        count += len(targets)
    return total / count, right / count


@pytest.fixture(scope="module")
def rendered(place: Workspace, command: Any) -> list[dict[str, Any]]:
    """All rows of tiny_sft, as preview tells them."""
    done = command(
        place, *["data", "preview", "tiny_sft", "--model_name_or_path", "models/tiny-chat", "--count", "100", "--json"]
    )
    assert done.code == 0, done.err
    return [each for row in json.loads(done.out)["rows"] for each in row["renderings"]]


def test_without_training_the_untouched_model_is_measured(
    place: Workspace, train: Any, look: Any, rendered: list[dict[str, Any]]
):
    done = train(place, "saves/measured", do_train="False", dataset="", eval_dataset="tiny_sft")
    assert done.code == 0, done.err
    run = look(place.path("saves/measured"))
    assert run.checkpoints == [] and not (run.folder / "adapter_model.safetensors").exists()
    results = run.json("run.json")["results"]
    loss, accuracy = independent(place, place.path("models/tiny-chat"), rendered)
    assert results["eval_loss"] == pytest.approx(loss, abs=1e-5)
    assert results["eval_accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert results["eval_perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    texts, nats = learned_texts(place, rendered), loss * sum(sum(row["loss_mask"]) for row in rendered)
    for name, size in (("character", len("".join(texts))), ("byte", len("".join(texts).encode()))):
        assert results[f"eval_bits_per_{name}"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def learned_texts(place: Workspace, rendered: list[dict[str, Any]]) -> list[str]:
    """What the targets of each row say, without the marks that end a turn."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place.path("models/tiny-chat"))
    kept = [[id for id, learned in zip(row["input_ids"], row["loss_mask"], strict=True) if learned] for row in rendered]
    return [tokenizer.decode(ids, skip_special_tokens=True) for ids in kept]


@pytest.fixture(scope="module")
def best(place: Workspace, train: Any, look: Any) -> Any:
    """A run that first learns and then, by a rate far too high, forgets; the best step has no regular save."""
    done = train(
        place, "saves/best", finetuning_type="full", eval_dataset="tiny_sft", eval_strategy="steps", eval_steps=1,
        load_best_model_at_end="True", save_steps=5, max_steps=8, learning_rate=0.1, max_grad_norm=0,
        lr_scheduler_type="constant_with_warmup", warmup_steps=4, save_total_limit=1, early_stopping_steps=3,
    )  # fmt: skip
    assert done.code == 0, done.err
    return done, look(place.path("saves/best"))


def test_the_best_model_is_what_the_run_ends_with(best: Any, place: Workspace, rendered: list[dict[str, Any]]):
    _, run = best
    losses = {point["step"]: point["eval_loss"] for point in run.points if "eval_loss" in point}
    top = min(losses, key=lambda step: losses[step])
    assert top not in (5, 8), "a best step with a regular save would prove little"
    assert f"checkpoint-{top}" in run.checkpoints
    final, kept = (
        load_file(run.folder / "model.safetensors"),
        load_file(run.folder / f"checkpoint-{top}" / "model.safetensors"),
    )
    assert all(torch.equal(final[name], kept[name]) for name in kept)
    loss, accuracy = independent(place, run.folder, rendered)
    results = run.json("run.json")["results"]
    assert results["eval_loss"] == pytest.approx(loss, abs=1e-5) == pytest.approx(losses[top], abs=1e-5)
    assert results["eval_accuracy"] == pytest.approx(accuracy, abs=1e-9)


def test_a_run_ends_early_when_evaluations_bring_nothing_better(best: Any):
    done, run = best
    losses = {point["step"]: point["eval_loss"] for point in run.points if "eval_loss" in point}
    top = min(losses, key=lambda step: losses[step])
    assert run.json("run.json")["results"]["steps"] == top + 3 < 8
    assert "stopping early: 3 evaluations without a better one" in done.err


def test_only_the_newest_checkpoints_and_the_best_are_kept(best: Any, place: Workspace, train: Any, look: Any):
    _, run = best
    losses = {point["step"]: point["eval_loss"] for point in run.points if "eval_loss" in point}
    assert f"checkpoint-{min(losses, key=lambda step: losses[step])}" in run.checkpoints
    assert len(run.checkpoints) <= 2
    assert train(place, "saves/two", save_steps=1, save_total_limit=2).code == 0
    assert look(place.path("saves/two")).checkpoints == ["checkpoint-5", "checkpoint-6"]


def test_rows_held_out_are_not_trained_on(place: Workspace, train: Any, look: Any):
    done = train(place, "saves/held", val_size=10, eval_strategy="epoch", num_train_epochs=1, max_steps=-1)
    assert done.code == 0, done.err
    assert "30 to train on" in done.err and "10 held out" in done.err
    run = look(place.path("saves/held"))
    results = run.json("run.json")["results"]
    assert {"eval_loss", "eval_perplexity", "eval_accuracy"} <= results.keys()
    (measured,) = [point for point in run.points if "eval_loss" in point]
    assert measured["step"] == 8, "the last step asked, so the end does not ask again"
    assert results["eval_loss"] == measured["eval_loss"]


# -- trackers


def test_tensorboard_gets_the_curve(place: Workspace, train: Any):
    done = train(place, "saves/board", report_to="tensorboard")
    assert done.code == 0, done.err
    assert list(place.path("saves/board/tensorboard").rglob("events.out.tfevents.*"))


def test_a_tracker_that_fails_never_stops_a_run(place: Workspace, train: Any, look: Any):
    blocked = place.path("saves/a_file")
    blocked.write_text("no folder")
    done = train(
        place, "saves/boardless", report_to="tensorboard", environment={"TENSORBOARD_LOGGING_DIR": str(blocked)}
    )
    assert done.code == 0, done.err
    assert re.search(r"the tracker TensorBoard stopped \(.*\); the run goes on without it", done.err)
    assert look(place.path("saves/boardless")).json("run.json")["finished"]


def test_a_tracker_whose_package_is_missing_is_refused_before_the_start(place: Workspace, train: Any):
    done = train(place, "saves/wandb", report_to="wandb")
    assert done.code == 10
    assert "--report_to wandb: its package is not installed" in done.err


# -- ways of learning


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("neftune", {"neftune_noise_alpha": 5}),
        ("dora", {"use_dora": "True"}),
        ("checkpointing", {"gradient_checkpointing": "True"}),
        ("padded_eval", {"val_size": 4, "eval_strategy": "steps", "eval_steps": 3, "compute_accuracy": "True"}),
    ],
)
def test_a_way_of_learning_runs_and_learns(place: Workspace, train: Any, look: Any, name: str, values: dict[str, Any]):
    done = train(place, f"saves/{name}", learning_rate=1e-2, **values)
    assert done.code == 0, done.err
    (_, first), *_, (_, last) = look(place.path(f"saves/{name}")).curve
    assert last < first


def test_recomputed_activations_change_no_number(place: Workspace, train: Any, look: Any):
    curves = []
    for name, method in (("lora", "lora"), ("full", "full")):
        for asked in ("True", "False"):
            folder = f"saves/again_{name}_{asked}"
            done = train(place, folder, finetuning_type=method, gradient_checkpointing=asked)
            assert done.code == 0, done.err
            curves.append([loss for _, loss in look(place.path(folder)).curve])
        assert curves[-1] == pytest.approx(curves[-2], abs=1e-6)


def test_rslora_scales_by_the_root_of_the_rank(place: Workspace, train: Any, look: Any):
    assert train(place, "saves/rslora", use_rslora="True").code == 0
    assert look(place.path("saves/rslora")).json("adapter_config.json")["use_rslora"] is True


def test_loraplus_gives_the_b_matrices_their_own_rate(place: Workspace, train: Any):
    done = train(place, "saves/loraplus", loraplus_lr_ratio=16, lr_scheduler_type="constant")
    assert done.code == 0, done.err
    state = torch.load(place.path("saves/loraplus/checkpoint-6/optimizer.pt"), weights_only=True)
    groups = state["param_groups"]
    rates = {round(group["lr"], 9): len(group["params"]) for group in groups if group["params"]}
    assert rates == {1e-3: 14, 16e-3: 14}
