"""What a form needs to know of the arguments: kind, choices, default, bounds, help, and where they are used."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from studio.arguments.base import Argument, Arguments
from studio.arguments.chat import ChatArguments
from studio.arguments.check import arguments_in
from studio.arguments.export import ExportArguments
from studio.arguments.generation import GenerationArguments, SamplingArguments
from studio.arguments.model import ModelArguments
from studio.arguments.serve import EngineArguments, ServeArguments
from studio.arguments.template import TemplateArguments
from studio.arguments.upstream import upstream_fields
from studio.data.kinds import FITTING
from studio.errors import StudioError
from studio.recipe import STAGES, arguments_of, arguments_of_all, groups_of
from studio.works.base import WORKS

# The groups of the verbs other than train, in the order in which their help shows them.
GROUPS: dict[str, dict[str, type[Arguments]]] = {
    "export": {"model": ModelArguments, "template": TemplateArguments, "export": ExportArguments},
    "chat": {"model": ModelArguments, "template": TemplateArguments, "chat": ChatArguments,
             "generation": GenerationArguments, "engine": EngineArguments},
    "api": {"model": ModelArguments, "template": TemplateArguments, "serve": ServeArguments,
            "engine": EngineArguments, "generation": GenerationArguments},
}  # fmt: skip

# Ways of learning in the order that people know; others follow in their own.
ORDER = ("sft", "rm", "ppo", "dpo", "kto", "pt")

# Groups of the training form, in its order, and how the names begin that go there whatever group declares them.
FORM_GROUPS: dict[str, tuple[str, ...]] = {
    "rlhf": ("reward_model",),
    "rlhf_more": (),
    "rollout": (),
    "stage": (),
    "method": (),
    "lora": ("lora", "additional_target", "trainable_token", "use_rslora", "use_dora"),
    "freeze": ("freeze",),
    "quantization": ("quantization", "double_quantization"),
    "data": ("validation_file",),
    "evaluation": ("do_eval", "eval_", "per_device_eval", "load_best", "metric_for", "early_stopping"),
    "saving": ("save_", "plot_loss", "output_dir", "overwrite_output", "resume_from", "ignore_data_skip"),
    "training": ("lr_", "optim", "adam_", "label_smoothing"),
    "model": (),
    "template": (),
    "trackers": ("logging_", "log_level", "report_to", "include_num", "run_name", "project", "trackio", "disable_tqdm"),
    "loader": ("dataloader", "train_sampling", "data_seed"),
    "devices": ("ddp_", "average_tokens", "tf32", "torch_", "full_determinism", "use_cpu", "deepspeed", "bf16", "fp16",
                "gradient_checkpointing"),
    "upstream": (),
}  # fmt: skip
# Those of them that hold what a way of learning has for itself; the form opens them where they are used.
OWN = ("rlhf", "rlhf_more", "rollout", "stage")
# Arguments about rows that share a sequence: only some ways of learning can have them.
_SHARED_SEQUENCES = ("packing", "neat_packing")
# And those about rows that are read while training.
_STREAMED = ("streaming", "buffer_size")
# The arguments that pick rows stand in the head of the form with the datasets, whatever their names begin with.
_ROWS = ("eval_dataset",)


# Values that many begin with, told as hints and never set unasked: argument → stage → method ("" any) → value.
USUAL: dict[str, dict[str, dict[str, float]]] = {
    "learning_rate": {
        "pt": {"lora": 1e-4, "": 1e-5}, "sft": {"lora": 1e-4, "": 1e-5}, "rm": {"lora": 1e-4, "": 1e-5},
        "ppo": {"lora": 1e-5, "": 1e-6}, "dpo": {"lora": 5e-6, "": 5e-7}, "kto": {"lora": 5e-6, "": 5e-7},
        "grpo": {"lora": 1e-5, "": 1e-6}, "rloo": {"lora": 1e-5, "": 1e-6},
    },
    "pref_beta": {"dpo": {"": 0.1}, "kto": {"": 0.1}},
    "num_train_epochs": {"rm": {"": 1.0}, "dpo": {"": 1.0}, "kto": {"": 1.0}},
}  # fmt: skip

# Where the basic arguments stand that are fields of Gradio: above the tabs, and in the sections of the Train tab.
TOP = ("finetuning_type", "quantization_bit", "template", "enable_thinking")
SECTIONS: dict[str, tuple[str, ...]] = {
    "learning": ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
                 "lr_scheduler_type", "warmup_steps", "max_grad_norm", "bf16", "lora_rank"),
    "rows": ("cutoff_len", "max_samples", "val_size", "packing", "train_file"),
    "watching": ("logging_steps", "save_steps", "eval_strategy", "seed", "plot_loss"),
}  # fmt: skip
# Those that scripts of ours draw in the head of the form.
HEAD = ("model_name_or_path", "adapter_name_or_path", "stage", "dataset", "eval_dataset")
_PARTS = {
    **dict.fromkeys(HEAD, "head"),
    **dict.fromkeys(TOP, "top"),
    **{name: "train" for names in SECTIONS.values() for name in names},
}


def schema(verb: str) -> dict[str, Any]:
    """The fields of a verb, the stages and the methods, as plain values. Raises StudioError for another verb."""
    if verb == "train":
        return _training()
    if verb not in GROUPS and verb not in WORKS:
        raise StudioError(f"verb must be one of train, {', '.join((*GROUPS, *WORKS))}; got {verb!r}.")
    groups = GROUPS[verb] if verb in GROUPS else groups_of(WORKS[verb].asked)
    fields = [described(argument) for argument in arguments_in(groups).values()]
    return {"arguments": fields, "stages": [], "methods": [], "groups": list(groups)}


@functools.cache
def _training() -> dict[str, Any]:
    found = []
    for name, argument in arguments_of_all().items():
        owners = [stage for stage in STAGES if name in arguments_of(stage)]
        if name in _SHARED_SEQUENCES:
            owners = [stage for stage in owners if STAGES[stage].packs]
        if name in _STREAMED:
            owners = [stage for stage in owners if STAGES[stage].streams]
        used = list(argument.stages) or ([] if len(owners) == len(list(STAGES)) else owners)
        found.append({**described(argument), "group": form_group(argument, owners), "stages": used,
                      "part": _PARTS.get(name, "group")})  # fmt: skip
    # What a stage asks first stands first in its group.
    found.sort(key=lambda each: each["group"] in OWN and each["level"] != "basic")
    methods = arguments_of_all()["finetuning_type"].choices
    return {"arguments": found, "stages": stages(), "methods": list(methods), "groups": list(FORM_GROUPS),
            "usual": USUAL}  # fmt: skip


def form_group(argument: Argument, owners: Sequence[str]) -> str:
    """The group of the training form in which an argument stands that the stages `owners` have."""
    if argument.name in _ROWS:
        return "data"
    if argument.group == "own":
        if all(STAGES[stage].wants in ("documents", "answers") for stage in owners):
            return "stage"
        if argument.name in SamplingArguments.model_fields:
            return "rollout"
        first = argument.level == "basic" or argument.name.startswith(FORM_GROUPS["rlhf"])
        return "rlhf" if first else "rlhf_more"
    for group, beginnings in FORM_GROUPS.items():
        if beginnings and argument.name.startswith(beginnings):
            return group
    return argument.group


def stages() -> list[dict[str, Any]]:
    """Every way of learning, with the kinds of datasets that fit it."""
    names = sorted(STAGES, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return [
        {"name": name, "title": STAGES[name].title, "wants": STAGES[name].wants,
         "datasets": list(FITTING[STAGES[name].wants])} for name in names
    ]  # fmt: skip


def described(argument: Argument) -> dict[str, Any]:
    """One argument as plain values."""
    choices = choices_of(argument)
    return {
        "name": argument.name,
        "group": argument.group,
        "level": argument.level,
        "kind": kind_of(argument, choices),
        "choices": list(choices),
        "default": list(argument.default) if isinstance(argument.default, tuple) else argument.default,
        "optional": argument.optional,
        "bounds": bounds_of(argument),
        "stages": list(argument.stages),
        "methods": list(argument.methods),
        "help": argument.help,
        "flag": f"--{argument.name}",
        "allowed": argument.allowed,
    }


def choices_of(argument: Argument) -> tuple[str, ...]:
    """The words of which it takes one; also where upstream has the list."""
    if argument.choices or argument.group not in ("training",):
        return argument.choices
    if argument.name in ("lr_scheduler_type", "optim"):
        return tuple(upstream_fields()[argument.name]["choices"])
    return argument.choices


def kind_of(argument: Argument, choices: tuple[str, ...] = ()) -> str:
    """How it is asked for: bool, int, float, text, names, object or choice."""
    if choices:
        return "choice"
    kinds = argument.kinds
    words: Mapping[Any, str] = {bool: "bool", tuple: "names", dict: "object", float: "float", int: "int"}
    if str in kinds:
        return "text"
    return next((word for kind, word in words.items() if kind in kinds), "text")


def bounds_of(argument: Argument) -> dict[str, float]:
    """Its limits by name: ge, gt, le, lt."""
    found: dict[str, float] = {}
    for rule in argument.info.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if (limit := getattr(rule, name, None)) is not None:
                found[name] = limit
    return found
