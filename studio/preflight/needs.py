"""What a run needs of its model, its rows and its adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio.estimate import adapted
from studio.material import Material
from studio.model.adapt import linear_weights
from studio.model.adapter import open_adapter
from studio.model.hardware import Hardware, precision_complaint
from studio.model.prompting import context_of
from studio.model.quantise import unusable
from studio.model.token_rows import ids_of, ranges_told
from studio.preflight.packages import unusable_kernels, unusable_optimizer, unusable_trackers
from studio.preflight.plan import Plan
from studio.recipe import Recipe
from studio.rules.methods import goes_on

# Arguments of a new adapter, by the names that peft gives them in its config.
OF_AN_ADAPTER = {
    "lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "lora_target": "target_modules",
    "exclude_modules": "exclude_modules", "additional_target": "modules_to_save", "use_rslora": "use_rslora",
    "use_dora": "use_dora", "lora_bias": "lora_bias",
}  # fmt: skip


def add_needs(plan: Plan, recipe: Recipe, material: Material, hardware: Hardware) -> None:
    """Put into the plan what is missing, as complaints, and what should be known, as notes."""
    training = recipe.training
    on_top = recipe.method.create_new_adapter
    complaints: Sequence[str | None] = [
        precision_complaint(training, hardware),
        _positions(recipe, material),
        *unusable(plan.rounding, hardware, material.adapters, on_top=on_top),
        *_not_on_rounded_weights(plan, recipe, material, hardware),
        *_goes_on_as_it_was(recipe, material),
        _biases(recipe, material),
        unusable_optimizer(training.optim),
        *unusable_kernels(recipe, hardware),
        *unusable_trackers(training.report_to),
    ]
    plan.complaints += [complaint for complaint in complaints if complaint]
    plan.notes += _to_be_known(plan, recipe, hardware)


def _to_be_known(plan: Plan, recipe: Recipe, hardware: Hardware) -> list[str]:
    training, notes = recipe.training, []
    if training.optim.startswith("paged") and hardware.device == "cpu":
        notes.append(f"--optim {training.optim}: only a GPU's state is paged; the CPU's lies in its memory anyway")
    if recipe.model.rope_scaling == "dynamic":
        notes.append(
            "warning: --rope_scaling dynamic: positions follow the longest row that came before, so a loss depends on "
            "the order of rows, and a run that goes on may differ a little; yarn depends on nothing"
        )
    warmup = training.warmup_steps
    if warmup >= 1 and warmup >= plan.steps:
        notes.append(
            f"warning: --warmup_steps {warmup:g} is as long as the whole run of {plan.steps} steps, so the learning "
            "rate never reaches its height. Lower it, or write a share such as 0.1."
        )
    return notes


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
    held = f"the model's folder holds its weights in {plan.rounding}. Name the model in full precision."
    refused = {
        "--use_dora True: does not work on int8 layers on the CPU. Use --quantization_bit 4.":
            method.use_dora and plan.rounding.bits == 8 and hardware.device == "cpu",
        f"--pissa_init True: starts from whole weights, but {held}":
            method.pissa_init and recipe.model.quantization_bit is None,
        f"--resize_vocab True: needs whole weights, but {held}":
            material.grows and recipe.model.quantization_bit is None,
    }  # fmt: skip
    return [sentence for sentence, holds in refused.items() if holds] + [
        f"--additional_target {target}: is held in {plan.rounding}, and such weights cannot learn whole. Give it an "
        "adapter with --lora_target, or leave --quantization_bit out."
        for target in method.additional_target
        if any(f".{target}." in name for name in rounded)
    ]


def _goes_on_as_it_was(recipe: Recipe, material: Material) -> list[str]:
    """What is asked of an adapter that goes on learning, and differs from what it is."""
    if not goes_on(recipe):
        return []
    config, told = open_adapter(material.adapters[-1]).config, []
    for name, value in recipe.changes().items():
        if name not in OF_AN_ADAPTER or value == ("all",):
            continue
        has = config.get(OF_AN_ADAPTER[name])
        differs = {*value} != {*(has or ())} if isinstance(value, tuple) else value != has
        if differs:
            asked = ",".join(value) if isinstance(value, tuple) else value
            shown = ",".join(sorted(has)) if isinstance(has, list) else has
            told.append(
                f"--{name} {asked}: the adapter that goes on learning has {shown}. Leave it out, or learn a new one on "
                "top with --create_new_adapter True."
            )
    return [*told, *_other_rows(config.get("trainable_token_indices") or [], material)]


def _other_rows(held: Any, material: Material) -> list[str]:
    """The complaint about rows of the embeddings that are asked for, and are not those that the adapter has."""
    has = next(iter(held.values())) if isinstance(held, dict) else held
    if not material.token_rows or ids_of(material.token_rows) == sorted(has):
        return []
    return [
        f"--trainable_token_indices {','.join(material.token_rows)}: the adapter that goes on learning has "
        f"{','.join(ranges_told(has)) or 'none'}. Leave it out, or learn a new one on top with --create_new_adapter "
        "True."
    ]


def _biases(recipe: Recipe, material: Material) -> str | None:
    """The complaint about adapted layers without the bias that an adapter's bias is merged into."""
    method = recipe.method
    if not method.lora_bias or goes_on(recipe):
        return None
    layers = {name.removesuffix(".weight") for name in adapted(material.weights, method.lora_target)}
    layers = {name for name in layers if name.rpartition(".")[2] not in method.exclude_modules}
    without = {name.rpartition(".")[2] for name in layers if f"{name}.bias" not in material.weights}
    if not without:
        return None
    others = sorted({name.rpartition(".")[2] for name in layers} - without)
    way_out = f"Write --lora_target {','.join(others)}." if others else "Leave it out: this model's layers have none."
    return (
        "--lora_bias True: must be on layers that have a bias, or it could not be merged; "
        f"{', '.join(sorted(without))} have none. {way_out}"
    )


def _positions(recipe: Recipe, material: Material) -> str | None:
    limit = context_of(material.config)
    longest = int(material.rows.lengths.max()) if len(material.rows) else 0
    if material.stream is not None and limit and longest <= limit < recipe.data.cutoff_len:
        return (
            f"--cutoff_len {recipe.data.cutoff_len}: a row of the stream may have as many tokens, but the model has "
            f"positions for {limit:,}. Lower it to {limit}."
        )
    if not limit or longest <= limit:
        return None
    remedy = "raise --rope_factor" if recipe.model.rope_scaling else "stretch the model's with --rope_scaling yarn"
    return (
        f"--cutoff_len {recipe.data.cutoff_len}: the longest row has {longest:,} tokens, but the model has "
        f"positions for {limit:,}. Lower it to {limit}, or {remedy}."
    )
