"""One complete, checked set of arguments, and the rules that hold across its groups.

A `Recipe` is what a training command says, whole; an `ArgumentSet` in general is the groups of one
verb. Both are made by `fill`, which tells all complaints at once.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError

from studio.arguments.base import Argument, Arguments, declared
from studio.arguments.data import DataArguments
from studio.arguments.method import MethodArguments
from studio.arguments.model import ModelArguments
from studio.arguments.refused import SECRET, is_secret, refusals
from studio.arguments.template import TemplateArguments
from studio.arguments.training import TrainingArguments
from studio.arguments.upstream import upstream_arguments, upstream_fields
from studio.errors import ArgumentError
from studio.registry import Registry, did_you_mean


class StageFields(Protocol):
    """What a recipe knows of a stage: its name and its own arguments."""

    name: str
    title: str
    fields: type[Arguments]


def _load_stages() -> None:
    package = importlib.import_module("studio.stages")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"studio.stages.{module.name}")


# A file in studio/stages adds itself here, and is found by its name, never by an import of ours.
STAGES: Registry[StageFields] = Registry("stage", _load_stages)


class ArgumentSet(BaseModel):
    """Groups of arguments that belong to one command; equal sets are equal commands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def flat(self) -> dict[str, Any]:
        """Every argument by its flat name."""
        return {name: value for group in self._groups() for name, value in group}

    def changes(self) -> dict[str, Any]:
        """The arguments that differ from their defaults: all that a command needs to say."""
        return {
            name: getattr(group, name)
            for group in self._groups()
            for name, info in type(group).model_fields.items()
            if getattr(group, name) != info.default
        }

    def _groups(self) -> Iterator[Arguments]:
        for name in type(self).model_fields:
            yield getattr(self, name)


class Recipe(ArgumentSet):
    """A training command: what is learned, from what, how."""

    model: ModelArguments
    template: TemplateArguments
    data: DataArguments
    method: MethodArguments
    training: TrainingArguments
    own: SerializeAsAny[Arguments]
    upstream: SerializeAsAny[Arguments]

    @property
    def stage(self) -> str:
        """The name of the way of learning."""
        return self.training.stage

    @property
    def packing(self) -> bool:
        """Whether several rows share a sequence."""
        asked = self.data.packing
        return self.data.neat_packing or (self.stage == "pt" if asked is None else asked)


_GROUPS: dict[str, type[Arguments]] = {
    "model": ModelArguments,
    "template": TemplateArguments,
    "data": DataArguments,
    "method": MethodArguments,
    "training": TrainingArguments,
}


@functools.cache
def recipe_groups(stage: str) -> dict[str, type[Arguments]]:
    """The groups of a training command of this stage, the stage's own and upstream's included."""
    own = STAGES[stage].fields if stage in STAGES else Arguments
    groups = {**_GROUPS, "own": own}
    taken = frozenset(name for group in groups.values() for name in group.model_fields)
    return {**groups, "upstream": upstream_arguments(taken, frozenset(refusals()))}


@functools.cache
def arguments_of(stage: str) -> dict[str, Argument]:
    """Every argument of a training command of this stage, by flat name."""
    return arguments_in(recipe_groups(stage))


@dataclass(frozen=True)
class Unreadable:
    """A value that the command line could not read; told together with all other complaints."""

    complaint: str


@dataclass(frozen=True)
class Filled:
    """What became of raw values: the groups, the complaints, the notes for the user."""

    groups: dict[str, Arguments]
    complaints: list[str]
    notes: list[str]
    wrong: set[str]


def make_recipe(raw: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
    """Check raw values (text from a command, or typed ones) and make the recipe and its notes.

    Raises ArgumentError with every complaint: unknown names, wrong values, broken rules.
    """
    stage = str(raw.get("stage", "sft"))
    filled = fill(recipe_groups(stage), raw)
    complaints = list(filled.complaints)
    if stage not in STAGES:
        complaints.append(
            f"--stage {stage}: must be one of {', '.join(STAGES)}." + did_you_mean(stage, STAGES)
        )
    recipe = Recipe(**filled.groups)  # type: ignore[arg-type]  # the groups are Recipe's own fields
    for names, check in RULES:
        if not filled.wrong & set(names) and (complaint := check(recipe)):
            complaints.append(complaint)
    if complaints:
        raise ArgumentError(complaints)
    return recipe, filled.notes


def fill(
    groups: Mapping[str, type[Arguments]],
    raw: Mapping[str, Any],
    elsewhere: Mapping[str, Argument] = MappingProxyType({}),
) -> Filled:
    """Sort raw values into groups and check each; a wrong one is told and left at its default.

    `elsewhere` are arguments of training commands, which other verbs take with a note.
    """
    owner = {name: group for group, kind in groups.items() for name in kind.model_fields}
    sorted_raw: dict[str, dict[str, Any]] = {group: {} for group in groups}
    complaints, notes, wrong = [], [], set()
    for name, value in raw.items():
        if name in owner:
            sorted_raw[owner[name]][name] = value
            continue
        sentence, refused = _foreign(name, value, list(owner), elsewhere)
        (complaints if refused else notes).append(sentence)
    made = {}
    for group, kind in groups.items():
        known = {argument.name: argument for argument in declared(group, kind)}
        made[group], told = _validate(kind, sorted_raw[group], known)
        complaints += told.values()
        wrong |= set(told)
    return Filled(made, complaints, notes, wrong)


Set = TypeVar("Set", bound=ArgumentSet)


def make_set(kind: type[Set], raw: Mapping[str, Any]) -> tuple[Set, list[str]]:
    """Check raw values for a verb other than train. Raises ArgumentError with every complaint."""
    filled = fill(groups_of(kind), raw, elsewhere=arguments_of("sft"))
    if filled.complaints:
        raise ArgumentError(filled.complaints)
    return kind(**filled.groups), filled.notes


def groups_of(kind: type[ArgumentSet]) -> dict[str, type[Arguments]]:
    """The groups of a set, by name."""
    return {name: cast(type[Arguments], info.annotation) for name, info in kind.model_fields.items()}


def arguments_in(groups: Mapping[str, type[Arguments]]) -> dict[str, Argument]:
    """Every argument of some groups, by flat name."""
    return {argument.name: argument for group, kind in groups.items() for argument in declared(group, kind)}


def _foreign(name: str, value: Any, known: list[str], elsewhere: Mapping[str, Argument]) -> tuple[str, bool]:
    """The sentence for a name that no group has, and whether it is a refusal."""
    if isinstance(value, Unreadable):
        return value.complaint, True
    if name in elsewhere:
        return f"--{name} is an argument of studio train and asks for nothing here.", False
    if is_secret(name):
        return f"--{name} {SECRET}.", True
    refusal = refusals().get(name)
    if refusal is None:
        return f"--{name}: there is no such argument.{did_you_mean(name, [*known, *refusals()])}", True
    if refusal.asks_nothing(value):
        return f"--{name} {value} asks for nothing here and is left out: {refusal.why}.", False
    return f"--{name} {value}: not supported: {refusal.why}.", True


def _validate(
    kind: type[Arguments], values: dict[str, Any], known: Mapping[str, Argument]
) -> tuple[Arguments, dict[str, str]]:
    """The group, with each wrong value told by name and left at its default."""
    told: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Unreadable):
            told[name] = value.complaint
        elif isinstance(value, bool) and bool not in known[name].kinds:
            told[name] = f"--{name} {value}: must be {known[name].allowed}."
    while True:
        try:
            return kind(**{name: value for name, value in values.items() if name not in told}), told
        except ValidationError as error:
            for item in error.errors():
                name = str(item["loc"][0])
                told.setdefault(name, _complaint(known[name], values[name], item["msg"], item["type"]))


def _complaint(argument: Argument, value: Any, message: str, kind: str) -> str:
    reason = f" ({message.removeprefix('Value error, ')})" if kind == "value_error" else ""
    hint = did_you_mean(str(value), argument.choices) if argument.choices else ""
    shown = str(value) if len(str(value)) <= 80 else str(value)[:77] + "…"
    return f"--{argument.name} {shown}: must be {argument.allowed}{reason}.{hint}"


Rule = Callable[[Recipe], str | None]
RULES: list[tuple[tuple[str, ...], Rule]] = []


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a check across arguments; it is skipped when one of them is wrong by itself."""

    def register(check: Rule) -> Rule:
        RULES.append((names, check))
        return check

    return register


@rule("model_name_or_path")
def _model_is_named(recipe: Recipe) -> str | None:
    if recipe.model.model_name_or_path:
        return None
    return "--model_name_or_path must name a model folder or a hub model; it is empty."


@rule("dataset")
def _dataset_is_named(recipe: Recipe) -> str | None:
    if recipe.data.dataset or not recipe.training.do_train:
        return None
    return "--dataset must name at least one dataset of dataset_info.json; it is empty."


@rule("output_dir")
def _output_is_named(recipe: Recipe) -> str | None:
    if recipe.training.output_dir:
        return None
    return "--output_dir must name the folder of the run, such as saves/<model>/<method>/<run>; it is empty."


@rule("bf16", "fp16")
def _one_precision(recipe: Recipe) -> str | None:
    if recipe.training.bf16 and recipe.training.fp16:
        return "--bf16 True and --fp16 True exclude each other: keep one; bf16 is the safer one."
    return None


@rule("val_size", "eval_dataset")
def _one_source_of_held_out_rows(recipe: Recipe) -> str | None:
    if recipe.data.val_size and recipe.data.eval_dataset:
        return "--val_size and --eval_dataset exclude each other: hold rows out, or name a dataset."
    return None


def evaluates(recipe: Recipe) -> bool:
    """Whether there will be rows to evaluate on."""
    return bool(recipe.data.val_size or recipe.data.eval_dataset)


@rule("val_size", "eval_dataset", "eval_strategy", "load_best_model_at_end", "do_eval", "do_train")
def _evaluation_has_rows(recipe: Recipe) -> str | None:
    if evaluates(recipe):
        return None
    training = recipe.training
    asking = {
        "--eval_strategy " + training.eval_strategy: training.eval_strategy != "no",
        "--load_best_model_at_end True": training.load_best_model_at_end,
        "--do_eval True": training.do_eval,
        "--do_train False": not training.do_train,
        "--early_stopping_steps": training.early_stopping_steps is not None,
    }
    if wanting := [name for name, asked in asking.items() if asked]:
        return f"{' and '.join(wanting)}: needs rows to evaluate on. Give --val_size 0.1 or --eval_dataset."
    return None


@rule("early_stopping_steps", "load_best_model_at_end", "eval_strategy")
def _early_stop_needs_measurements(recipe: Recipe) -> str | None:
    training = recipe.training
    if training.early_stopping_steps is None or not evaluates(recipe):
        return None
    if training.eval_strategy != "no" and training.load_best_model_at_end:
        return None
    return (
        f"--early_stopping_steps {training.early_stopping_steps}: needs --eval_strategy steps (or epoch) "
        "and --load_best_model_at_end True."
    )


@rule("metric_for_best_model")
def _known_metric(recipe: Recipe) -> str | None:
    metric = recipe.training.metric_for_best_model.removeprefix("eval_")
    if metric in ("", "loss", "accuracy", "perplexity"):
        return None
    return f"--metric_for_best_model {metric}: must be one of loss, accuracy, perplexity."


@rule("packing", "neat_packing")
def _packing_is_said_once(recipe: Recipe) -> str | None:
    if recipe.data.neat_packing and recipe.data.packing is False:
        return "--packing False and --neat_packing True contradict each other: here both mean the same."
    return None


@rule("stage", "finetuning_type")
def _arguments_fit_stage_and_method(recipe: Recipe) -> str | None:
    changed = recipe.changes()
    sentences = []
    for name, argument in arguments_of(recipe.stage).items():
        if name not in changed:
            continue
        method = recipe.method.finetuning_type
        if argument.methods and method not in argument.methods:
            sentences.append(
                f"--{name}: only used by --finetuning_type {' or '.join(argument.methods)}, "
                f"but it is {method}. Leave it out or change the method."
            )
        if argument.stages and recipe.stage not in argument.stages:
            sentences.append(f"--{name}: not used by --stage {recipe.stage}. Leave it out.")
    return "\n".join(sentences) or None


@rule("lr_scheduler_type", "optim")
def _words_that_upstream_knows(recipe: Recipe) -> str | None:
    sentences = []
    for name in ("lr_scheduler_type", "optim"):
        value, choices = getattr(recipe.training, name), upstream_fields()[name]["choices"]
        if value not in choices:
            hint = did_you_mean(value, choices)
            sentences.append(f"--{name} {value}: must be one of {', '.join(choices)}.{hint}")
    return "\n".join(sentences) or None
