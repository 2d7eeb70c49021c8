"""One complete, checked set of arguments, and the rules that hold across its groups.

A `Recipe` is what a training command says, whole; an `ArgumentSet` in general is the groups of one
verb. Both are made from raw values; all complaints are told at once.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from studio.arguments.aliases import aliases
from studio.arguments.base import Argument, Arguments
from studio.arguments.chat import ChatArguments
from studio.arguments.check import Unreadable, arguments_in, fill, respell, shown
from studio.arguments.data import DataArguments
from studio.arguments.export import ExportArguments
from studio.arguments.generation import GenerationArguments
from studio.arguments.method import MethodArguments
from studio.arguments.model import LearnerArguments, ModelArguments
from studio.arguments.preview import EntryArguments, PreviewArguments, SourceArguments
from studio.arguments.refused import refusals
from studio.arguments.serve import EngineArguments, ServeArguments
from studio.arguments.template import TemplateArguments
from studio.arguments.training import TrainingArguments
from studio.arguments.upstream import upstream_arguments
from studio.arguments.web import WebArguments
from studio.errors import ArgumentError
from studio.registry import Registry, did_you_mean


class StageFields(Protocol):
    """What a recipe knows of a stage: its name, its own arguments, and what it makes of rows."""

    @property
    def name(self) -> str:
        """What --stage says."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def fields(self) -> type[Arguments]:
        """The arguments that only this stage has."""

    @property
    def wants(self) -> Any:
        """What it makes of rows (`studio.data.kinds.Wanted`)."""

    @property
    def head(self) -> str:
        """ "tokens" or "score": what the model gives for a text."""

    @property
    def metrics(self) -> tuple[tuple[str, bool], ...]:
        """What a checkpoint can be best in, with whether more is better."""

    @property
    def packs(self) -> bool:
        """Whether rows may share a sequence."""

    @property
    def streams(self) -> bool:
        """Whether rows may be read while training."""

    @property
    def batch(self) -> Callable[[Recipe], int]:
        """What one step draws in one process."""

    @property
    def copies(self) -> Callable[[Recipe], bool]:
        """Whether the weights that learn are held a second time, as a reference."""

    @property
    def pass_steps(self) -> Callable[[Recipe, int, int], int] | None:
        """Steps of one pass over so many rows in so many processes, where transformers counts otherwise."""


def _load_stages() -> None:
    for room in ("studio.rules", "studio.stages"):
        package = importlib.import_module(room)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{room}.{module.name}")


# A file in studio/stages adds itself here, and is found by its name, never by an import of ours; so
# are the rules that hold for every stage.
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

    model: LearnerArguments
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
    def way(self) -> StageFields:
        """What is known of the way of learning."""
        return STAGES[self.stage]

    @property
    def packing(self) -> bool:
        """Whether several rows share a sequence."""
        asked = self.data.packing
        return self.data.neat_packing or (self.stage == "pt" if asked is None else asked)

    @property
    def evaluates(self) -> bool:
        """Whether there will be rows to evaluate on."""
        return bool(self.data.val_size or self.data.eval_dataset or self.data.validation_file)


class ExportSet(ArgumentSet):
    """The arguments of `studio export`."""

    model: ModelArguments
    template: TemplateArguments
    export: ExportArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        told = []
        if not self.model.model_name_or_path:
            told.append("--model_name_or_path must name a model, a run or a checkpoint; it is empty.")
        if not self.export.export_dir:
            told.append("--export_dir must name the folder to write, such as models/my-model; it is empty.")
        if self.model.quantization_bit is not None:
            told.append("--quantization_bit: an export is in full precision, also of an adapter that learned on a base "
                        "in 4 or 8 bits. Leave it out.")  # fmt: skip
        if self.export.convert_pickle and (self.model.adapter_name_or_path or self.template != TemplateArguments()):
            told.append("--convert_pickle converts one folder as it is. Give --adapter_name_or_path and what concerns "
                        "the template when you export the converted folder.")  # fmt: skip
        return told


class ApiSet(ArgumentSet):
    """The arguments of `studio api`."""

    model: ModelArguments
    template: TemplateArguments
    serve: ServeArguments
    engine: EngineArguments
    generation: GenerationArguments


_GROUPS: dict[str, type[Arguments]] = {
    "model": LearnerArguments,
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
    others = frozenset(alias.name for alias in aliases().values() if alias.name != alias.ours)
    return {**groups, "upstream": upstream_arguments(taken, others | refusals().keys())}


# Arguments of the verbs other than train, so that one file may serve all of them.
_OTHER_VERBS: dict[str, list[type[Arguments]]] = {
    "studio export": [ExportArguments],
    "studio chat": [ChatArguments, GenerationArguments, EngineArguments],
    "studio webui": [WebArguments],
    "studio api": [ServeArguments],
    "studio data preview": [PreviewArguments],
    "studio data add": [SourceArguments, EntryArguments],
}

# Name → verb.
ELSEWHERE = {name: verb for verb, kinds in _OTHER_VERBS.items() for kind in kinds for name in kind.model_fields}


def _other_stages(stage: str, raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Raw values without those that only other stages have, and the complaints and notes about these.

    Each names all the stages that have it.
    """
    rest = dict(raw)
    complaints: list[str] = []
    notes: list[str] = []
    owners: dict[str, list[str]] = {}
    for other in STAGES:
        for name in STAGES[other].fields.model_fields:
            owners.setdefault(name, []).append(other)
    # What another verb has too stands in a file for that one as well.
    known = {*arguments_of(stage), *ELSEWHERE}
    for name in [name for name in raw if name in owners and name not in known]:
        value, fields = rest.pop(name), STAGES[owners[name][0]].fields
        filled = fill({"own": fields}, {name: value})
        told = shown(value) if not isinstance(value, Unreadable) else ""
        only = " and ".join(filter(None, (", ".join(owners[name][:-1]), owners[name][-1])))
        sentence = f"--{name} {told}".rstrip() + f": not used by --stage {stage}, only by {only}."
        if filled.complaints or filled.groups["own"] != fields():
            complaints.append(f"{sentence} Leave it out.")
        else:
            notes.append(sentence)
    return rest, complaints, notes


@functools.cache
def arguments_of(stage: str) -> dict[str, Argument]:
    """Every argument of a training command of this stage, by flat name."""
    return arguments_in(recipe_groups(stage))


def make_recipe(raw: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
    """Check raw values (text from a command, or typed ones) and make the recipe and its notes.

    Raises ArgumentError with every complaint: unknown names, wrong values, broken rules.
    """
    spelled = respell(raw)
    raw = spelled.raw
    stage = stage_in(raw)
    raw, complaints, notes = _other_stages(stage, raw) if stage in STAGES else (raw, [], [])
    filled = fill(recipe_groups(stage), raw, ELSEWHERE)
    complaints += filled.complaints
    if stage not in STAGES and "stage" not in filled.wrong:
        known = ", ".join(STAGES)
        complaints.append(f"--stage {shown(stage)}: must be one of {known}.{did_you_mean(stage, STAGES)}")
    recipe = Recipe(**filled.groups)  # type: ignore[arg-type]  # the groups are Recipe's own fields
    complaints += broken_rules(recipe, wrong=filled.wrong | (set() if stage in STAGES else {"stage"}))
    if complaints:
        raise ArgumentError(spelled.explain(complaints))
    return recipe, [*spelled.notes, *notes, *filled.notes]


@functools.cache
def arguments_of_all() -> dict[str, Argument]:
    """Every argument of a training command of any stage, by flat name."""
    return {name: argument for stage in STAGES for name, argument in arguments_of(stage).items()}


def stage_in(raw: Mapping[str, Any]) -> str:
    """The stage that raw values name; a value that is no text is told by the checks."""
    asked = raw.get("stage", "sft")
    return asked if isinstance(asked, str) else "sft"


Set = TypeVar("Set", bound=ArgumentSet)


def make_set(kind: type[Set], raw: Mapping[str, Any]) -> tuple[Set, list[str]]:
    """Check raw values for a verb other than train. Raises ArgumentError with every complaint."""
    groups = groups_of(kind)
    filled = fill(groups, raw, {**dict.fromkeys(arguments_of_all(), "studio train"), **ELSEWHERE})
    if filled.complaints:
        raise ArgumentError(filled.complaints)
    return kind(**filled.groups), filled.notes


def groups_of(kind: type[ArgumentSet]) -> dict[str, type[Arguments]]:
    """The groups of a set, by name."""
    return {name: cast(type[Arguments], info.annotation) for name, info in kind.model_fields.items()}


Rule = Callable[[Recipe], str | None]
RULES: list[tuple[tuple[str, ...], Rule]] = []


def broken_rules(
    recipe: Recipe, *, wrong: AbstractSet[str] = frozenset(), among: AbstractSet[str] | None = None
) -> list[str]:
    """The complaint of each rule that is broken; those on arguments that are `wrong` by themselves are skipped.

    `among`: only the rules that look at none but these arguments, for a verb that takes no others.
    """
    asked = [check for names, check in RULES if not wrong & set(names) and (among is None or among >= set(names))]
    return [complaint for check in asked if (complaint := check(recipe))]


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a check across arguments; it is skipped when one of them is wrong by itself."""

    def register(check: Rule) -> Rule:
        RULES.append((names, check))
        return check

    return register
