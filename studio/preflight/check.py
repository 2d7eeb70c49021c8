"""Counting, estimating and checking a run before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from studio.data.pack import pack
from studio.data.rows import Rows
from studio.errors import counted
from studio.estimate import Figure
from studio.loop.zero import Zero, not_as_said
from studio.material import Material
from studio.model.hardware import Hardware, Precision
from studio.model.quantise import in_full, rounding_for, rounding_in
from studio.preflight.costs import add_costs, answer_tokens
from studio.preflight.needs import add_needs
from studio.preflight.plan import Plan
from studio.recipe import Recipe
from studio.workspace import Workspace


def group(rows: Rows, capacity: int, seed: int, *, packing: bool, together: int = 1) -> list[list[int]]:
    """What the sampler draws: packs of rows that fill `capacity` tokens, single rows, or the two of a pair."""
    if packing:
        return pack(rows.lengths.tolist(), capacity, seed)
    return [list(range(first, first + together)) for first in range(0, len(rows), together)]


def check(
    recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path, world: int,
    place: Workspace, zero: Zero | None = None,
) -> Plan:  # fmt: skip
    """Count, estimate and check. Nothing is loaded; takes seconds."""
    training, data = recipe.training, recipe.data
    together = 2 if recipe.way.wants == "pairs" else 1
    groups = group(material.rows, data.cutoff_len, training.seed, packing=recipe.packing, together=together)
    held_out = group(material.held_out_rows, 0, 0, packing=False, together=together) if material.held_out_rows else []
    if rounding_in(material.config):
        material = replace(material, weights=in_full(material.weights))
    rounding = rounding_for(recipe.model, material.config)
    plan = Plan(groups, held_out, steps_of(recipe, len(groups), world), rounding, zero)
    (_shape if material.stream is None else _shape_of_stream)(plan, recipe, material, world)
    if zero is not None:
        plan.choices.append(zero.choice(world))
        plan.complaints += not_as_said(zero, recipe, hardware, precision, world, rounded=rounding is not None)
    add_costs(plan, recipe, material, hardware, precision, folder, world, place)
    add_needs(plan, recipe, material, hardware)
    return plan


def steps_of(recipe: Recipe, groups: int, world: int) -> int:
    """Optimizer steps of the run, as transformers counts them."""
    training = recipe.training
    if training.max_steps > 0:
        return training.max_steps
    if (count := recipe.way.pass_steps) is not None:
        return math.ceil(training.num_train_epochs * count(recipe, groups, world))
    whole = math.floor if recipe.flat()["dataloader_drop_last"] else math.ceil
    batches = whole(groups / (training.per_device_train_batch_size * world))
    per_epoch = max(math.ceil(batches * training.per_device_train_batch_size / recipe.way.batch(recipe)), 1)
    return math.ceil(training.num_train_epochs * per_epoch)


def _shape(plan: Plan, recipe: Recipe, material: Material, world: int) -> None:
    training, total = recipe.training, material.report.total
    effective = recipe.way.batch(recipe) * world
    # What the model writes itself is learned too; as long as it may be, and as often as a prompt is answered.
    tokens = int(material.rows.lengths.sum()) + answer_tokens(recipe) * len(material.rows)
    tokens *= recipe.flat().get("num_generations", 1)
    passes = plan.steps * effective / max(len(plan.groups), 1)
    if training.max_steps <= 0:
        passes = training.num_train_epochs * recipe.flat().get("num_iterations", 1)
    seen = round(tokens * passes * recipe.flat().get("ppo_epochs", 1))
    plan.shares, plan.times = material.shares, passes
    paired = recipe.way.wants == "pairs"
    what = "pack" if recipe.packing else "pair" if paired else "row"
    plan.figures["rows"] = Figure(
        len(material.rows),
        f"{counted(len(plan.groups), 'pair')} to train on" if paired else f"{len(material.rows):,} to train on",
        f"{total.rows:,} read, {total.refused:,} refused, {total.truncated:,} truncated, "
        f"{total.fully_masked:,} without a target, {len(plan.held_out):,} held out",
    )  # fmt: skip
    plan.figures["steps"] = Figure(
        plan.steps, f"{plan.steps:,}", f"{counted(len(plan.groups), what)}, {effective} in each step"
    )
    written = f", answers of up to {answer_tokens(recipe):,} among them" if answer_tokens(recipe) else ""
    plan.figures["tokens"] = Figure(seen, f"{seen:,}", f"{tokens:,} in one pass over the rows{written}")
    if recipe.packing:
        waste = 1 - tokens / (len(plan.groups) * recipe.data.cutoff_len)
        plan.notes.append(
            f"packing: {counted(len(material.rows), 'row')} in {counted(len(plan.groups), 'sequence')}, "
            f"{waste:.1%} unused"
        )


def _shape_of_stream(plan: Plan, recipe: Recipe, material: Material, world: int) -> None:
    """The same where nobody has counted the rows: by the first of them, and what an index says."""
    assert material.stream is not None, "called for streams only"
    effective = recipe.way.batch(recipe) * world
    rows, total = material.stream.rows, material.report.total
    tokens = int(material.rows.lengths.sum())
    seen = round(plan.steps * effective * tokens / max(len(plan.groups), 1))
    first = f"by the first {counted(total.rows, 'row')}"
    plan.figures["rows"] = Figure(
        rows or 0,
        "not counted; read while training" if rows is None else f"{rows:,} by their index, read while training",
        f"{first}: {total.refused:,} refused, {total.truncated:,} truncated, {total.fully_masked:,} without a target; "
        f"{len(plan.held_out):,} held out",
    )
    what = "pack" if recipe.packing else "row"
    plan.figures["steps"] = Figure(plan.steps, f"{plan.steps:,}", f"{counted(effective, what)} in each step")
    passes = ""
    if rows and total.rows:
        raw = seen / max(tokens / total.rows, 1)  # raw rows that have so many tokens
        passes = f", about {raw / rows:.3g} passes over all rows"
    plan.figures["tokens"] = Figure(seen, f"about {seen:,}", f"{first}{passes}")
    if not recipe.packing:
        plan.notes.append(
            f"memory: estimated {first}; longer ones, up to cutoff_len {recipe.data.cutoff_len:,}, need more"
        )
