"""What is measured of the model while it learns, besides the held-out loss: `eval_methods` (studio.evaluate.methods).

The model is measured before the first step, whenever an evaluation is due, and after the last step. With several
processes each of them measures, which needs no waiting; the first one writes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from studio.errors import StudioError
from studio.evaluate.curves import WHILE_TRAINING, curves, own_evaluations, write_table
from studio.evaluate.kept import Result, group_differences, keep
from studio.evaluate.methods import Chosen, Measurer, chosen, ready
from studio.evaluate.opening import Subject, let_go
from studio.jobs.launch import is_main
from studio.jobs.progress import Point, read
from studio.loop.parts import Parts
from studio.loop.rollout import writing
from studio.material import Material
from studio.model.generate import Speaker
from studio.recipe import Recipe
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.loop.trainer import StudioTrainer

PICTURE, LOSS = "evaluations.png", "training_loss.png"


def complaints(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """What must be mended in eval_methods; their files are read to find it out."""
    asked, told = chosen(recipe.training.eval_methods, recipe.training.per_device_eval_batch_size)
    for each in asked:
        try:
            ready(each, place, material.template)
        except StudioError as error:
            told += getattr(error, "complaints", None) or [str(error)]
    return told


class Methods(TrainerCallback):
    """Measures, puts the numbers on the curve, keeps them with the run and draws them."""

    def __init__(self, parts: Parts, trainer: StudioTrainer) -> None:
        self._parts, self._trainer = parts, trainer
        training = parts.recipe.training
        asked, _ = chosen(training.eval_methods, training.per_device_eval_batch_size)
        self._ready: list[tuple[Chosen, Measurer]] = [
            (each, ready(each, parts.place, parts.material.template)) for each in asked
        ]
        self._when, self._every = training.eval_strategy, 0
        self._first: dict[str, Result] = {}
        self._measured = -1

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure what is learned from; a run that goes on measures what its stop left out."""
        self._every = int(state.eval_steps or 0)
        done = _steps_kept(self._parts.folder)
        self._measured = max((step for step in done if step <= state.global_step), default=-1)
        if state.global_step not in done and (state.global_step == 0 or self._due(state)):
            self._measure(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure when it is due, and after the last step; a stop comes first."""
        last = state.global_step >= state.max_steps
        if not self._parts.stop and (last or self._due(state)):
            self._measure(state)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure after each epoch where that is asked."""
        if self._when == "epoch" and not self._parts.stop:
            self._measure(state)

    def _due(self, state: TrainerState) -> bool:
        return self._when == "steps" and self._every > 0 and state.global_step % self._every == 0

    def _measure(self, state: TrainerState) -> None:
        if state.global_step == self._measured:
            return
        self._measured = state.global_step
        began = time.monotonic()
        values: dict[str, float] = {}
        for each, measurer in self._ready:
            found = self._look(each.name, measurer, state.global_step)
            values |= {f"eval_{each.name}_{name}": measure.value for name, measure in found.measures.items()}
            if is_main(os.environ):
                self._keep(each, found)
        let_go()
        control = self._trainer.control
        due = control.should_log
        self._trainer.log({**values, "eval_methods_runtime": round(time.monotonic() - began, 3)})
        # Upstream takes this for the point with the loss, which is still to come.
        control.should_log = due
        if is_main(os.environ):
            write_table(self._parts.folder)
            self._draw()

    def _look(self, name: str, measurer: Measurer, step: int) -> Result:
        """The model as it is now, in evaluation mode; chance is left as it was."""
        trainer, material = self._trainer, self._parts.material
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        shown = self._parts.place.shown(self._parts.folder)
        at = f"{shown}, step {step}" if step else self._parts.place.shown(material.folder)
        subject = Subject(at, self._parts.folder, run=self._parts.folder, step=step, base=step == 0)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with (
            writing(model), torch.no_grad(), torch.random.fork_rng(devices=devices), trainer.accelerator.autocast()
        ):  # fmt: skip
            return measurer(Speaker(model, material.tokenizer, material.template), subject, name)

    def _keep(self, each: Chosen, found: Result) -> None:
        settings = {**each.asked.changes(), WHILE_TRAINING: True}
        settings.pop("model_name_or_path", None)
        if found.base:
            self._first[each.name] = found
            keep([found], {}, self._parts.folder, self._parts.place, settings=settings)
            return
        base = self._first.get(each.name) or _first_kept(self._parts.folder, each.name)
        differences = {found.model: group_differences(found, base)} if base is not None else {}
        results = [found] if base is None else [base, found]
        keep(results, differences, self._parts.folder, self._parts.place, settings=settings)
        for name, measure in differences.get(found.model, {}).get("all", {}).items():
            now = f"{each.name} {name} at step {found.step}: {found.measures[name].value:.4f}"
            since = f"{measure.value:+.4f} since the start"
            if math.isfinite(measure.low) and math.isfinite(measure.high):
                since += f" ({measure.low:+.4f} to {measure.high:+.4f})"
            self._parts.say(f"{now}, {since}")

    def _draw(self) -> None:
        from studio.jobs.plot import plot_loss, plot_measures

        run = self._parts.folder
        folder, stem = pictures(run, self._parts.recipe, self._parts.place)
        plot_measures(curves(run), folder / f"{stem}{PICTURE}", run.name)
        if self._parts.recipe.training.img_log_dir:
            plot_loss(read(run / "progress.jsonl"), folder / f"{stem}{LOSS}", run.name)


def pictures(run: Path, recipe: Recipe, place: Workspace) -> tuple[Path, str]:
    """The folder of a run's pictures, and what their names begin with."""
    asked = recipe.training.img_log_dir
    return (place.target(asked), f"{run.name}-") if asked else (run, "")


def last_values(points: Sequence[Point], recipe: Recipe) -> dict[str, float]:
    """What was measured last, by the names of the curve."""
    stems = tuple(f"eval_{name}_" for name in recipe.training.eval_methods)
    found: dict[str, float] = {}
    for point in points if stems else ():
        found |= {name: value for name, value in point.more.items() if name.startswith(stems)}
    return found


def _steps_kept(run: Path) -> set[int]:
    """Steps that the run has measured already."""
    return {int(held["results"][-1]["step"]) for held in own_evaluations(run)}


def _first_kept(run: Path, name: str) -> Result | None:
    """What was measured before the first step, by an earlier start of the run."""
    for held in own_evaluations(run):
        first = held["results"][0]
        if held["name"] == name and first["base"]:
            return Result.of_json(first)
    return None
