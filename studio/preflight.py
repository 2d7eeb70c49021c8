"""What must be true before a run starts. `--plan` shows it; a start goes through the same checks."""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio import estimate
from studio.data.pack import pack
from studio.data.rows import Rows
from studio.errors import ArgumentError, DiskFullError
from studio.estimate import Figure
from studio.material import Material
from studio.model.hardware import Choice, Hardware, Precision, precision_complaint
from studio.recipe import Recipe

# What Python and the libraries take before any weight: of the machine's memory, or of the device's.
PROGRAM_BYTES = {"cpu": 700 << 20, "cuda": 500 << 20}


@dataclass
class Plan:
    """What a run will do and cost, what was decided for it, and what forbids it."""

    groups: list[list[int]]
    held_out: list[list[int]]
    steps: int
    figures: dict[str, Figure] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    no_space: bool = False

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again instead of kept."""
        return any(choice.name == "gradient_checkpointing" and choice.value == "on" for choice in self.choices)

    def refuse(self) -> None:
        """Raise what forbids the start, all of it at once."""
        if self.no_space and len(self.complaints) == 1:
            raise DiskFullError(self.complaints[0])
        if self.complaints:
            raise ArgumentError(self.complaints)

    def as_json(self, material: Material) -> dict[str, Any]:
        """As plain values, for `--json`."""
        total = material.report.total
        return {
            "ok": not self.complaints,
            "data": {
                "rows": total.rows, "kept": total.kept, "refused": total.refused,
                "truncated": total.truncated, "fully_masked": total.fully_masked,
                "tokens": total.tokens, "label_tokens": total.label_tokens,
                "held_out_rows": len(material.held_out_rows) if material.held_out_rows else 0,
            },
            **{name: {"value": f.value, "text": f.text, "basis": f.basis} for name, f in self.figures.items()},
            "choices": [choice.__dict__ for choice in self.choices],
            "notes": [*material.notes, *self.notes],
            "complaints": self.complaints,
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """As lines for people."""
        lines = [f"{name.replace('_', ' ')}: {figure.text} ({figure.basis})" for name, figure in self.figures.items()]
        return [*lines, *map(str, self.choices), *self.notes]


def group(rows: Rows, capacity: int, seed: int, *, packing: bool) -> list[list[int]]:
    """What the sampler draws: packs of rows that fill `capacity` tokens, or single rows."""
    if packing:
        return pack(rows.lengths.tolist(), capacity, seed)
    return [[index] for index in range(len(rows))]


def check(
    recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path, world: int
) -> Plan:
    """Count, estimate and check. Nothing is loaded; takes seconds."""
    training, data = recipe.training, recipe.data
    groups = group(material.rows, data.cutoff_len, training.seed, packing=recipe.packing)
    held_out = [[index] for index in range(len(material.held_out_rows or ()))]
    plan = Plan(groups, held_out, steps_of(recipe, len(groups), world))
    _shape(plan, recipe, material, world)
    _costs(plan, recipe, material, hardware, precision, folder)
    _rules(plan, recipe, material, hardware)
    return plan


def steps_of(recipe: Recipe, groups: int, world: int) -> int:
    """Optimizer steps of the run, as transformers counts them."""
    training = recipe.training
    if training.max_steps > 0:
        return training.max_steps
    whole = math.floor if recipe.flat()["dataloader_drop_last"] else math.ceil
    batches = whole(groups / (training.per_device_train_batch_size * world))
    per_epoch = max(math.ceil(batches / training.gradient_accumulation_steps), 1)
    return math.ceil(training.num_train_epochs * per_epoch)


def _shape(plan: Plan, recipe: Recipe, material: Material, world: int) -> None:
    training, total = recipe.training, material.report.total
    effective = training.per_device_train_batch_size * training.gradient_accumulation_steps * world
    tokens = int(material.rows.lengths.sum())
    seen = round(tokens * plan.steps * effective / max(len(plan.groups), 1))
    if training.max_steps <= 0:
        seen = round(tokens * training.num_train_epochs)
    what = "packs" if recipe.packing else "rows"
    plan.figures["rows"] = Figure(
        len(material.rows), f"{len(material.rows):,} to train on",
        f"{total.rows:,} read, {total.refused:,} refused, {total.truncated:,} truncated, "
        f"{total.fully_masked:,} without a target, {len(plan.held_out):,} held out",
    )  # fmt: skip
    plan.figures["steps"] = Figure(
        plan.steps, f"{plan.steps:,}", f"{len(plan.groups):,} {what}, {effective} in each step"
    )
    plan.figures["tokens"] = Figure(seen, f"{seen:,}", f"{tokens:,} in one pass over the rows")
    if recipe.packing:
        waste = 1 - tokens / (len(plan.groups) * recipe.data.cutoff_len)
        plan.notes.append(f"packing: {len(material.rows):,} rows in {len(plan.groups):,} sequences, {waste:.1%} unused")


def _costs(
    plan: Plan, recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path
) -> None:
    full = recipe.method.finetuning_type == "full"
    weights, learning = material.weights, estimate.trainable(material.weights, recipe.method)
    total = sum(tensor.count for tensor in weights.values())
    plan.figures["trainable_weights"] = Figure(
        learning, f"{learning:,}", f"{learning / max(total, 1):.2%} of {total:,}"
    )
    batch = recipe.training.per_device_train_batch_size
    lengths = [int(sum(material.rows.lengths[index] for index in group)) for group in plan.groups]
    tokens = sum(sorted(lengths)[-batch:])
    share = material.report.total.label_tokens / max(material.report.total.tokens, 1)

    def needed(checkpointing: bool) -> Figure:
        return estimate.memory(
            weights, learning, material.config, precision, (tokens, round(tokens * share)),
            full=full, checkpointing=checkpointing,
            program_bytes=PROGRAM_BYTES[hardware.device],
        )  # fmt: skip

    plan.choices.append(_checkpointing(recipe, needed(False), hardware))
    plan.figures["memory"] = memory = needed(plan.checkpointing)
    if memory.value > hardware.memory_free_bytes:
        text = f"memory: {memory.text} are needed by estimate, {estimate.gib(hardware.memory_free_bytes)} are free"
        remedy = "Lower --per_device_train_batch_size, then --cutoff_len, or use --finetuning_type lora."
        certain = sum(t.count for t in weights.values()) * 2 > hardware.memory_free_bytes
        (plan.complaints if certain else plan.notes).append(f"{text}. {remedy}")
    _disk(plan, recipe, estimate.disk(
        weights, learning, full=recipe.method.finetuning_type != "lora",
        checkpoints=kept_checkpoints(recipe, plan.steps), only_model=recipe.training.save_only_model,
    ), folder)  # fmt: skip
    plan.figures["time"] = estimate.duration(
        weights, round(plan.figures["tokens"].value), hardware, precision, full=full
    )


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


def _rules(plan: Plan, recipe: Recipe, material: Material, hardware: Hardware) -> None:
    training = recipe.training
    complaints: Sequence[str | None] = [
        precision_complaint(training, hardware),
        _positions(recipe, material),
        *(
            f"--report_to {name}: its package is not installed. Install it, or leave the tracker out."
            for name in _missing(training.report_to)
        ),
    ]
    plan.complaints += [complaint for complaint in complaints if complaint]
    warmup = training.warmup_steps
    if warmup >= 1 and warmup >= plan.steps:
        plan.notes.append(
            f"warning: --warmup_steps {warmup:g} is as long as the whole run of {plan.steps} steps, so the learning "
            "rate never reaches its height. Lower it, or write a share such as 0.1."
        )


def _missing(trackers: Sequence[str]) -> list[str]:
    """Trackers whose package is not installed."""
    packages = {"tensorboard": ("tensorboard", "tensorboardX")}

    def installed(name: str) -> bool:
        return any(importlib.util.find_spec(package) is not None for package in packages.get(name, (name,)))

    return [name for name in trackers if name not in ("none", "all") and not installed(name)]


def _positions(recipe: Recipe, material: Material) -> str | None:
    limit = material.config.get("max_position_embeddings")
    longest = int(material.rows.lengths.max()) if len(material.rows) else 0
    if limit and longest > int(limit):
        return (
            f"--cutoff_len {recipe.data.cutoff_len}: the longest row has {longest:,} tokens, but the model has "
            f"positions for {limit:,}. Lower it to {limit}."
        )
    return None
