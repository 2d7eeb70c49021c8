"""A loaded model answers prompts, many at once, and its answers in numbers.

`write` and `found_of` take a model that is in memory already, so that they serve while training too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from studio.arguments.generation import GenerationArguments
from studio.errors import RowError, counted
from studio.evaluate.intervals import Measure
from studio.evaluate.metrics import distinct, row_values, sums_of
from studio.evaluate.prompts import Message, Task
from studio.evaluate.segments import bleu_tokenizer
from studio.evaluate.sums import Sums
from studio.model.answer import Answer, TooLongError

if TYPE_CHECKING:
    from studio.model.engine import BatchEngine
    from studio.model.generate import Speaker

# Answers that the engine knows of at once, those that wait included.
AHEAD = 256
Ended = Literal["stop", "length", "too_long"]


@dataclass(frozen=True)
class How:
    """How prompts are answered: `raw` as texts to go on with, else in the chat template; so many `together`."""

    generation: GenerationArguments
    raw: bool
    together: int = 8
    seed: int = 42


@dataclass(frozen=True)
class Written:
    """One answer. `before` are the messages that it answers; `ended` "length" when it used all tokens it may have."""

    task: Task
    turn: int
    before: tuple[Message, ...]
    answer: str
    tokens: int
    ended: Ended

    @property
    def reference(self) -> str | None:
        """The answer that the row gives to this turn."""
        return self.task.turns[self.turn].reference

    @property
    def prompt(self) -> str:
        """The last message that is answered."""
        return str(self.before[-1]["content"])


def write(
    speaker: Speaker, tasks: Sequence[Task], how: How, tell: Callable[[int, int], None] | None = None
) -> list[Written]:
    """The answer to each turn of each task, in their order; a later turn stands behind the model's own answers.

    A prompt that the model has no positions for gets an empty answer that `ended` "too_long". `tell` gets answers
    done and in all. Raises RowError with its place for a row that the chat template refuses, before anything is
    written.
    """
    from studio.model.engine import BatchEngine

    if not how.raw:
        _must_render(speaker, tasks)
    total = sum(len(task.turns) for task in tasks)
    found: dict[tuple[int, int], Written] = {}
    said: list[list[Message]] = [[] for _ in tasks]
    with BatchEngine(speaker, rows=how.together, waiting=AHEAD) as engine:
        for turn in range(max(len(task.turns) for task in tasks)):
            places = [at for at, task in enumerate(tasks) if turn < len(task.turns)]
            for at in places:
                said[at] += tasks[at].turns[turn].given
            for at, written in _round(engine, tasks, places, (turn, said), how):
                found[at, turn] = written
                said[at].append({"role": "assistant", "content": written.answer})
                if tell is not None:
                    tell(len(found), total)
    return [found[place] for place in sorted(found)]


def _round(
    engine: BatchEngine, tasks: Sequence[Task], places: Sequence[int], so_far: tuple[int, list[list[Message]]], how: How
) -> Iterator[tuple[int, Written]]:
    """The answers to one turn of some tasks, in order; new ones begin as others end."""
    turn, said = so_far
    waiting: deque[tuple[int, Answer | None]] = deque()
    coming = iter(places)
    while True:
        while len(waiting) < AHEAD and (at := next(coming, None)) is not None:
            waiting.append((at, _begin(engine, tasks[at], said[at], how, at)))
        if not waiting:
            return
        at, answer = waiting.popleft()
        before = tuple(said[at])
        if answer is None:
            yield at, Written(tasks[at], turn, before, "", 0, "too_long")
            continue
        text = answer.text().strip()
        ended: Ended = "length" if answer.reason == "length" else "stop"
        yield at, Written(tasks[at], turn, before, text, answer.completion_tokens, ended)


def _begin(engine: BatchEngine, task: Task, said: Sequence[Message], how: How, at: int) -> Answer | None:
    conversation = text_of(said) if how.raw else list(said)
    tools = list(task.tools) or None
    try:
        return engine.start(conversation, how.generation, tools=None if how.raw else tools, seed=how.seed + at)
    except TooLongError:
        return None


def text_of(messages: Sequence[Message]) -> str:
    """Messages as a text to go on with: their contents, a line each."""
    return "\n".join(str(message["content"]) for message in messages)


def _must_render(speaker: Speaker, tasks: Sequence[Task]) -> None:
    for task in tasks:
        try:
            speaker.prompter.prompt(list(task.turns[0].given), list(task.tools) or None)
        except RowError as error:
            raise error.at(task.file, task.row) from None


@dataclass(frozen=True)
class Found:
    """The answers of one model in numbers.

    `values` are the columns of rows, None where a row has none; `members` the rows of each file when there are several.
    """

    written: Sequence[Written]
    values: Mapping[str, Sequence[float | None]]
    sums: Mapping[str, Sums]
    members: Mapping[str, list[int]] = field(default_factory=dict)

    def measures(self) -> dict[str, Measure]:
        """Every measure over all answers."""
        found = {name: sums.measure() for name, sums in self.sums.items()}
        value, low, high = distinct([each.answer for each in self.written])
        if not math.isnan(value):
            found["distinct_2"] = Measure(value, low, high, len(self.written))
        return found

    def groups(self) -> dict[str, dict[str, Measure]]:
        """The same for each file, where there are several."""
        return {
            name: {key: sums.of_rows(rows).measure() for key, sums in self.sums.items()}
            for name, rows in self.members.items()
        }

    def against(self, base: Found) -> dict[str, dict[str, Measure]]:
        """Group → measure → difference from the base's, `all` for everything."""
        both = [name for name in self.sums if name in base.sums]
        found = {"all": {name: self.sums[name].against(base.sums[name]) for name in both}}
        for group, rows in self.members.items():
            found[group] = {name: self.sums[name].of_rows(rows).against(base.sums[name].of_rows(rows)) for name in both}
        return found


def found_of(written: Sequence[Written], more: Mapping[str, Sequence[float | None]] | None = None) -> Found:
    """Answers in numbers; `more` are further columns, such as a judge's scores."""
    rows = [row_values(each.answer, each.reference) for each in written]
    values: dict[str, Sequence[float | None]] = {name: [row[name] for row in rows] for name in rows[0]}
    values |= {
        "tokens": [float(each.tokens) for each in written],
        "cut": [float(each.ended == "length") for each in written],
        **(more or {}),
    }
    files = list(dict.fromkeys(each.task.file for each in written))
    members = {file: [at for at, each in enumerate(written) if each.task.file == file] for file in files}
    answers, references = [each.answer for each in written], [each.reference for each in written]
    sums = sums_of(values, answers, references, tokenizers_of(written))
    return Found(written, values, sums, members if len(files) > 1 else {})


def tokenizers_of(written: Sequence[Written]) -> list[str]:
    """BLEU's tokenizer for each answer: by the script of its file's references, or of its prompts if these are numbers.

    The same for every model, whatever it answers.
    """
    found: dict[str, str] = {}
    for file in dict.fromkeys(each.task.file for each in written):
        rows = [each for each in written if each.task.file == file]
        references = "".join(each.reference or "" for each in rows)
        asked = "".join(str(message["content"]) for each in rows for message in each.task.turns[each.turn].given)
        found[file] = bleu_tokenizer([references if any(map(str.isalpha, references)) else asked])
    return [found[each.task.file] for each in written]


def notes_of(written: Sequence[Written]) -> list[str]:
    """What people should know of the answers of a model, as sentences."""
    notes = []
    if cut := sum(each.ended == "length" for each in written):
        notes.append(
            f"{counted(cut, 'answer')} of {len(written):,} reached max_new_tokens before the model ended them."
        )
    if long := sum(each.ended == "too_long" for each in written):
        notes.append(f"{counted(long, 'prompt')} left no room for an answer in the model's context; the answer is "
                     "empty and counts as wrong.")  # fmt: skip
    return notes


def row_of(each: Written, values: Mapping[str, float | None]) -> dict[str, Any]:
    """One answer as it stands among the rows of a result."""
    return {
        "file": each.task.file, "row": each.task.row, "turn": each.turn + 1, "prompt": each.prompt,
        "label": each.reference, "predict": each.answer, "tokens": each.tokens, "ended": each.ended,
        **{name: value for name, value in values.items() if name not in ("tokens", "cut")},
    }  # fmt: skip
