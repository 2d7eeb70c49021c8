"""`studio eval answers`: every model answers the same prompts; the answers side by side, and in numbers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.template import TemplateArguments
from studio.errors import ArgumentError, counted
from studio.evaluate.answers import Found, How, Written, found_of, notes_of, row_of, tokenizers_of, write
from studio.evaluate.closing import as_table, close, side_by_side
from studio.evaluate.intervals import Measure
from studio.evaluate.judge import Judge, Question, Verdict
from studio.evaluate.kept import Result, export_targets
from studio.evaluate.metrics import bleu_signature
from studio.evaluate.opening import Noted, Subject, opened, run_of, subjects
from studio.evaluate.prompts import Task, read_tasks
from studio.jobs.runs import RECORD, read_json
from studio.works.base import Ear
from studio.works.eval_answers import AnswersSet
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.evaluate.methods import Measurer
    from studio.model.generate import Speaker
    from studio.model.templates import Template

NAME = "answers"
PREDICTIONS = "generated_predictions.jsonl"
# Prompts whose answers are shown at the terminal.
SHOWN = 8


def run(asked: AnswersSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Answer, measure, keep; what is kept, and where.

    {"name": "answers", "task": "answers", "time", "notes": [sentence], "results": [one a model], "differences",
     "settings": {"style": "chat" | "raw", "template", "prompts", "answers", "bleu": [sacrebleu's signature],
     "generation", "seed", "judge"}, "kept": path, "predictions": path, "exported": [path]}

    `results` has the base first, then checkpoints by step, then the model: {"model", "base": bool, "step": int | null,
    "measures", "groups", "rows", "notes"}. `measures` are numbers {"value", "low", "high", "count", "better"} by name.
    Where rows have answers to compare with: bleu (0 to 100), rouge1, rouge2, rougeL, exact_match, number (0 to 1);
    always: repetition, distinct_2, cut (0 to 1), characters, tokens (of an answer, in the mean); with a judge:
    judge_score (1 to 10) or judge_wins (0 to 1, a tie counts half; not for the base). `groups` has the same for each
    file where there are several. `rows` are the first 200 answers, of the same prompts in the same order for each
    model, so that row i of all models stands side by side: {"file", "row", "turn", "prompt", "label": text | null,
    "predict", "tokens", "ended": "stop" | "length" | "too_long", "sentence_bleu", "rouge1", "rouge2", "rougeL",
    "exact_match", "number", "repetition", "characters" (numbers or null)}, and with a judge {"judge": number | null,
    "judge_outcome": "judged" | "unparsable" | "failed" | "same", "judge_said": [reply]}. `differences` is {model:
    {"all" | file: {measure: number}}}, model minus base on the same prompts. `predictions` is a JSONL of all answers
    of all models: prompt, predict, label, model, step, base, file, row, turn, tokens, ended.
    """
    export_targets(asked.measured.export, place, overwrite=asked.measured.overwrite_export)
    say = Noted(ear)
    every = subjects(asked.model, asked.measured, place, say)
    tasks, told = read_tasks(asked.prompts, place)
    for sentence in told:
        say(sentence)
    judge = _judge(asked)
    template = _template(asked, every[-1], place)
    answers = _answered(asked, every, tasks, template, place, ear)
    verdicts = _judged(judge, asked, every, answers, ear)
    found = [found_of(written, _columns(asked, given)) for written, given in zip(answers, verdicts, strict=True)]
    settings = _settings(asked, template, tasks, answers[0])
    results = [
        _result(subject, each, given, settings) for subject, each, given in zip(every, found, verdicts, strict=True)
    ]
    if judge is not None and judge.failure:
        say(f"warning: the judge failed for some answers: {judge.failure}")
    differences = _differences(every, found)
    with _lines(every, answers, place) as lines:
        told_all, kept = close(results, differences, every[-1].run, asked.measured, place, settings)
        predictions = kept.with_name(f"{kept.stem}-{PREDICTIONS}")
        lines.rename(predictions)
    return {**told_all, "predictions": place.shown(predictions), "notes": say.sentences}


def _answered(
    asked: AnswersSet, every: Sequence[Subject], tasks: Sequence[Task], template: Template | None, place: Workspace,
    ear: Ear,
) -> list[list[Written]]:  # fmt: skip
    """The answers of each model, one of them in memory at a time."""
    total = len(every) * sum(len(task.turns) for task in tasks)
    answers: list[list[Written]] = []
    for number, subject in enumerate(every):
        before = number * total // len(every)
        ear.tell(before, total, f"loading {subject.name}")
        with opened(subject, asked.model, asked.measured, place, template=template) as speaker:
            together = asked.measured.per_device_eval_batch_size
            how = How(asked.generation, template is None, together, asked.prompts.seed)
            text = f"{subject.name} answers"
            answers.append(write(speaker, tasks, how, lambda done, _all: ear.tell(before + done, total, text)))  # noqa: B023
    return answers


def _template(asked: AnswersSet, final: Subject, place: Workspace) -> Template | None:
    """The one template of all models, so that the base is asked as the model is; None for raw prompts."""
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    home = final.folder if any(final.folder.glob("tokenizer*")) else final.root
    tokenizer = open_tokenizer(home, place.cache, trust=asked.model.trust_remote_code)
    wanted, style = asked.template, asked.prompts.prompt_style
    if style == "auto" and wanted == TemplateArguments():
        run = run_of(final.folder)
        recipe = (read_json(run / RECORD) or {}).get("recipe") if run is not None else None
        pretrained = isinstance(recipe, dict) and recipe.get("stage") == "pt"
        style = "raw" if pretrained or not tokenizer.chat_template else "chat"
    if style == "raw":
        return None
    return choose_template(
        wanted.template, tokenizer, place, enable_thinking=wanted.enable_thinking, default_system=wanted.default_system
    )[0]


def _judge(asked: AnswersSet) -> Judge | None:
    """The judge, which answers, or None. Raises StudioError when it does not."""
    own = asked.judge
    if not own.judge_url:
        return None
    judge = Judge(own.judge_url, own.judge_model, own.judge_timeout_s, own.judge_retries, own.judge_concurrency,
                  own.judge_options)  # fmt: skip
    judge.probe()
    return judge


def _judged(
    judge: Judge | None, asked: AnswersSet, every: Sequence[Subject], answers: Sequence[Sequence[Written]], ear: Ear
) -> list[list[Verdict]]:
    """A verdict on each answer of each model; none without a judge, nor on the base in pairs."""
    if judge is None:
        return [[] for _ in every]
    found: list[list[Verdict]] = []
    for subject, written in zip(every, answers, strict=True):
        text = f"judging {subject.name}"
        if asked.judge.judge_mode == "score":
            questions = [Question(each.before, each.answer, each.reference) for each in written]
            found.append(judge.scores(questions, lambda done: ear.tell(done, len(written), text)))  # noqa: B023
        elif subject.base:
            found.append([])
        else:
            found.append(_compared(judge, written, answers[0], lambda done: ear.tell(done, len(written), text)))  # noqa: B023
    return found


def _compared(judge: Judge, written: Sequence[Written], base: Sequence[Written], tell: Any) -> list[Verdict]:
    """Each answer against the base's; the same words are a tie that nobody is asked about."""
    verdicts = [Verdict(0.5, "same") for _ in written]
    apart = [at for at, each in enumerate(written) if each.answer != base[at].answer]
    questions = [
        # The turns before may differ too: those of the model are shown.
        Question(written[at].before, written[at].answer, written[at].reference, base=base[at].answer)
        for at in apart
    ]
    for at, verdict in zip(apart, judge.preferences(questions, tell), strict=True):
        verdicts[at] = verdict
    return verdicts


def _columns(asked: AnswersSet, verdicts: Sequence[Verdict]) -> dict[str, list[float | None]]:
    if not verdicts:
        return {}
    name = "judge_score" if asked.judge.judge_mode == "score" else "judge_wins"
    return {name: [verdict.value for verdict in verdicts]}


def _settings(
    asked: AnswersSet, template: Template | None, tasks: Sequence[Task], written: Sequence[Written]
) -> dict[str, Any]:
    compared = any(each.reference is not None for each in written)
    own = asked.judge
    judge = {"url": own.judge_url, "model": own.judge_model, "mode": own.judge_mode, "options": own.judge_options}
    return {
        "style": "raw" if template is None else "chat",
        "template": template.name if template is not None else "",
        "prompts": len(tasks),
        "answers": len(written),
        "bleu": [bleu_signature(name) for name in dict.fromkeys(tokenizers_of(written))] if compared else [],
        "generation": asked.generation.model_dump(),
        "seed": asked.prompts.seed,
        "judge": judge if own.judge_url else {},
    }


def _result(subject: Subject, found: Found, verdicts: Sequence[Verdict], settings: dict[str, Any]) -> Result:
    rows = []
    for at, each in enumerate(found.written):
        row = row_of(each, {name: column[at] for name, column in found.values.items()})
        if verdicts:
            verdict = verdicts[at]
            row |= {"judge": verdict.value, "judge_outcome": verdict.outcome, "judge_said": list(verdict.said)}
        rows.append(row)
    notes = notes_of(found.written)
    for outcome, what in (("unparsable", "held no verdict"), ("failed", "failed")):
        if count := sum(verdict.outcome == outcome for verdict in verdicts):
            notes.append(f"{counted(count, 'reply')} of the judge {what}; these answers have no judgement.")
    # Differences by rows are of all of them, so a measure that some have not stays out.
    values = {
        name: [value for value in column if value is not None]
        for name, column in found.values.items()
        if None not in column
    }
    return Result(
        NAME, NAME, subject.name, subject.base, subject.step, found.measures(), found.groups(), rows, settings,
        values, dict(found.members), notes,
    )  # fmt: skip


def _differences(every: Sequence[Subject], found: Sequence[Found]) -> dict[str, dict[str, dict[str, Measure]]]:
    if not every[0].base:
        return {}
    return {subject.name: each.against(found[0]) for subject, each in zip(every[1:], found[1:], strict=True)}


@contextlib.contextmanager
def _lines(every: Sequence[Subject], answers: Sequence[Sequence[Written]], place: Workspace) -> Iterator[Path]:
    """All answers in a file that is gone at the end unless it got a name."""
    run = every[-1].run
    folder = run / "eval" if run is not None else place.root / "evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    # Others may measure the same run meanwhile.
    path = folder / f".{PREDICTIONS}.{os.getpid()}.part"
    try:
        with path.open("w", encoding="utf-8") as out:
            for subject, written in zip(every, answers, strict=True):
                for each in written:
                    line = row_of(each, {}) | {"model": subject.name, "step": subject.step, "base": subject.base}
                    out.write(json.dumps(line, ensure_ascii=False) + "\n")
        yield path
    finally:
        path.unlink(missing_ok=True)


def while_training(asked: AnswersSet, place: Workspace, template: Template | None) -> Measurer:
    """What asks a model in memory the same prompts each time, in the template of its run or as raw text.

    Raises ArgumentError for what has no use in a run, DatasetError for prompts that cannot be read.
    """
    told = []
    if asked.template != TemplateArguments():
        told.append("--template: the run's own template is used. Leave it out.")
    if asked.prompts.prompt_style == "chat" and template is None:
        told.append("--prompt_style chat: this run has no chat template. Set raw, or give the run a --template.")
    if asked.judge.judge_url:
        told.append("--judge_url: a judge is not asked while a model learns. Leave it out; studio eval answers with "
                    "--checkpoints all asks it afterwards.")  # fmt: skip
    if told:
        raise ArgumentError(told)
    tasks, notes = read_tasks(asked.prompts, place)

    def measurer(speaker: Speaker, subject: Subject, name: str) -> Result:
        raw = asked.prompts.prompt_style == "raw" or speaker.template is None
        how = How(asked.generation, raw, asked.measured.per_device_eval_batch_size, asked.prompts.seed)
        written = write(speaker, tasks, how)
        settings = _settings(asked, None if raw else speaker.template, tasks, written)
        found = replace(_result(subject, found_of(written), [], settings), name=name)
        return replace(found, notes=[*notes, *found.notes])

    return measurer


def as_text(found: Mapping[str, Any]) -> str:
    """The first answers side by side, the measures of every model, and where all is kept."""
    return f"{side_by_side(found, SHOWN)}\n\n{as_table(found)}\nanswers: {found['predictions']}"
