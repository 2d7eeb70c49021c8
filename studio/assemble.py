"""Between the checks and the loop: the model that learns, the parts of its trainer, the card."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ArgumentError
from studio.jobs.folder import Run
from studio.jobs.launch import is_main
from studio.jobs.log import Log
from studio.jobs.progress import Progress, cut_after
from studio.jobs.signals import StopFlag
from studio.loop.parts import Parts
from studio.material import Material, method_of
from studio.model.card import run_card
from studio.model.changed import write_changes
from studio.model.companions import copy_tokenizer, set_template
from studio.model.hardware import Choice, Precision
from studio.model.load import load_model
from studio.model.weights import ADAPTER
from studio.preflight.plan import Plan
from studio.recipe import Recipe
from studio.workspace import Workspace, write_text

if TYPE_CHECKING:
    import transformers


@dataclass(frozen=True)
class Learned:
    """The model that learns, how its attention keeps documents apart, and upstream's settings."""

    model: Any
    attention: Choice
    settings: transformers.TrainingArguments


def learner(
    recipe: Recipe, material: Material, precision: Precision, arguments: transformers.TrainingArguments
) -> Learned:
    """The model that learns, on the CPU yet unless it is rounded."""
    import torch
    from transformers import set_seed

    from studio.loop.attention import choose_attention
    from studio.loop.deepspeed import gathered_in_turn, start
    from studio.model.adapt import adapt
    from studio.model.quantise import steady

    if arguments.deepspeed:
        start(arguments)
    set_seed(arguments.seed)  # adapters start at random
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    whole = recipe.method.finetuning_type == "full"
    model = load_model(
        material.folder, recipe.model, torch.float32 if whole else dtype,
        device=arguments.device, learns=True, head=recipe.way.head, changes=material.changes,
    )  # fmt: skip
    with steady(model), gathered_in_turn(model):
        name, reason = choose_attention(model, recipe.model.flash_attn)
    if name == "padded" and recipe.packing:
        why = "" if recipe.data.packing else " (stage pt packs where nothing else is asked)"
        raise ArgumentError([f"--packing True{why}: this model lets rows of one sequence see each other. "
                             "Use --packing False."])  # fmt: skip
    model = adapt(model, method_of(recipe, material), material.adapters, head=recipe.way.head)
    if arguments.activation_checkpointing and recipe.method.finetuning_type == "lora":
        model.enable_input_require_grads()
    return Learned(model, Choice("attention", name, reason), arguments)


def parts_of(
    recipe: Recipe, material: Material, ready: Plan, learned: Learned, run: Run, stop: StopFlag,
    place: Workspace, say: Log,
) -> Parts:  # fmt: skip
    """Everything a stage's trainer is built from."""
    from studio.loop.incidents import Incidents
    from studio.loop.saving import CheckpointWriter
    from studio.loop.trackers import prepare_trackers
    from studio.loop.watch import Watch

    padded = learned.attention.value == "padded"
    for sentence in prepare_trackers(recipe.training.report_to, run.folder):
        say(sentence)

    def tokenizer(folder: Path) -> None:
        copy_tokenizer(material.tokenizer.folder, folder)
        copy_tokenizer(material.tokenizer.files, folder)
        if material.template is not None:
            set_template(folder, material.template.jinja)
        if material.changes and (folder / ADAPTER).is_file():
            write_changes(folder, material.changes)

    progress = _curve(run, trains=recipe.training.do_train) if is_main(os.environ) else None
    keep = (lambda entries: run.write(incidents=entries)) if is_main(os.environ) else None
    incidents = Incidents(run.record.get("incidents"), keep, say)
    watch = Watch(progress, say, stop, patience=recipe.training.early_stopping_steps, resume=run.resume)
    return Parts(
        recipe=recipe, settings=learned.settings, model=learned.model, rows=material.rows, groups=ready.groups,
        held_out_rows=material.held_out_rows or (material.rows if ready.held_out else None),
        held_out=ready.held_out, pad_id=material.tokenizer.pad_id if padded else None,
        writer=CheckpointWriter(
            run.folder, tokenizer, recipe.training.save_total_limit, incidents, (place.saves, place.models, place.data)
        ),
        watch=watch, stop=stop, folder=run.folder, resume=run.resume, incidents=incidents, material=material,
        place=place, say=say,
    )  # fmt: skip


def _curve(run: Run, *, trains: bool) -> Progress:
    """The open progress file, without the points of steps that will be taken again."""
    path = run.folder / "progress.jsonl"
    if trains:
        cut_after(path, run.resumed_step)
    return Progress(path)


def write_card(run: Run, recipe: Recipe) -> None:
    """README.md of the run: what it is, from what, with which numbers."""
    write_text(run.folder / "README.md", run_card(run.record, recipe.method.finetuning_type))
