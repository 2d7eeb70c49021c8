"""From a recipe to the real `transformers.TrainingArguments`, built before a model is loaded."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from studio.arguments.upstream import upstream_fields
from studio.errors import ArgumentError
from studio.jobs.launch import is_worker
from studio.loop.zero import Zero
from studio.model.hardware import Hardware, Precision
from studio.model.quantise import Rounding
from studio.recipe import Recipe

if TYPE_CHECKING:
    import transformers


def settings(
    recipe: Recipe,
    folder: Path,
    hardware: Hardware,
    precision: Precision,
    *,
    checkpointing: bool = False,
    rounding: Rounding | None = None,
    zero: Zero | None = None,
) -> transformers.TrainingArguments:
    """The upstream arguments of a run. Raises ArgumentError with what upstream says is wrong.

    `checkpointing`, `rounding` and `zero` are the plan's: whether activations are computed again, how the base
    is held, and what DeepSpeed divides among the processes.
    """
    import transformers

    known = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    values = {name: _plain(name, value) for name, value in recipe.flat().items() if name in known}
    values |= _decided(recipe, folder, hardware, precision)
    values |= _checkpointing(values["gradient_checkpointing_kwargs"], checkpointing, rounding)
    values["deepspeed"] = _divided(zero, hardware)
    if recipe.data.streaming:
        values["ignore_data_skip"] = True  # the stream itself goes on from where it was
    try:
        made = transformers.TrainingArguments(**values)
        _try_out(made)
    except (ValueError, TypeError, ImportError, NotImplementedError, RuntimeError) as error:
        sentence = " ".join(str(error).split())
        raise ArgumentError([f"transformers does not take these training arguments: {sentence}"]) from None
    return made


def _try_out(made: transformers.TrainingArguments) -> None:
    """Make the optimizer and the course of its rate for a model of one weight, which shows wrong settings."""
    import torch
    import transformers

    tried = copy.copy(made)
    if tried.optim_target_modules is not None:
        tried.optim_target_modules = "all-linear"  # whether the model has the named ones is seen when it is loaded
    with torch.random.fork_rng(devices=[]):
        model: Any = torch.nn.Linear(1, 1)
    kind, options = transformers.Trainer.get_optimizer_cls_and_kwargs(tried, model)
    given = [options.pop(name) for name in ("params", "model", "optimizer_dict") if name in options]
    optimizer = kind(given[-1] if given else model.parameters(), **options)
    transformers.get_scheduler(
        made.lr_scheduler_type,
        optimizer,
        num_warmup_steps=0,
        num_training_steps=1,
        scheduler_specific_kwargs=cast(dict[str, Any] | None, made.lr_scheduler_kwargs),
    )


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str | tuple) and not value and upstream_fields()[name]["optional"]:
        return None
    if isinstance(value, tuple):
        # This one word has a meaning of its own; a list would be taken for names of modules.
        whole = name == "optim_target_modules" and value in (("all-linear",), ("all_linear",))
        return value[0] if whole else list(value)
    return value


def _checkpointing(asked: Any, on: bool, rounding: Rounding | None) -> dict[str, Any]:
    """Computing activations again, under upstream's newer names; the old ones set too would be a conflict."""
    if rounding and rounding.bits == 8 and asked is None:
        # An int8 layer keeps its inputs where only the reentrant kind gets rid of them: 76 MB instead of
        # 483 MB of activations for 2 x 1024 tokens in a 135M model.
        asked = {"use_reentrant": True}
    return {
        "gradient_checkpointing": None,
        "gradient_checkpointing_kwargs": None,
        "activation_checkpointing": on,
        "activation_checkpointing_kwargs": asked,
    }


def _divided(zero: Zero | None, hardware: Hardware) -> dict[str, Any] | None:
    """DeepSpeed's settings where it works: in processes that a launcher started."""
    if zero is None or not zero.stage or not is_worker(os.environ):
        return None
    from studio.loop.deepspeed import prepare

    prepare(hardware.device)
    return zero.settings()


def _decided(recipe: Recipe, folder: Path, hardware: Hardware, precision: Precision) -> dict[str, Any]:
    """What is not passed on as it was written."""
    training, other = recipe.training, recipe.upstream.model_dump()
    metric = training.metric_for_best_model.removeprefix("eval_") or None
    best = training.load_best_model_at_end or training.save_strategy == "best"
    first = recipe.way.metrics[0][0]
    return {
        "output_dir": str(folder),
        "use_cpu": hardware.device == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "do_eval": recipe.evaluates,
        # Without held-out rows it is the studio's own methods alone that are due.
        "eval_strategy": training.eval_strategy if recipe.evaluates else "no",
        "eval_steps": training.eval_steps or training.logging_steps,
        "metric_for_best_model": metric or (first if best else None),
        "greater_is_better": dict(recipe.way.metrics)[metric or first] if metric or best else None,
        "report_to": list(training.report_to) or ["none"],
        "logging_first_step": True,
        # The run's own code does these: noise by document, pruning once a newer checkpoint is whole,
        # and an end of the run at the first loss that is not finite.
        "neftune_noise_alpha": None,
        "save_total_limit": None,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "resume_from_checkpoint": None,
        "dataloader_pin_memory": other["dataloader_pin_memory"] and hardware.device == "cuda",
        "disable_tqdm": not sys.stderr.isatty() if other["disable_tqdm"] is None else other["disable_tqdm"],
        # Upstream asks for a process group as soon as a backend is named, also where one process trains.
        "ddp_backend": other["ddp_backend"] if is_worker(os.environ) else None,
    }
