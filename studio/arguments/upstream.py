"""The other fields of `transformers.TrainingArguments`, accepted under their own names.

`upstream.json` (name, kinds, optional, default, choices) is written by `measure()` from the pinned
version: `python -m studio.arguments.upstream`. A test compares the two.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal, Optional, Union

from pydantic import Field, create_model

from studio.arguments.base import Arguments, Names, Object, Text
from studio.arguments.refused import is_secret

FILE = Path(__file__).with_name("upstream.json")
_KINDS: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": Text, "dict": Object, "list": Names}

# What each accepted field does here; a test wants a sentence for every one.
HELP = {
    "lr_scheduler_kwargs": 'Settings of the learning rate\'s course, such as {"min_lr": 1e-6}.',
    "optim_args": "Settings of the optimizer as text: name=value,name=value.",
    "adam_beta1": "How slowly AdamW forgets the direction of past gradients.",
    "adam_beta2": "How slowly AdamW forgets the size of past gradients.",
    "adam_epsilon": "Smallest divisor of AdamW, against division by nothing.",
    "use_liger_kernel": "Fused kernels for norms, rotary positions and MLPs; on a GPU, with the package liger-kernel.",
    "liger_kernel_config": 'Which of these kernels, such as {"rope": false}.',
    "optim_target_modules": "Modules that GaLore, APOLLO and their kin work on.",
    "average_tokens_across_devices": "Divide the loss by the labels of all devices, not by those of each.",
    "label_smoothing_factor": "Share of the target's probability that is spread over all tokens.",
    "tf32": "Let a GPU round float32 products to TF32, which is faster; unset leaves its own way.",
    "gradient_checkpointing_kwargs": 'Settings of gradient_checkpointing, such as {"use_reentrant": true}.',
    "torch_compile": "Compile the model: minutes before the first steps, faster ones after; for long runs.",
    "torch_compile_backend": "What compiles it; naming one turns torch_compile on.",
    "torch_compile_mode": "How hard it tries; naming one turns torch_compile on.",
    "torch_empty_cache_steps": "Steps between two returns of unused GPU memory; slower, less memory.",
    "logging_strategy": "When points of the curve are written; the first and the last are always there.",
    "log_level": "How much transformers itself says in the log.",
    "log_level_replica": "The same for the processes other than the first.",
    "disable_tqdm": "No progress bar. Unset: a bar on a terminal, none elsewhere.",
    "run_name": "Name of the run with trackers.",
    "project": "Name of the project with trackio.",
    "trackio_space_id": "Space on the hub that trackio sends the curve to.",
    "trackio_bucket_id": "Bucket on the hub that trackio keeps the curve in.",
    "trackio_static_space_id": "Name of the static Space that trackio publishes at the end.",
    "eval_delay": "Steps (or epochs, with eval_strategy epoch) before the first evaluation.",
    "eval_on_start": "Evaluate once before the first step.",
    "ignore_data_skip": "Go on from a checkpoint with the first rows again: sooner, but not the same run.",
    "full_determinism": "Use only operations that always give the same result; slower, and needed on GPUs only.",
    "data_seed": "Start of the random numbers that shuffle rows; unset takes seed.",
    "dataloader_drop_last": "Leave out the last batch of an epoch when it is not full.",
    "dataloader_num_workers": "Processes that make batches beside the training one.",
    "dataloader_pin_memory": "Keep batches in memory that a GPU reads fast; on the CPU it is always off.",
    "dataloader_persistent_workers": "Keep the processes that make batches between epochs.",
    "dataloader_prefetch_factor": "Batches that each of these processes makes in advance.",
    "dataloader_multiprocessing_context": "How these processes are started.",
    "dataloader_in_order": "Take batches in their order, not in the order they are ready.",
    "train_sampling_strategy": "Order of the rows: random, anew in each epoch, or sequential.",
    "ddp_find_unused_parameters": "Several devices: look for weights without gradient in every step.",
    "ddp_bucket_cap_mb": "Several devices: size of the pieces in which gradients travel, in MB.",
    "ddp_broadcast_buffers": "Several devices: send buffers that do not learn along in every step.",
    "ddp_static_graph": "Several devices: promise that every step uses the same weights.",
    "ddp_backend": "Several devices: the library that carries gradients; unset takes the device's own.",
    "ddp_timeout": "Several devices: seconds after which one that does not answer ends the run.",
}

# Upstream finds these wrong only when the model is loaded, or not at all.
_BOUNDS: dict[str, dict[str, float]] = {
    "adam_beta1": {"ge": 0, "lt": 1},
    "adam_beta2": {"ge": 0, "lt": 1},
    "adam_epsilon": {"ge": 0, "le": 1},
    "label_smoothing_factor": {"ge": 0, "lt": 1},
    "torch_empty_cache_steps": {"ge": 1, "le": 10**9},
    "eval_delay": {"ge": 0, "le": 10**9},
    "data_seed": {"ge": 0, "le": 2**32 - 1},
    "dataloader_num_workers": {"ge": 0, "le": 4096},
    "dataloader_prefetch_factor": {"ge": 1, "le": 4096},
    "ddp_bucket_cap_mb": {"ge": 1, "le": 1 << 20},
    "ddp_timeout": {"ge": 1, "le": 10**9},
}

# Upstream takes any text here and fails at the first step.
_CHOICES = {
    "torch_compile_backend": ("inductor", "eager", "aot_eager", "cudagraphs"),
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}


@functools.cache
def upstream_fields() -> dict[str, dict[str, Any]]:
    """Every upstream field by name: kinds, optional, default, choices."""
    fields: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return fields


def upstream_arguments(declared: frozenset[str], refused: frozenset[str]) -> type[Arguments]:
    """The group of fields that are neither declared by the studio nor refused by it."""
    fields: dict[str, Any] = {}
    for name, facts in upstream_fields().items():
        if name in declared or name in refused or is_secret(name):
            continue
        annotation, default = _typed(facts | {"choices": _CHOICES.get(name, facts["choices"])})
        about = HELP.get(name, f"As transformers.TrainingArguments.{name}.")
        bounds: dict[str, Any] = {**_BOUNDS.get(name, {})}
        fields[name] = (annotation, Field(default, description=about, **bounds))
    return create_model("UpstreamArguments", __base__=Arguments, **fields)


def _typed(facts: dict[str, Any]) -> tuple[Any, Any]:
    """Type and default of a field. Text and lists are never None here: empty means none."""
    default = tuple(facts["default"]) if isinstance(facts["default"], list) else facts["default"]
    if facts["choices"]:
        annotation: Any = Literal[tuple(facts["choices"])]
    elif "dict" in facts["kinds"]:  # its text would be the path of a file; the object itself is written
        annotation = Object
    elif facts["kinds"] in (["str"], ["list"]):
        empty: Any = "" if facts["kinds"] == ["str"] else ()
        return _KINDS[facts["kinds"][0]], empty if default is None else default
    else:
        annotation = Union[tuple(_KINDS[kind] for kind in facts["kinds"])]
    return Optional[annotation] if facts["optional"] else annotation, default


def measure() -> dict[str, dict[str, Any]]:
    """The fields of the installed transformers, in the form of `upstream.json`."""
    import dataclasses
    import enum
    import typing

    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    found = {}
    for field in dataclasses.fields(TrainingArguments):
        members = _flat(hints[field.name])
        enums = [kind for kind in members if isinstance(kind, type) and issubclass(kind, enum.Enum)]
        choices = [word.value for kind in enums for word in kind]
        choices = choices or list(field.metadata.get("choices") or [])
        default = field.default
        if default is dataclasses.MISSING:
            default = field.default_factory() if callable(field.default_factory) else None
        kinds = list(dict.fromkeys(_word(kind) for kind in members if kind is not type(None)))
        if "list" in kinds:  # text with commas is read as a list
            kinds = [kind for kind in kinds if kind != "str"]
        if field.name == "debug":  # its enum only lists what its text may hold
            kinds, choices = ["str"], []
        found[field.name] = {
            "kinds": sorted(kinds, key=list(_KINDS).index),
            "optional": type(None) in members or default is None,
            "default": default.value if isinstance(default, enum.Enum) else default,
            "choices": choices,
        }
    return found


def _flat(hint: Any) -> list[Any]:
    import types
    import typing

    if typing.get_origin(hint) in (Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _flat(part)]
    return [typing.get_origin(hint) or hint]


def _word(kind: Any) -> str:
    name = getattr(kind, "__name__", "str")
    return name if name in _KINDS else "str"


if __name__ == "__main__":
    FILE.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
