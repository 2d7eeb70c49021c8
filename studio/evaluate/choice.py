"""Single choice by likelihood: the letter that the model finds likeliest behind the question is its answer.

A tie of the likeliest letters counts as wrong: such a model did not choose. In an answer file it is the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio.errors import ModelError, counted
from studio.evaluate.categories import categories_of
from studio.evaluate.choice_prompts import Asked, Encoder, Paper
from studio.evaluate.choice_rows import Question
from studio.evaluate.intervals import Z95, Measure, mean, share
from studio.evaluate.kept import SHOWN, Result
from studio.evaluate.likelihood import Request, score

Tell = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Given:
    """What one model made of one question: the log-probability of each letter, and what follows of it."""

    paper: Paper
    question: Question
    asked: Asked
    logps: tuple[float, ...]

    @property
    def pick(self) -> str:
        """The likeliest letter, the first of several."""
        return self.question.letters[max(range(len(self.logps)), key=lambda at: self.logps[at])]

    @property
    def tied(self) -> bool:
        """Whether several letters are the likeliest."""
        return self.logps.count(max(self.logps)) > 1

    @property
    def right(self) -> bool:
        """Whether the one likeliest letter is the answer."""
        return not self.tied and self.pick == self.question.answer

    @property
    def chances(self) -> list[float]:
        """The probability of each letter among the letters."""
        top = max(self.logps)
        if top == -math.inf:
            return [1 / len(self.logps)] * len(self.logps)
        weights = [math.exp(value - top) for value in self.logps]
        return [weight / sum(weights) for weight in weights]

    def as_row(self) -> dict[str, Any]:
        """For people to look at."""
        question = self.question
        return {
            "subject": self.paper.name, "id": question.id, "row": question.row, "question": question.text,
            "options": dict(zip(question.letters, question.options, strict=False)), "answer": question.answer,
            "pick": self.pick, "right": self.right if question.answer else None, "tied": self.tied,
            "logps": {letter: value if math.isfinite(value) else None
                      for letter, value in zip(question.letters, self.logps, strict=True)},
            "chances": {letter: round(value, 6)
                        for letter, value in zip(question.letters, self.chances, strict=True)},
            "shots": self.asked.shots, "cut": self.asked.cut,
        }  # fmt: skip


@dataclass
class Answers:
    """What one model answered, question by question, with notes on how."""

    given: list[Given]
    notes: list[str] = field(default_factory=list)

    def submission(self) -> dict[str, dict[str, str]]:
        """The picked letters as C-Eval takes them in: {subject: {id: letter}}."""
        found: dict[str, dict[str, str]] = {}
        for each in self.given:
            found.setdefault(each.paper.name, {})[each.question.id] = each.pick
        return found


def answer(
    model: Any, papers: Sequence[Paper], encoder: Encoder, tell: Tell, *, batch_size: int = 8, share_prefix: bool = True
) -> Answers:
    """Ask a loaded model every question, subject by subject. Raises ModelError when it gives no numbers."""
    total = sum(len(paper.questions) for paper in papers)
    found: list[Given] = []
    for paper in papers:
        tell(len(found), total, f"asking {paper.name}")
        asked = [encoder.ask(paper, question) for question in paper.questions]
        before = len(found)

        def heard(done: int, _all: int, name: str = paper.name, before: int = before) -> None:
            tell(before + done, total, f"asking {name}")

        requests = [Request(each.context, each.options) for each in asked]
        values = score(model, requests, batch_size=batch_size, share=share_prefix, tell=heard)
        for question, each, logps in zip(paper.questions, asked, values, strict=True):
            found.append(Given(paper, question, each, tuple(logps)))
    tell(total, total, "asked")
    return Answers(found, _notes(found))


def _notes(given: Sequence[Given]) -> list[str]:
    notes = []
    if shorter := [each for each in given if each.asked.shots < len(each.paper.shots)]:
        dropped = sum(len(each.paper.shots) - each.asked.shots for each in shorter)
        notes.append(f"{counted(len(shorter), 'prompt')} too long for the model: {counted(dropped, 'example')} dropped "
                     "from the front of them")  # fmt: skip
    if cut := [each for each in given if each.asked.cut]:
        tokens = sum(each.asked.cut for each in cut)
        notes.append(f"{counted(len(cut), 'question')} too long even alone: {counted(tokens, 'token')} cut off at the "
                     "beginning of them")  # fmt: skip
    if tied := sum(each.tied for each in given):
        notes.append(f"{counted(tied, 'tie')} of the likeliest letters: counted as wrong")
    if empty := sum(not each.question.answer for each in given):
        notes.append(f"{counted(empty, 'question')} without a given answer: in the answer file, not in the accuracy")
    return notes


def result_of(
    answers: Answers, layout: str, *, name: str, model: str, base: bool, step: int | None, settings: dict[str, Any]
) -> Result:
    """The numbers of one model: accuracy over all questions and over subjects, by subject and category.

    `probability` is that of the right letter among the letters, in the mean: it moves before the accuracy does.
    """
    marked = [each for each in answers.given if each.question.answer]
    members: dict[str, list[int]] = {}
    for at, each in enumerate(marked):
        for group in (each.paper.name, *categories_of(layout, each.paper.name)):
            members.setdefault(group, []).append(at)
    right = [float(each.right) for each in marked]
    chance = [each.chances[each.question.letters.index(each.question.answer)] for each in marked]
    if any(math.isnan(value) for value in chance):
        raise ModelError(f"{model} gives log-probabilities that are no numbers; its weights are damaged.")
    measures = _measures(right, chance, range(len(marked))) if marked else {}
    names = list(dict.fromkeys(each.paper.name for each in marked))
    if len(names) > 1:
        measures["accuracy_by_subject"] = _over_subjects([[right[at] for at in members[each]] for each in names])
    groups = {group: _measures(right, chance, rows) for group, rows in members.items()}
    # Some of each subject rather than the first one alone.
    shown = sorted(sorted(range(len(answers.given)), key=_places(answers.given).__getitem__)[:SHOWN])
    return Result(
        name, "choice", model, base, step, measures, groups, [answers.given[at].as_row() for at in shown],
        settings, {"accuracy": right, "probability": chance}, members, list(answers.notes),
    )  # fmt: skip


def _places(given: Sequence[Given]) -> list[int]:
    """Of each question, how many of its subject came before it."""
    counts: dict[str, int] = {}
    found = []
    for each in given:
        found.append(counts.get(each.paper.name, 0))
        counts[each.paper.name] = found[-1] + 1
    return found


def _measures(right: Sequence[float], chance: Sequence[float], rows: Sequence[int]) -> dict[str, Measure]:
    hits = sum(1 for at in rows if right[at])
    return {"accuracy": share(hits, len(rows)), "probability": mean([chance[at] for at in rows])}


def _over_subjects(right: Sequence[Sequence[float]]) -> Measure:
    """The mean of the subjects' accuracies; the variance of each is Agresti and Coull's (1998), which is never 0."""
    value = math.fsum(sum(each) / len(each) for each in right) / len(right)
    spread = 0.0
    for each in right:
        count = len(each) + Z95**2
        part = (sum(each) + Z95**2 / 2) / count
        spread += part * (1 - part) / count
    half = Z95 * math.sqrt(spread) / len(right)
    return Measure(value, max(0.0, value - half), min(1.0, value + half), sum(map(len, right)))
