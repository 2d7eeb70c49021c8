"""`studio eval choice`: questions with one right letter, by the likelihood of the letters."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.arguments.model import ModelArguments
from studio.arguments.template import TemplateArguments
from studio.works.base import WORKS, Work, WorkSet
from studio.works.measured import MeasuredArguments
from studio.workspace import Workspace


class ChoiceArguments(Arguments):
    """Which questions, and how they are asked."""

    task_dir: Text = arg("", level="basic")
    """Folder or file with the questions: C-Eval, MMLU, CMMLU or AGIEval as they are given away, or rows in JSONL or
    CSV with question and answer."""

    layout: Literal["auto", "ceval", "mmlu", "cmmlu", "agieval", "rows"] = arg("auto")
    """Form of the questions; auto tells it from the files."""

    split: Literal["auto", "dev", "val", "test"] = arg("auto", level="basic")
    """Part of the questions to measure; auto: test where its answers are given, else val."""

    subjects: Names = arg(())
    """Only these subjects; empty: all."""

    n_shot: int | None = arg(None, level="basic", ge=0, le=64)
    """Solved examples before each question. Unset: 5 where there is a dev split, else 0."""

    shots_from: Literal["dev", "val", "test"] = arg("dev")
    """The split the examples are drawn from; where it is the measured one, they are not measured."""

    lang: Literal["auto", "en", "zh"] = arg("auto")
    """Language of the words around the questions; auto: that of each subject's questions."""

    apply_chat_template: bool = arg(False)
    """Ask in one turn of the chat template; off, the prompt is plain text, as benchmarks of base models have it."""

    max_samples: int | None = arg(None, level="basic", ge=1, le=10**12)
    """At most this many questions of each subject, the first ones."""

    max_prompt_len: int | None = arg(None, ge=16, le=1 << 24)
    """Longest prompt in tokens: examples are dropped from the front until it fits. Unset: the model's context."""

    prefix_cache: bool = arg(True)
    """Compute what the prompts of a subject begin with once; off gives the same numbers, slower."""

    skip_bad_rows: bool = arg(False)
    """Leave rows out that cannot be used, and count them; off, they stop the evaluation."""

    seed: int = arg(42, ge=0, le=2**32 - 1)
    """Decides which examples are drawn where the split has more than n_shot."""


class ChoiceSet(WorkSet):
    """The arguments of `studio eval choice`."""

    model: ModelArguments
    measured: MeasuredArguments
    template: TemplateArguments
    choice: ChoiceArguments

    def complaints(self) -> list[str]:
        """A model and questions must be named."""
        told = []
        if not self.model.model_name_or_path:
            told.append("--model_name_or_path must name a model, a run or a checkpoint; it is empty.")
        return [*told, *asked_wrongly(self.choice, self.template)]


def asked_wrongly(choice: ChoiceArguments, template: TemplateArguments) -> list[str]:
    """What does not hold of the questions by themselves."""
    told = []
    if not choice.task_dir:
        told.append("--task_dir must name a folder or file with questions; it is empty.")
    if template != TemplateArguments() and not choice.apply_chat_template:
        told.append("--template and its like have no use in a plain prompt. Set --apply_chat_template True, or leave "
                    "them out.")  # fmt: skip
    return told


def _facts(asked: ChoiceSet, place: Workspace) -> dict[str, Any]:
    """What the folder holds: {"layout", "subjects", "splits": {split: questions}, "notes"}."""
    # By its name: the reader lies above the works.
    look = importlib.import_module("studio.evaluate.choice_rows").look
    return dict(look(place.path(asked.choice.task_dir), asked.choice.layout))


WORKS.add(
    "eval_choice",
    Work(
        "eval_choice",
        ("eval", "choice"),
        ChoiceSet,
        "eval",
        "studio.evaluate.choice_work",
        "Single choice: C-Eval, MMLU, CMMLU, AGIEval, GaoKao and rows of your own, beside the base.\n\n"
        "  studio eval choice --model_name_or_path saves/X/lora/first --task_dir data/ceval\n\n"
        "Each question is answered with the likeliest of its letters. The base is measured too; accuracy and\n"
        "difference have 95 % intervals, by subject and category. The numbers are kept with the run.",
        facts=_facts,
    ),
)
