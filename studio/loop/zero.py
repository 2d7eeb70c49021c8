"""A DeepSpeed file, read before anything is started: what it asks, and what in it cannot be.

ZeRO (arXiv 1910.02054) divides among the processes of a run the state of the optimizer (stage 1), the
gradients too (stage 2) and the weights too (stage 3). Nothing here loads deepspeed or torch.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.model.hardware import Choice, Hardware, Precision
from studio.recipe import Recipe
from studio.workspace import Workspace

AUTO = "auto"
# What a run reads of the file. The rest of DeepSpeed's settings are other ways to train.
SECTIONS = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping",
    "steps_per_print", "wall_clock_breakdown", "communication_data_type", "data_types", "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer", "bf16", "fp16", "zero_optimization", "optimizer",
)  # fmt: skip
ZERO_OPTIMIZATION = (
    "stage", "allgather_partitions", "allgather_bucket_size", "overlap_comm", "reduce_scatter", "reduce_bucket_size",
    "contiguous_gradients", "round_robin_gradients", "ignore_unused_parameters", "offload_optimizer", "offload_param",
    "sub_group_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold",
    "stage3_max_live_parameters", "stage3_max_reuse_distance", "stage3_gather_16bit_weights_on_model_save",
)  # fmt: skip
# Reasons for what people often have in such files.
INSTEAD = {
    "scheduler": "the course of the rate is the one of --lr_scheduler_type and --warmup_steps",
    "activation_checkpointing": "write --gradient_checkpointing True",
    "tensorboard": "write --report_to tensorboard",
    "wandb": "write --report_to wandb",
    "amp": "write --bf16 True",
    "torch_autocast": "write --bf16 True",
}
# These compute each weight by itself; others look at whole matrices or blocks, and ZeRO cuts across these.
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd")
OLD_LOCK_S = 1800


@dataclass(frozen=True)
class Zero:
    """A DeepSpeed file: where it lies, as a person names it, and what it holds."""

    shown: str
    values: dict[str, Any]

    @property
    def stage(self) -> int:
        """What is divided among the processes: 1 optimizer, 2 gradients too, 3 weights too; 0 nothing."""
        return int(self._zero.get("stage", 0))

    @property
    def offloads(self) -> str:
        """The first part that is kept in the machine's memory instead of the GPU's, or ''."""
        names = ("offload_optimizer", "offload_param")
        return next((n for n in names if (self._zero.get(n) or {}).get("device", "none") != "none"), "")

    @property
    def _zero(self) -> dict[str, Any]:
        found = self.values.get("zero_optimization", {})
        return found if isinstance(found, dict) else {}

    def get(self, place: str) -> Any:
        """The value at a dotted place; None when it is not there or left to the command ("auto")."""
        value: Any = self.values
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return None if value == AUTO else value

    def choice(self, world: int) -> Choice:
        """What is divided, for the log."""
        parts = ("nothing", "optimizer", "optimizer and gradients", "optimizer, gradients and weights")
        why = f"stage {self.stage} in {self.shown}"
        if not self.stage:
            why += ", so DeepSpeed has nothing to do and each process holds all"
        return Choice("deepspeed", f"{parts[self.stage]} divided among {world} processes", why)

    def settings(self) -> dict[str, Any]:
        """As transformers takes it, with the rest of the command filled in where the file is silent.

        DeepSpeed's own defaults are no clipping, one pass a step and float32, whatever the command says.
        """
        made = {name: value for name, value in copy.deepcopy(self.values).items() if name != "optimizer"}
        for name in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"):
            made.setdefault(name, AUTO)
        made["train_batch_size"] = AUTO
        for name in ("bf16", "fp16"):
            made.setdefault(name, {}).setdefault("enabled", AUTO)
        made.setdefault("steps_per_print", 10**9)
        if self.stage == 3:
            made["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
        return made


def read_zero(recipe: Recipe, place: Workspace) -> Zero | None:
    """The file that --deepspeed names, None without one. Raises StudioError with the place of a fault."""
    asked = recipe.training.deepspeed
    if not asked:
        return None
    path = place.path(asked)
    shown = place.shown(path)
    if not path.is_file():
        raise StudioError(f"--deepspeed {asked}: must be a JSON file; there is none at {path}. Check the path.")
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise StudioError(f"{shown}:{error.lineno}:{error.colno}: not JSON: {error.msg}. Mend it.") from None
    except UnicodeDecodeError as error:
        raise StudioError(f"{shown}: must be UTF-8; byte {error.start} is not. Save it as UTF-8.") from None
    except RecursionError:
        raise StudioError(f"{shown}: is nested too deeply to be a DeepSpeed file.") from None
    if not isinstance(values, dict):
        raise StudioError(f"{shown}: must hold an object with DeepSpeed's settings; it holds {type(values).__name__}.")
    if told := [*_unknown(shown, values)]:
        raise StudioError("\n".join(told))
    return Zero(shown, values)


def _unknown(shown: str, values: dict[str, Any]) -> Iterator[str]:
    """What is in the file that a run would not do, or not do right."""
    for name in values:
        if name not in SECTIONS:
            why = INSTEAD.get(name, "it is not among what a run here reads")
            yield f"{shown}: {name}: {why}. Take it out of the file."
    for name in ("bf16", "fp16", "zero_optimization", "optimizer"):
        if not isinstance(values.get(name, {}), dict):
            yield f"{shown}: {name}: must be an object; it is {values[name]!r}."
            return
    zero = values.get("zero_optimization", {})
    for name in zero:
        if name not in ZERO_OPTIMIZATION:
            yield f"{shown}: zero_optimization.{name}: it is not among what a run here reads. Take it out of the file."
    if type(stage := zero.get("stage", 0)) is not int or not 0 <= stage <= 3:
        yield f"{shown}: zero_optimization.stage: must be 0, 1, 2 or 3; it is {stage!r}."
    for name in ("offload_optimizer", "offload_param"):
        device = zero.get(name) or {}
        device = device.get("device", "none") if isinstance(device, dict) else device
        if device not in ("none", "cpu"):
            yield (
                f"{shown}: zero_optimization.{name}: the device must be cpu or none; it is {device!r}, and what lies "
                "there would be missing in a checkpoint."
            )


def not_as_said(
    zero: Zero, recipe: Recipe, hardware: Hardware, precision: Precision, world: int, *, rounded: bool
) -> list[str]:
    """Why a run cannot go as file and command say, in sentences."""
    if not zero.stage:
        return [*_contradictions(zero, recipe, precision, world)]
    if importlib.util.find_spec("deepspeed") is None:
        return [
            f"--deepspeed {zero.shown}: needs the package deepspeed, which is not installed. Install it with "
            "pip install 'studio[deepspeed]', or leave --deepspeed out."
        ]
    told = [*_contradictions(zero, recipe, precision, world), *_not_divided(zero, recipe, rounded=rounded)]
    if hardware.device == "cuda":  # nothing is compiled for a CPU
        told += map(lock_told, old_locks())
    if zero.offloads and hardware.device == "cpu":
        told.append(
            f"{zero.shown}: zero_optimization.{zero.offloads}: moves what a GPU would hold into the machine's memory, "
            "and this run has no GPU. Use a file without it."
        )
    return told


def _contradictions(zero: Zero, recipe: Recipe, precision: Precision, world: int) -> Iterator[str]:
    """Values of the file that differ from the command's, which would otherwise be found after loading."""
    training, other = recipe.training, recipe.flat()
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * world
    betas = [other["adam_beta1"], other["adam_beta2"]]
    command = {
        "train_micro_batch_size_per_gpu": ("--per_device_train_batch_size is", training.per_device_train_batch_size),
        "gradient_accumulation_steps": ("--gradient_accumulation_steps is", training.gradient_accumulation_steps),
        "train_batch_size": (f"the batch of a step on {world} processes is", batch),
        "gradient_clipping": ("--max_grad_norm is", training.max_grad_norm),
        "optimizer.params.lr": ("--learning_rate is", training.learning_rate),
        "optimizer.params.weight_decay": ("--weight_decay is", training.weight_decay),
        "optimizer.params.eps": ("--adam_epsilon is", other["adam_epsilon"]),
        "optimizer.params.betas": ("--adam_beta1 and --adam_beta2 are", betas),
    }
    for place, (words, value) in command.items():
        found = zero.get(place)
        if found is not None and found != value:
            yield _contrary(zero, place, f"{words} {json.dumps(value)}")
    for name in ("bf16", "fp16"):
        found = zero.get(f"{name}.enabled")
        if found is not None and found != (precision == name):
            yield _contrary(zero, f"{name}.enabled", f"the run computes in {precision}")
    if (kind := zero.get("optimizer.type")) is not None and (kind != "AdamW" or "adamw" not in training.optim):
        yield f"{zero.shown}: optimizer: it is the one of --optim, {training.optim}. Take it out of the file."


def _contrary(zero: Zero, place: str, command: str) -> str:
    found = json.dumps(zero.get(place))
    return f'{zero.shown}: {place} is {found}, but {command}. Write "{AUTO}" there, or make both the same.'


def _not_divided(zero: Zero, recipe: Recipe, *, rounded: bool) -> Iterator[str]:
    """What ZeRO and the studio's own ways do not do right together."""
    training, method, other = recipe.training, recipe.method, recipe.flat()
    yes = {
        "--do_train False": not training.do_train,
        "a base in 4 or 8 bits": rounded,
        "--loraplus_lr_ratio": method.loraplus_lr_ratio is not None,
        "--torch_compile": any(other[f"torch_compile{end}"] for end in ("", "_backend", "_mode")),
        f"--lr_scheduler_type {training.lr_scheduler_type}":
            training.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"),
        "--save_only_model True with --load_best_model_at_end True":
            training.save_only_model and training.load_best_model_at_end,
    }  # fmt: skip
    whole = {
        "--finetuning_type freeze": method.finetuning_type == "freeze",
        "--use_dora True": method.use_dora,
        "--additional_target": bool(method.additional_target),
        "--trainable_token_indices": bool(method.trainable_token_indices),
        "--adapter_name_or_path": bool(recipe.model.adapter_name_or_path),
        "--trust_remote_code True": recipe.model.trust_remote_code,
    }
    for name in [name for name, asked in yes.items() if asked]:
        yield f"{name}: does not go together with --deepspeed. Leave one of them out."
    for name in [name for name, asked in whole.items() if asked and zero.stage == 3]:
        yield f"{name}: needs whole weights, and stage 3 of {zero.shown} divides them. Use stage 2, or leave it out."
    if training.optim not in OPTIMIZERS:
        yield (
            f"--optim {training.optim}: with --deepspeed it must be one of {', '.join(OPTIMIZERS)}, because each "
            "process holds a stretch of numbers that ends within a matrix."
        )


def extensions() -> Path:
    """Where torch compiles extensions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache / "torch_extensions")


def old_locks() -> list[Path]:
    """Locks of compilations that ended half-way: whoever needs such an extension would wait for ever."""
    found = [*extensions().glob("*/lock"), *extensions().glob("*/*/lock")]
    return sorted(path for path in found if time.time() - path.stat().st_mtime > OLD_LOCK_S)


def lock_told(path: Path) -> str:
    """What such a lock does, and what to do."""
    return (
        f"{path} was left by a compilation that was killed, and DeepSpeed would wait for it for ever. Remove this "
        "file, unless a compilation is still running."
    )
