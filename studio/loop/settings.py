"""From a recipe to the real `transformers.TrainingArguments`, built before a model is loaded."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ArgumentError
from studio.model.hardware import Hardware, Precision
from studio.recipe import Recipe, evaluates

if TYPE_CHECKING:
    import transformers


def settings(
    recipe: Recipe, folder: Path, hardware: Hardware, precision: Precision, *, checkpointing: bool = False
) -> transformers.TrainingArguments:
    """The upstream arguments of a run. Raises ArgumentError with what upstream says is wrong."""
    import transformers

    known = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    values = {name: _plain(name, value) for name, value in recipe.flat().items() if name in known}
    values |= _decided(recipe, folder, hardware, precision, checkpointing)
    try:
        return transformers.TrainingArguments(**values)
    except (ValueError, TypeError, ImportError) as error:
        sentence = " ".join(str(error).split())
        raise ArgumentError([f"transformers does not take these training arguments: {sentence}"]) from None


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        # A list of one name may be a word with a meaning of its own, such as all-linear.
        return value[0] if name == "optim_target_modules" and len(value) == 1 else list(value)
    return value


def _decided(
    recipe: Recipe, folder: Path, hardware: Hardware, precision: Precision, checkpointing: bool
) -> dict[str, Any]:
    """What is not passed on as it was written."""
    training = recipe.training
    metric = training.metric_for_best_model.removeprefix("eval_") or None
    best = training.load_best_model_at_end or training.save_strategy == "best"
    return {
        "output_dir": str(folder),
        "use_cpu": hardware.device == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        # Upstream's newer name for it; both set would be told as a conflict.
        "gradient_checkpointing": None,
        "activation_checkpointing": checkpointing,
        "activation_checkpointing_kwargs": recipe.upstream.model_dump().get("gradient_checkpointing_kwargs"),
        "gradient_checkpointing_kwargs": None,
        "do_eval": evaluates(recipe),
        "eval_steps": training.eval_steps or training.logging_steps,
        "metric_for_best_model": metric or ("loss" if best else None),
        "greater_is_better": metric == "accuracy" if metric or best else None,
        "report_to": list(training.report_to) or ["none"],
        "logging_first_step": True,
        # The run's own code does these: noise by document, pruning once a newer checkpoint is whole,
        # and an end of the run at the first loss that is not finite.
        "neftune_noise_alpha": None,
        "save_total_limit": None,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "resume_from_checkpoint": None,
        "dataloader_pin_memory": hardware.device == "cuda",
        "disable_tqdm": not sys.stderr.isatty() or None,
    }
