"""What a run will cost, held against what this machine has free."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

from studio import estimate
from studio.estimate import Figure
from studio.material import Material, method_of
from studio.model.hardware import Choice, Hardware, Precision
from studio.model.quantise import Rounding, rounding_in
from studio.preflight.beside import beside
from studio.preflight.plan import Plan
from studio.recipe import Recipe
from studio.workspace import Workspace

# What Python and the libraries take before any weight: of the machine's memory, or of the device's.
PROGRAM_BYTES = {"cpu": 700 << 20, "cuda": 500 << 20}


def add_costs(
    plan: Plan, recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path, world: int,
    place: Workspace,
) -> None:  # fmt: skip
    """Put memory, disk and time into the plan, and what of them is not there as a complaint."""
    full, weights = recipe.method.finetuning_type == "full", material.weights
    held = estimate.hold(weights, method_of(recipe, material), recipe.training.optim, precision, plan.rounding)
    if plan.zero is not None and plan.zero.stage:
        held = estimate.divided(held, plan.zero.stage, world, precision)
    if recipe.way.copies(recipe):
        held = replace(held, reference_bytes=held.weight_bytes * held.learning)
    total = sum(tensor.count for tensor in weights.values())
    plan.figures["trainable_weights"] = Figure(
        held.learning, f"{held.learning:,}", f"{held.learning / max(total, 1):.2%} of {total:,}"
    )
    if plan.rounding:
        plan.choices.append(_base(plan.rounding, material, held, precision))
    batch = recipe.training.per_device_train_batch_size
    lengths = [int(sum(material.rows.lengths[index] for index in group)) for group in plan.groups]
    written = answer_tokens(recipe)
    longest = sorted(lengths)[-batch:]
    if recipe.flat().get("num_generations"):
        longest = longest[-1:] * batch  # all answers of a micro-batch may be to one prompt
    tokens = sum(longest) + batch * written
    share = material.report.total.label_tokens / max(material.report.total.tokens, 1)
    labels = round(tokens * share) or batch * written
    others, left_out = beside(recipe, material, hardware, precision, (tokens, labels), place)
    plan.notes += left_out

    def needed(checkpointing: bool) -> Figure:
        return estimate.memory(
            held, material.config, precision, (tokens, labels),
            full=full, checkpointing=checkpointing, program_bytes=PROGRAM_BYTES[hardware.device],
            beside=others,
        )  # fmt: skip

    plan.choices.append(_checkpointing(recipe, needed(False), hardware))
    plan.figures["memory"] = memory = needed(plan.checkpointing)
    if memory.value > hardware.memory_free_bytes:
        text = f"memory: {memory.text} are needed by estimate, {estimate.gib(hardware.memory_free_bytes)} are free"
        remedy = "Lower --per_device_train_batch_size, then --cutoff_len, or use --finetuning_type lora."
        if recipe.method.finetuning_type == "lora":
            remedy = remedy.replace("use --finetuning_type lora", "use --quantization_bit 4")
        certain = held.least_bytes + sum(load.held_bytes for load in others) > hardware.memory_free_bytes
        (plan.complaints if certain else plan.notes).append(f"{text}. {remedy}")
    _disk(plan, recipe, estimate.disk(
        weights, held, full=recipe.method.finetuning_type != "lora",
        checkpoints=kept_checkpoints(recipe, plan.steps), only_model=recipe.training.save_only_model,
    ), folder)  # fmt: skip
    plan.figures["time"] = estimate.duration(
        weights, round(plan.figures["tokens"].value), hardware, precision, full=full
    )


def answer_tokens(recipe: Recipe) -> int:
    """The most tokens of an answer where the model writes the answers itself, else 0."""
    return int(recipe.flat()["max_new_tokens"]) if recipe.way.wants == "prompts" else 0


def _base(rounding: Rounding, material: Material, held: estimate.Held, precision: Precision) -> Choice:
    """How the base is held, and what that saves."""
    full = sum(tensor.count for tensor in material.weights.values()) * (4 if precision == "fp32" else 2)
    why = "its folder holds it so" if rounding_in(material.config) else "asked for"
    return Choice("base", str(rounding), f"{why}; {estimate.gib(held.frozen_bytes)} instead of {estimate.gib(full)}")


def _checkpointing(recipe: Recipe, without: Figure, hardware: Hardware) -> Choice:
    asked = recipe.training.gradient_checkpointing
    if asked is not None:
        return Choice("gradient_checkpointing", "on" if asked else "off", "asked for")
    if without.value > 0.9 * hardware.memory_free_bytes:
        free = estimate.gib(hardware.memory_free_bytes)
        return Choice("gradient_checkpointing", "on", f"{without.text} would be needed without, {free} are free")
    return Choice("gradient_checkpointing", "off", f"{without.text} fit into memory")


def kept_checkpoints(recipe: Recipe, steps: int) -> int:
    """How many checkpoints will lie in the folder at the end."""
    training = recipe.training
    if training.save_strategy == "no":
        return 0
    every = training.save_steps if training.save_steps >= 1 else max(math.ceil(steps * training.save_steps), 1)
    made = math.ceil(training.num_train_epochs) if training.save_strategy == "epoch" else math.ceil(steps / every)
    limit = training.save_total_limit
    return made if limit is None else min(made, limit + (1 if training.load_best_model_at_end else 0))


def _disk(plan: Plan, recipe: Recipe, figure: Figure, folder: Path) -> None:
    plan.figures["disk"] = figure
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if figure.value > free:
        plan.no_space = True
        plan.complaints.append(
            f"disk: {figure.text} are needed ({figure.basis}), {estimate.gib(free)} are free on {there}. "
            "Set --save_total_limit 1, raise --save_steps, or free space."
        )
