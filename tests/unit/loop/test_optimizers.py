"""Every optimizer and course of the rate that upstream has: it steps and goes on exactly, or its package is named."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from studio.arguments.upstream import upstream_fields
from studio.command import read_recipe
from studio.errors import ArgumentError
from studio.loop.projected import resumable
from studio.loop.settings import settings
from studio.model.hardware import Hardware
from studio.preflight.packages import OPTIMIZERS, unusable_optimizer
from studio.rules.optimizers import WITH_TARGETS

CPU = Hardware("cpu", "a processor", 1, False, 2**34, 2**33, 2)
BASE = ["--model_name_or_path=m", "--dataset=d", "--output_dir=o", "--finetuning_type=full", "--use_cpu=True"]
CHOICES = [name for name in upstream_fields()["optim"]["choices"] if not name.startswith("schedule_free_")]  # refused
PROJECTED = [name for name in CHOICES if name.startswith(WITH_TARGETS) and not name.endswith(("_layerwise", "_8bit"))]
HERE = [name for name in CHOICES if unusable_optimizer(name) is None and not name.startswith(WITH_TARGETS)]
COURSES = {
    **dict.fromkeys(upstream_fields()["lr_scheduler_type"]["choices"], "{}"),
    "warmup_stable_decay": '{"num_decay_steps": 4}',
    "cosine_with_min_lr": '{"min_lr_rate": 0.1}',
    "cosine_warmup_with_min_lr": '{"min_lr": 1e-4, "warmup_lr_rate": 0.5}',
}
# They follow the held-out loss.
MEASURED = ("reduce_lr_on_plateau", "greedy")


def made(*words: str) -> transformers.TrainingArguments:
    return settings(read_recipe([*BASE, *words])[0], Path("o"), CPU, "fp32")


class Learner:
    """A small net that learns to be even, with the optimizer and the course that upstream makes from the settings."""

    def __init__(self, arguments: transformers.TrainingArguments, steps: int = 10) -> None:
        torch.manual_seed(0)
        # 4,096 numbers and more in a matrix: smaller ones have no 8-bit state.
        self.net: Any = torch.nn.Sequential(torch.nn.Linear(64, 80), torch.nn.Tanh(), torch.nn.Linear(80, 64))
        trainer: Any = transformers.Trainer(model=self.net, args=arguments)
        self.optimizer = resumable(trainer.create_optimizer())
        self.course = trainer.create_scheduler(steps, self.optimizer)

    def step(self, number: int) -> None:
        inputs = torch.randn(8, 64, generator=torch.Generator().manual_seed(number))
        self.optimizer.zero_grad()
        (self.net(inputs) - inputs).square().mean().backward()
        self.optimizer.step()
        self.course.step(1.0 / number) if self.course_is_measured else self.course.step()

    @property
    def course_is_measured(self) -> bool:
        return type(self.course).__name__ in ("ReduceLROnPlateau", "GreedyLR")

    def saved(self) -> dict[str, Any]:
        """What a checkpoint has, as it is read again: no pickle of any object."""
        parts = {"net": self.net, "optimizer": self.optimizer, "course": self.course}
        file = io.BytesIO()
        torch.save({name: part.state_dict() for name, part in parts.items()}, file)
        file.seek(0)
        return dict(torch.load(file, weights_only=True))

    def restore(self, saved: dict[str, Any]) -> None:
        for name, part in {"net": self.net, "optimizer": self.optimizer, "course": self.course}.items():
            part.load_state_dict(saved[name])


@pytest.mark.parametrize("optim", HERE)
def test_it_learns_and_goes_on_from_its_saved_state_to_the_same_weights(optim: str) -> None:
    arguments = made(f"--optim={optim}", "--learning_rate=1e-3", "--weight_decay=0.01", "--lr_scheduler_type=cosine")
    goes_on_exactly(arguments)


def goes_on_exactly(arguments: transformers.TrainingArguments) -> None:
    whole = Learner(arguments)
    before = [weight.detach().clone() for weight in whole.net.parameters()]
    for number in (1, 2):
        whole.step(number)
    saved = whole.saved()
    assert not any(torch.equal(old, new) for old, new in zip(before, whole.net.parameters(), strict=True))
    again = Learner(arguments)
    again.restore(saved)
    for number in (3, 4, 5):
        whole.step(number)
        again.step(number)
    assert all(map(torch.equal, whole.net.parameters(), again.net.parameters()))


@pytest.mark.parametrize(
    ("optim", "more"), [*((optim, "") for optim in PROJECTED), ("galore_adamw", "proj_type=full"),
                        ("apollo_adamw", "proj=svd")]
)  # fmt: skip
def test_one_that_projects_goes_on_with_the_projection_it_had(optim: str, more: str) -> None:
    if told := unusable_optimizer(optim):
        pytest.skip(told)
    words = [f"--optim={optim}", "--optim_target_modules=all-linear", "--learning_rate=1e-3"]
    # The fifth step makes a new projection.
    goes_on_exactly(made(*words, f"--optim_args=rank=8,update_proj_gap=4,{more}".rstrip(",")))


class Halved:
    """Stands for a package's projector: gradients in a part of the directions, another one every second step."""

    def __init__(self) -> None:
        self.ortho_matrix = torch.empty(0)
        self.seed = 3

    def project(self, gradient: torch.Tensor, step: int) -> torch.Tensor:
        if step % 2 == 0:
            self.ortho_matrix = torch.randn(gradient.shape[1], 4, generator=torch.Generator().manual_seed(self.seed))
            self.seed += 1
        within = gradient @ self.ortho_matrix
        return within @ self.ortho_matrix.T


class Projecting(torch.optim.Optimizer):
    """As those packages write one: the projector is an object in the state of a weight."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__([{"params": [weight], "rank": 4, "update_proj_gap": 2}], {"lr": 0.1})

    def _initialize_projector(self, _group: Any, _state: Any) -> Halved:
        return Halved()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        (weight,) = self.param_groups[0]["params"]
        state = self.state[weight]
        state.setdefault("projector", Halved())
        state["step"] = state.get("step", -1) + 1
        weight -= 0.1 * state["projector"].project(weight.grad, state["step"])


def test_a_projector_is_saved_as_numbers_and_made_again_as_it_was() -> None:
    def learner(start: torch.Tensor) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        weight = torch.nn.Parameter(start.clone())
        return weight, resumable(Projecting(weight))

    def step(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()

    weight, optimizer = learner(torch.arange(60.0).reshape(6, 10) / 60)
    step(weight, optimizer)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other, again = learner(weight.detach())
    again.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(3):
        step(weight, optimizer)
        step(other, again)
        assert torch.equal(weight, other)
    assert isinstance(optimizer.state[weight]["projector"], Halved), "saving leaves the run's own state alone"


def test_most_optimizers_run_here() -> None:
    assert {"adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", "adamw_8bit", "lion_8bit",
            "paged_adamw_8bit", "paged_adamw_32bit", "ademamix", "ademamix_8bit"} <= set(HERE)  # fmt: skip


@pytest.mark.parametrize("optim", [name for name in CHOICES if unusable_optimizer(name)])
def test_an_optimizer_whose_package_is_missing_names_what_installs_it(optim: str) -> None:
    told = str(unusable_optimizer(optim))
    assert told.startswith(f"--optim {optim}: its package is not installed. Install it (pip install ")
    # Upstream does not have it either.
    with pytest.raises(ArgumentError):
        made(f"--optim={optim}", *(["--optim_target_modules=all-linear"] if optim.startswith(("gal", "apo")) else []))


def test_no_package_is_named_for_an_optimizer_that_upstream_does_not_have() -> None:
    assert [name for name in OPTIMIZERS if not any(choice.startswith(name) for choice in CHOICES)] == []


@pytest.mark.parametrize("course", COURSES)
def test_every_course_of_the_rate_runs_and_goes_on(course: str) -> None:
    words = [f"--lr_scheduler_type={course}", "--learning_rate=0.01", "--optim=sgd"]
    words += [f"--lr_scheduler_kwargs={COURSES[course]}"] if COURSES[course] != "{}" else []
    words += ["--warmup_steps=2"] if course not in (*MEASURED, "constant") else []
    words += ["--val_size=0.1", "--eval_strategy=steps"] if course in MEASURED else []
    arguments = made(*words)
    # The small learner measures nothing by itself.
    arguments.eval_strategy = transformers.trainer_utils.IntervalStrategy.NO
    whole = Learner(arguments)
    rates, saved = [], {}
    for number in range(1, 9):
        rates.append(whole.optimizer.param_groups[0]["lr"])
        if number == 5:
            saved = whole.saved()
        whole.step(number)
    assert all(0 <= rate <= 0.01 + 1e-12 and math.isfinite(rate) for rate in rates)
    if course in MEASURED:
        return
    assert rates[2] == pytest.approx(0.01) or course in ("inverse_sqrt", "cosine_warmup_with_min_lr")
    assert (rates[0] < rates[2]) == (course != "constant")
    again = Learner(arguments)
    again.restore(saved)
    assert again.optimizer.param_groups[0]["lr"] == rates[4]
    again.step(5)
    assert again.optimizer.param_groups[0]["lr"] == rates[5]
