"""What must be true before a run starts. `--plan` shows it; a start goes through the same checks."""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio import estimate
from studio.data.pack import pack
from studio.data.rows import Rows
from studio.errors import ArgumentError, DiskFullError, counted
from studio.estimate import Figure
from studio.loop.zero import Zero, not_as_said
from studio.material import Material
from studio.model.adapt import linear_weights
from studio.model.hardware import Choice, Hardware, Precision, precision_complaint
from studio.model.quantise import Rounding, in_full, rounding_for, rounding_in, unusable
from studio.recipe import Recipe
from studio.registry import did_you_mean

# The trackers that transformers reports to.
TRACKERS = (
    "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "kubeflow", "mlflow", "neptune",
    "swanlab", "tensorboard", "trackio", "wandb",
)  # fmt: skip
# What Python and the libraries take before any weight: of the machine's memory, or of the device's.
PROGRAM_BYTES = {"cpu": 700 << 20, "cuda": 500 << 20}


@dataclass
class Plan:
    """What a run will do and cost, what was decided for it, and what forbids it."""

    groups: list[list[int]]
    held_out: list[list[int]]
    steps: int
    rounding: Rounding | None = None
    zero: Zero | None = None
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
    recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path, world: int,
    zero: Zero | None = None,
) -> Plan:  # fmt: skip
    """Count, estimate and check. Nothing is loaded; takes seconds."""
    training, data = recipe.training, recipe.data
    groups = group(material.rows, data.cutoff_len, training.seed, packing=recipe.packing)
    held_out = [[index] for index in range(len(material.held_out_rows or ()))]
    if rounding_in(material.config):
        material = replace(material, weights=in_full(material.weights))
    rounding = rounding_for(recipe.model, material.config)
    plan = Plan(groups, held_out, steps_of(recipe, len(groups), world), rounding, zero)
    _shape(plan, recipe, material, world)
    if zero is not None:
        plan.choices.append(zero.choice(world))
        plan.complaints += not_as_said(zero, recipe, hardware, precision, world, rounded=rounding is not None)
    _costs(plan, recipe, material, hardware, precision, folder, world)
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
    what = "pack" if recipe.packing else "row"
    plan.figures["rows"] = Figure(
        len(material.rows), f"{len(material.rows):,} to train on",
        f"{total.rows:,} read, {total.refused:,} refused, {total.truncated:,} truncated, "
        f"{total.fully_masked:,} without a target, {len(plan.held_out):,} held out",
    )  # fmt: skip
    plan.figures["steps"] = Figure(
        plan.steps, f"{plan.steps:,}", f"{counted(len(plan.groups), what)}, {effective} in each step"
    )
    plan.figures["tokens"] = Figure(seen, f"{seen:,}", f"{tokens:,} in one pass over the rows")
    if recipe.packing:
        waste = 1 - tokens / (len(plan.groups) * recipe.data.cutoff_len)
        plan.notes.append(
            f"packing: {counted(len(material.rows), 'row')} in {counted(len(plan.groups), 'sequence')}, "
            f"{waste:.1%} unused"
        )


def _costs(
    plan: Plan, recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path, world: int
) -> None:
    full, weights = recipe.method.finetuning_type == "full", material.weights
    held = estimate.hold(weights, recipe.method, recipe.training.optim, precision, plan.rounding)
    if plan.zero is not None and plan.zero.stage:
        held = estimate.divided(held, plan.zero.stage, world, precision)
    total = sum(tensor.count for tensor in weights.values())
    plan.figures["trainable_weights"] = Figure(
        held.learning, f"{held.learning:,}", f"{held.learning / max(total, 1):.2%} of {total:,}"
    )
    if plan.rounding:
        plan.choices.append(_base(plan.rounding, material, held, precision))
    batch = recipe.training.per_device_train_batch_size
    lengths = [int(sum(material.rows.lengths[index] for index in group)) for group in plan.groups]
    tokens = sum(sorted(lengths)[-batch:])
    share = material.report.total.label_tokens / max(material.report.total.tokens, 1)

    def needed(checkpointing: bool) -> Figure:
        return estimate.memory(
            held, material.config, precision, (tokens, round(tokens * share)),
            full=full, checkpointing=checkpointing, program_bytes=PROGRAM_BYTES[hardware.device],
        )  # fmt: skip

    plan.choices.append(_checkpointing(recipe, needed(False), hardware))
    plan.figures["memory"] = memory = needed(plan.checkpointing)
    if memory.value > hardware.memory_free_bytes:
        text = f"memory: {memory.text} are needed by estimate, {estimate.gib(hardware.memory_free_bytes)} are free"
        remedy = "Lower --per_device_train_batch_size, then --cutoff_len, or use --finetuning_type lora."
        if recipe.method.finetuning_type == "lora":
            remedy = remedy.replace("use --finetuning_type lora", "use --quantization_bit 4")
        certain = held.least_bytes > hardware.memory_free_bytes
        (plan.complaints if certain else plan.notes).append(f"{text}. {remedy}")
    _disk(plan, recipe, estimate.disk(
        weights, held, full=recipe.method.finetuning_type != "lora",
        checkpoints=kept_checkpoints(recipe, plan.steps), only_model=recipe.training.save_only_model,
    ), folder)  # fmt: skip
    plan.figures["time"] = estimate.duration(
        weights, round(plan.figures["tokens"].value), hardware, precision, full=full
    )


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


def _rules(plan: Plan, recipe: Recipe, material: Material, hardware: Hardware) -> None:
    training = recipe.training
    complaints: Sequence[str | None] = [
        precision_complaint(training, hardware),
        _positions(recipe, material),
        *unusable(plan.rounding, hardware, material.adapters),
        *_not_on_rounded_weights(plan, recipe, material, hardware),
        *unusable_trackers(training.report_to),
    ]
    plan.complaints += [complaint for complaint in complaints if complaint]
    if training.optim.startswith("paged") and hardware.device == "cpu":
        plan.notes.append(f"--optim {training.optim}: only a GPU's state is paged; the CPU's lies in its memory anyway")
    warmup = training.warmup_steps
    if warmup >= 1 and warmup >= plan.steps:
        plan.notes.append(
            f"warning: --warmup_steps {warmup:g} is as long as the whole run of {plan.steps} steps, so the learning "
            "rate never reaches its height. Lower it, or write a share such as 0.1."
        )


def _not_on_rounded_weights(plan: Plan, recipe: Recipe, material: Material, hardware: Hardware) -> list[str]:
    """What a method asks for that a base in 4 or 8 bits cannot give."""
    method = recipe.method
    if plan.rounding is None:
        return []
    if method.finetuning_type != "lora":
        return [
            f"--finetuning_type {method.finetuning_type}: the model's folder holds its weights in {plan.rounding}, and "
            "such weights cannot learn. Use --finetuning_type lora, or name the model in full precision."
        ]
    rounded = [f".{name}" for name in linear_weights(material.weights)]
    dora = method.use_dora and plan.rounding.bits == 8 and hardware.device == "cpu"
    return ["--use_dora True: does not work on int8 layers on the CPU. Use --quantization_bit 4."] * dora + [
        f"--additional_target {target}: is held in {plan.rounding}, and such weights cannot learn whole. Give it an "
        "adapter with --lora_target, or leave --quantization_bit out."
        for target in method.additional_target
        if any(f".{target}." in name for name in rounded)
    ]


def unusable_trackers(asked: Sequence[str]) -> list[str]:
    """The complaint about each tracker that is none, or whose package is not installed."""
    packages = {"tensorboard": ("tensorboard", "tensorboardX")}

    def installed(name: str) -> bool:
        return any(importlib.util.find_spec(package) is not None for package in packages.get(name, (name,)))

    return [
        f"--report_to {name}: its package is not installed. Install it, or leave the tracker out."
        if name in TRACKERS
        else f"--report_to {name}: must be one of none, all, {', '.join(TRACKERS)}.{did_you_mean(name, TRACKERS)}"
        for name in asked
        if name not in ("none", "all") and not (name in TRACKERS and installed(name))
    ]


def _positions(recipe: Recipe, material: Material) -> str | None:
    limit = material.config.get("max_position_embeddings")
    longest = int(material.rows.lengths.max()) if len(material.rows) else 0
    if limit and longest > int(limit):
        return (
            f"--cutoff_len {recipe.data.cutoff_len}: the longest row has {longest:,} tokens, but the model has "
            f"positions for {limit:,}. Lower it to {limit}."
        )
    return None
