"""Answers of a model, its checkpoints and its base to the same prompts, side by side and in numbers."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from studio.arguments.base import Arguments, Names, Object, Text, arg
from studio.arguments.generation import GenerationArguments
from studio.arguments.model import ModelArguments
from studio.arguments.template import TemplateArguments
from studio.works.base import WORKS, Work, WorkSet
from studio.works.measured import MeasuredArguments
from studio.workspace import Workspace


class PromptArguments(Arguments):
    """What is asked: prompts of files and datasets, and how a model reads them."""

    prompts_file: Names = arg((), level="basic")
    """Files with prompts: rows with content, prompt, question, messages or turns, and an answer (label) if known."""

    dataset: Names = arg((), level="basic")
    """Names of datasets in `dataset_info.json` whose questions are asked; their answers are the references."""

    dataset_dir: Text = arg("data")
    """Folder with the data files; a `dataset_info.json` inside it is read too."""

    prompt_column: Text = arg("")
    """Column of the prompts in prompts_file; empty: the first one of a known name."""

    label_column: Text = arg("")
    """Column of the answers to compare with in prompts_file; empty: the first one of a known name."""

    prompt_style: Literal["auto", "chat", "raw"] = arg("auto", level="basic")
    """chat: prompts stand in the chat template. raw: the model goes on with the text itself. auto: raw for a run of
    stage pt and for a model without a template, else chat."""

    answer_turns: Literal["all", "last"] = arg("all")
    """Of several turns in a row: all are answered, each after the model's own answers, or the last one alone."""

    prompt_characters: int = arg(0, ge=0, le=10**6)
    """Of plain text only the first so many characters are the prompt, the rest is the reference; 0: all is prompt."""

    max_samples: int | None = arg(None, level="basic", ge=1, le=10**12)
    """At most this many rows of each file and dataset, the first ones."""

    skip_bad_rows: bool = arg(False)
    """Leave out rows that cannot be used, up to max_bad_rows, and list them; else stop at them."""

    max_bad_rows: float = arg(0.01, ge=0, le=10**12)
    """Most rows that skip_bad_rows may leave out: below 1 a share, from 1 on a number of rows."""

    seed: int = arg(42, ge=0)
    """Decides what is drawn at random; the same seed draws the same."""


class JudgeArguments(Arguments):
    """Another model that judges the answers, behind an OpenAI-compatible address."""

    judge_url: Text = arg("", level="basic")
    """Address of the judge, such as http://127.0.0.1:8000/v1; its key is in STUDIO_JUDGE_KEY. Empty: no judge."""

    judge_model: Text = arg("", level="basic")
    """Name of the judge's model at that address."""

    judge_mode: Literal["score", "pairwise"] = arg("score", level="basic")
    """score: 1 to 10 for each answer. pairwise: the model's answer against the base's, in both orders."""

    judge_timeout_s: float = arg(120.0, gt=0, le=3600)
    """Seconds that one request to the judge may take."""

    judge_retries: int = arg(3, ge=0, le=100)
    """How often a request that failed in passing is made again."""

    judge_concurrency: int = arg(4, ge=1, le=256)
    """Requests to the judge at the same time."""

    judge_options: Object = arg({})
    """Further fields of each request, as JSON, such as {"temperature": 0}."""


class AnswersSet(WorkSet):
    """The arguments of `studio eval answers`."""

    model: ModelArguments
    measured: MeasuredArguments
    prompts: PromptArguments
    template: TemplateArguments
    generation: GenerationArguments
    judge: JudgeArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        said = []
        if not self.model.model_name_or_path:
            said.append("--model_name_or_path must name a model, a run or a checkpoint; it is empty.")
        if not self.prompts.prompts_file and not self.prompts.dataset:
            said.append("--prompts_file: name a file with prompts, or datasets with --dataset.")
        if self.prompts.prompt_style == "raw" and self.template != TemplateArguments():
            said.append("--prompt_style raw: prompts stand in no template then. Leave out what concerns the template, "
                        "or set --prompt_style chat.")  # fmt: skip
        return [*said, *_of_judge(self.judge)]


def _of_judge(judge: JudgeArguments) -> list[str]:
    if not judge.judge_url:
        given = [name for name, value in judge if value != JudgeArguments.model_fields[name].default]
        return [f"--{name}: only used with --judge_url. Name the judge's address, or leave it out." for name in given]
    from studio.remote import Secret, url_complaint

    # The variables that studio.evaluate.judge reads.
    told = url_complaint(judge.judge_url, "judge_url", Secret("STUDIO_JUDGE_KEY", "STUDIO_JUDGE_HOST"),
                         "http://127.0.0.1:8000/v1")  # fmt: skip
    said = [told] if told else []
    if not judge.judge_model:
        said.append("--judge_model: name the model that judges, as the address knows it.")
    for name in ("model", "messages", "stream"):
        if name in judge.judge_options:
            said.append(f"--judge_options: {name} is set by the studio. Take it out.")
    return said


def _facts(asked: AnswersSet, place: Workspace) -> dict[str, Any]:
    """The first prompts of each source: {"prompts", "answers", "references", "notes"}."""
    found: dict[str, Any] = importlib.import_module("studio.evaluate.prompts").quick_facts(asked.prompts, place)
    return found


WORKS.add(
    "eval_answers",
    Work(
        name="eval_answers",
        words=("eval", "answers"),
        asked=AnswersSet,
        kind="eval",
        does="studio.evaluate.answers_work",
        about="answers of a model, its checkpoints and its base to the same prompts, with BLEU, ROUGE and more\n\n"
        "  studio eval answers --model_name_or_path saves/X/lora/first --prompts_file data/prompts.jsonl\n\n"
        "Rows with an answer are compared with it: BLEU, ROUGE, exact match, the number it comes to. Repetition and\n"
        "length need none. --judge_url asks another model to judge. The base is always measured too.",
        facts=_facts,
    ),
)
