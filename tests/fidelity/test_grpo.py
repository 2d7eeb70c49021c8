"""Advantages, losses and gradients of grpo and rloo are those of their papers, on answers that a run wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from studio.workspace import Workspace
from tests.fidelity.plain import fresh, furthest, previewed, state

# Loss, the model with its graph, and advantages.
Expected = tuple[torch.Tensor, Any, list[float]]
TEMPERATURE, BETA, EPSILON, ANSWERS = 0.7, 0.2, 0.05, 4
PLAIN = "plain torch, a row at a time"
# Two learnings from each of two rounds: the second of a round is off its policy, the second round off the reference.
RUN = {
    "model_name_or_path": "models/tiny-chat", "dataset": "tiny_sft", "use_cpu": True, "bf16": False,
    "finetuning_type": "full", "optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 0, "max_steps": 4,
    "lr_scheduler_type": "constant", "logging_steps": 1, "save_strategy": "no", "per_device_train_batch_size": 8,
    "num_generations": ANSWERS, "num_iterations": 2, "max_new_tokens": 7, "temperature": TEMPERATURE, "beta": BETA,
    "epsilon": EPSILON, "reward_function": "early.py:early",
}  # fmt: skip


@dataclass
class Seen:
    """What the trainer gave the model and made of it, step by step."""

    prompts: list[list[int]] = field(default_factory=list)
    inputs: list[dict[str, torch.Tensor]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    weights: list[dict[str, torch.Tensor]] = field(default_factory=list)


@pytest.fixture
def seen(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Trains in this process and looks on."""
    place.path("early.py").write_text(
        "def early(sample):\n    return sum(id < 150 for id in sample.answer_ids) / len(sample.answer_ids)\n"
    )

    def run(stage: str, **more: Any) -> Seen:
        from studio.jobs.signals import StopFlag
        from studio.loop.online import OnlineTrainer
        from studio.loop.rollout import OwnWriter
        from studio.model.hardware import Choice
        from studio.recipe import make_recipe
        from studio.train import train

        found, watched = Seen(), []
        write, compute = OwnWriter.write, OnlineTrainer.compute_loss

        def writing(writer: Any, prompts: Any, *rest: Any) -> Any:
            found.prompts += [list(ids) for ids in prompts]
            return write(writer, prompts, *rest)

        def computing(trainer: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            found.weights.append({name: weight.clone() for name, weight in state(model).items()})
            watched.append(trainer.parts.watch.progress)
            found.inputs.append({name: value.clone() for name, value in inputs.items()})
            loss = compute(trainer, model, inputs, *rest, **named)
            found.losses.append(loss.item())
            return loss

        with monkeypatch.context() as patch:
            patch.setattr(OwnWriter, "write", writing)
            patch.setattr(OnlineTrainer, "compute_loss", computing)
            name = "_".join(["saves/seen", stage, *map(str, more.values())])
            recipe, _ = make_recipe({**RUN, "stage": stage, "output_dir": name, **more})
            folder = train(recipe, place, Choice("threads", "1", "a test"), [], StopFlag())
        watched[0].close()
        found.weights.append(_weights(place, folder))
        return found

    return run


def _weights(place: Workspace, folder: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in state(fresh(place, str(folder))).items()}


def _model(place: Workspace, weights: dict[str, torch.Tensor]) -> Any:
    model = fresh(place)
    model.load_state_dict(weights, strict=False)
    return model


def _answers(inputs: dict[str, torch.Tensor]) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer of each row, without padding."""

    def kept(name: str, row: int) -> list[int]:
        return inputs[f"{name}_ids"][row][inputs[f"{name}_mask"][row].bool()].tolist()

    return [(kept("prompt", row), kept("completion", row)) for row in range(len(inputs["prompt_ids"]))]


def _logps(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """The log-probability of each token of an answer, at the temperature that it was drawn with."""
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1] / TEMPERATURE
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def _grouped(rows: list[tuple[list[int], list[int]]], values: list[float], of: Any) -> list[float]:
    """`of(group, place)` for each value, in the group of the answers to the same prompt."""
    groups: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for (prompt, _), value in zip(rows, values, strict=True):
        groups[tuple(prompt)].append(value)
    assert {len(group) for group in groups.values()} == {ANSWERS}
    return [of(torch.tensor(groups[tuple(prompt)]), value) for (prompt, _), value in zip(rows, values, strict=True)]


def _reward(answer: list[int]) -> float:
    return sum(id < 150 for id in answer) / len(answer)


def _normalised(group: torch.Tensor, value: float) -> float:
    """arXiv 2402.03300, 4.1.2: how far above the mean of its group, in standard deviations."""
    return float((value - group.mean()) / (group.std() + 1e-4))


def _left_out(group: torch.Tensor, value: float) -> float:
    """arXiv 2402.14740, equation 8: above the mean of the others."""
    return value - float((group.sum() - value) / (len(group) - 1))


def _clipped(ratio: torch.Tensor, advantage: float) -> torch.Tensor:
    return torch.min(ratio * advantage, ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantage)


def _grpo(
    place: Workspace, seen: Seen, step: int, loss_type: str, unbiased: bool
) -> tuple[torch.Tensor, Any, list[float]]:
    model, old, start = (_model(place, seen.weights[at]) for at in (step, step - step % 2, 0))
    rows = _answers(seen.inputs[step])
    advantages = _grouped(rows, [_reward(answer) for _, answer in rows], _normalised)
    losses = []
    for (prompt, answer), advantage in zip(rows, advantages, strict=True):
        logps = _logps(model, prompt, answer)
        with torch.no_grad():
            before, reference = _logps(old, prompt, answer), _logps(start, prompt, answer)
        kl = (reference - logps).exp() - (reference - logps) - 1
        ratio = (logps - before).exp()
        losses.append(-_clipped(ratio, advantage) + BETA * (kl * ratio if unbiased else kl))
    if loss_type == "dapo":
        return torch.cat(losses).mean(), model, advantages
    if loss_type == "dr_grpo":
        return torch.cat(losses).sum() / len(losses) / RUN["max_new_tokens"], model, advantages
    return torch.stack([loss.mean() for loss in losses]).mean(), model, advantages


def _rloo(place: Workspace, seen: Seen, step: int) -> Expected:
    model, old, start = (_model(place, seen.weights[at]) for at in (step, step - step % 2, 0))
    rows = _answers(seen.inputs[step])
    with torch.no_grad():
        before = [_logps(old, *row).sum() for row in rows]
        kls = [float(mine - _logps(start, *row).sum()) for mine, row in zip(before, rows, strict=True)]
    rewards = [_reward(answer) - BETA * kl for (_, answer), kl in zip(rows, kls, strict=True)]
    advantages = _grouped(rows, rewards, _left_out)
    ratios = [(_logps(model, *row).sum() - mine).exp() for row, mine in zip(rows, before, strict=True)]
    gains = [_clipped(ratio, advantage) for ratio, advantage in zip(ratios, advantages, strict=True)]
    return -torch.stack(gains).mean(), model, advantages


def _held(record: Any, stage: str, what: str, seen: Seen, expected: list[Expected]) -> None:
    advantages, losses, moves = [], [], []
    for step, (loss, model, wanted) in enumerate(expected):
        advantages.append(float((seen.inputs[step]["advantages"] - torch.tensor(wanted)).abs().max()))
        losses.append(abs(seen.losses[step] - loss.item()))
        loss.backward()
        moved = {name: weight - RUN["learning_rate"] * weight.grad for name, weight in model.named_parameters()}
        moves.append(furthest(seen.weights[step + 1], {name: moved[name].detach() for name in seen.weights[step + 1]}))
    assert max(max(map(abs, wanted)) for *_, wanted in expected) > 0.1, "there must be something to compare"
    record(stage, f"advantages of 4 steps{what}", PLAIN, max(advantages), 1e-5)
    record(stage, f"loss of each of 4 steps{what}", PLAIN, max(losses), 1e-5)
    record(stage, f"weights after each of 4 steps of plain descent{what}", PLAIN, max(moves), 1e-5)


@pytest.mark.parametrize(("loss_type", "unbiased"), [("dapo", True), ("grpo", False), ("dr_grpo", True)])
def test_grpo_is_the_papers(place: Workspace, seen: Any, record: Any, loss_type: str, unbiased: bool):
    """arXiv 2402.03300; with the KL divergence of 2512.02556 where that is asked."""
    found = seen("grpo", loss_type=loss_type, use_bias_correction_kl=unbiased)
    expected = [_grpo(place, found, step, loss_type, unbiased) for step in range(4)]
    _held(record, "grpo", f", loss_type {loss_type}", found, expected)


def test_rloo_is_the_papers(place: Workspace, seen: Any, record: Any):
    found = seen("rloo")
    _held(record, "rloo", "", found, [_rloo(place, found, step) for step in range(4)])


def test_the_model_reads_the_prompts_that_the_preview_shows(place: Workspace, seen: Any, record: Any, command: Any):
    rows = previewed(place, command, "tiny_sft", "--stage", "grpo")
    shown = {tuple(row["input_ids"]) for row in rows}
    found = seen("grpo", max_steps=2)
    assert len(found.prompts) == 8
    assert [list(ids) for ids in found.prompts if tuple(ids) not in shown] == []
    learned = [prompt for prompt, _ in _answers(found.inputs[0])]
    record("grpo", "prompts that are not rows of the preview", "studio data preview",
           sum(tuple(ids) not in shown for ids in [*found.prompts, *learned]), 0)  # fmt: skip
