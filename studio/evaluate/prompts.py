"""What a model is asked in an evaluation: prompts of files and datasets, with the answers that their rows give.

A row of a prompts file is {"content": text} (or prompt, question, …), {"messages": [...]}, or {"turns": [text, …]};
an answer may stand beside it (label, answer, …). Any other file is read as the registry reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from studio.data.calls import read_tools
from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.columns import in_words, listed, names_of
from studio.data.entry import entry_of
from studio.data.example import Example
from studio.data.kinds import kind_of
from studio.data.reading import Placed, chosen_rows
from studio.data.tokenise import example_of
from studio.errors import DatasetError, RowError, counted
from studio.works.eval_answers import PromptArguments
from studio.workspace import Workspace

Message = Mapping[str, Any]

PROMPTS = ("content", "prompt", "question", "query", "instruction", "text", "problem", "input", "问题")
LABELS = ("label", "answer", "response", "output", "reference", "completion", "target", "golden", "answer_number",
          "solution", "答案")  # fmt: skip
# Columns of rows that the registry knows how to read.
_REGISTERED = ("chosen", "rejected", "selected", "history", "conversations", "conversation", "input")
_LOOKED_AT = 50
# Rows of each source that a quick look reads.
FEW = 200
_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Turn:
    """One answer that is wanted: the messages since the answer before it, and the answer that the row gives."""

    given: tuple[Message, ...]
    reference: str | None = None


@dataclass(frozen=True)
class Task:
    """A row to answer, turn by turn: `row` counts from 1 in `file`. `tools` are those that the row offers."""

    file: str
    row: int
    turns: tuple[Turn, ...]
    tools: tuple[dict[str, Any], ...] = ()


def read_tasks(asked: PromptArguments, place: Workspace) -> tuple[list[Task], list[str]]:
    """The prompts of all files and datasets in their order, and what to tell about them.

    Raises DatasetError for a file that cannot be read, and for rows without a prompt beyond what may be left out.
    """
    catalog = read_catalog(place, asked.dataset_dir)
    entries = [catalog[name] for name in asked.dataset]
    notes = list(catalog.notes) if entries else []
    found: list[Task] = []
    for entry in entries:
        found += _taken(_rows_of(entry, asked, place), asked, place, entry.name, notes)
    for path in asked.prompts_file:
        found += _taken(_rows_of_file(path, asked, place, notes), asked, place, path, notes)
    if not found:
        raise DatasetError("an evaluation needs at least one prompt; there is none. Name another file or dataset.")
    many = sum(len(task.turns) > 1 for task in found)
    if many and asked.answer_turns == "last":
        found = [_last(task) for task in found]
        notes.append(f"{counted(many, 'row')} with several turns: the last one is answered, after those that the row "
                     "holds. --answer_turns all answers each in order.")  # fmt: skip
    return found, notes


def _taken(
    rows: Iterator[tuple[Placed, Task | RowError]], asked: PromptArguments, place: Workspace, name: str,
    notes: list[str],
) -> list[Task]:  # fmt: skip
    """The rows of one source that can be asked; the first bad ones are told with their place."""
    found: list[Task] = []
    bad: list[str] = []
    for placed, task in rows:
        if isinstance(task, RowError):
            bad.append(str(task.at(place.shown(placed.file), placed.row)))
        else:
            found.append(task)
    if not bad:
        return found
    count = len(found) + len(bad)
    most = asked.max_bad_rows if asked.max_bad_rows >= 1 else asked.max_bad_rows * count
    shown = "\n".join(f"  {sentence}" for sentence in bad[:5])
    if not asked.skip_bad_rows:
        raise DatasetError(f"{counted(len(bad), 'row')} of {name} cannot be asked:\n{shown}\nCorrect them, or set "
                           "--skip_bad_rows True to leave them out.")  # fmt: skip
    if len(bad) > most:
        raise DatasetError(f"{len(bad):,} of {counted(count, 'row')} of {name} cannot be asked, more than "
                           f"--max_bad_rows {asked.max_bad_rows:g} lets out:\n{shown}")  # fmt: skip
    notes.append(f"{counted(len(bad), 'row')} of {name} left out:\n{shown}")
    return found


def _rows_of(entry: DatasetEntry, asked: PromptArguments, place: Workspace) -> Iterator[tuple[Placed, Task | RowError]]:
    text = kind_of(entry) == "text"
    for placed in chosen_rows(entry, entry.files(), place.cache, asked.max_samples):
        example = example_of(placed.value, entry)
        if isinstance(example, RowError):
            yield placed, example
            continue
        try:
            turns = _of_text(example.text, asked) if text else _turns(_messages(example))
            yield placed, Task(place.shown(placed.file), placed.row, turns, _tools(example.tools))
        except RowError as error:
            yield placed, error


def _rows_of_file(
    path: str, asked: PromptArguments, place: Workspace, notes: list[str]
) -> Iterator[tuple[Placed, Task | RowError]]:
    """The rows of a file: by its own columns where they are those of prompts, else as the registry reads it."""
    bare = entry_of(path, {"file_name": path}, place.path(path), place.root)
    files = bare.files()
    first = [placed.value for placed in islice(chosen_rows(bare, files, place.cache, _LOOKED_AT), _LOOKED_AT)]
    rows = [row for row in first if isinstance(row, dict)]
    layout = _Layout.of(rows, asked)
    if layout is None:
        entry = entry_of_file(path, place)
        notes.append(entry.why)
        return _rows_of(entry, asked, place)
    notes.append(f"{path}: {layout.said}")
    chosen = chosen_rows(bare, files, place.cache, asked.max_samples)
    return ((placed, _task(placed, layout, place)) for placed in chosen)


@dataclass(frozen=True)
class _Layout:
    """The columns of a prompts file: of the prompt, which is a text, messages or turns, and of the answer or ""."""

    prompt: str
    label: str

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], asked: PromptArguments) -> _Layout | None:
        """That of the first rows; None where the registry is to read them."""
        columns = list(dict.fromkeys(str(name) for row in rows for name in row))
        for flag, name in (("prompt_column", asked.prompt_column), ("label_column", asked.label_column)):
            if name and name not in columns:
                raise DatasetError(f"--{flag} {name}: must be a column of the prompts; they have "
                                   f"{', '.join(columns[:20]) or 'none'}.")  # fmt: skip
        label = asked.label_column or next(
            (name for name in LABELS if any(_is_said(row.get(name)) for row in rows)), "")  # fmt: skip
        if asked.prompt_column:
            return cls(asked.prompt_column, "" if label == asked.prompt_column else label)
        for name in ("messages", "turns"):
            if any(isinstance(listed(row.get(name)), list) for row in rows):
                return cls(name, label)
        found = [name for name in PROMPTS if any(isinstance(row.get(name), str) for row in rows)]
        known = [name for name in _REGISTERED if name in columns and (name != "input" or found[:1] != ["input"])]
        if not found or known:
            return None
        return cls(found[0], label)

    @property
    def said(self) -> str:
        """For people."""
        return f"prompts are read from {self.prompt}, " + (
            f"the answers to compare with from {self.label}" if self.label else "without answers to compare with"
        )


def _is_said(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str | list) and bool(value))


def _task(placed: Placed, layout: _Layout, place: Workspace) -> Task | RowError:
    row = placed.value
    if isinstance(row, RowError):
        return row
    try:
        turns = _prompted(row, layout)
        tools = read_tools(row["tools"], "tools") if row.get("tools") else ""
    except RowError as error:
        return error
    return Task(place.shown(placed.file), placed.row, turns, _tools(tools))


def _prompted(row: Mapping[str, Any], layout: _Layout) -> tuple[Turn, ...]:
    value, label = listed(row.get(layout.prompt)), row.get(layout.label) if layout.label else None
    system: list[Message] = [{"role": "system", "content": row["system"]}] if _is_text(row.get("system")) else []
    if isinstance(value, list) and value and all(_is_text(part) for part in value):
        labels = label if isinstance(label, list) else []
        messages: list[Message] = list(system)
        for number, text in enumerate(value):
            messages.append({"role": "user", "content": text})
            if number < len(labels) and _is_said(labels[number]):
                messages.append({"role": "assistant", "content": str(labels[number])})
        return _turns(messages)
    if isinstance(value, list) and value:
        turns = _turns([*system, *_checked(value, layout.prompt)])
    elif _is_text(value):
        turns = (Turn((*system, {"role": "user", "content": value})),)
    else:
        what = f"this is {in_words(value)}" if layout.prompt in row else f"the row has {names_of(dict(row))}"
        raise RowError(f"a prompt must be a text, a list of texts or of messages; {what}", column=layout.prompt)
    if not _is_said(label) or isinstance(label, list):
        return turns
    return (*turns[:-1], Turn(turns[-1].given, str(label)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _checked(value: Sequence[Any], column: str) -> list[Message]:
    """Messages as templates read them. Raises RowError for one that is none."""
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise RowError(f"message {number} must be an object with a role (one of {', '.join(_ROLES)}) and a "
                           f"content; this is {in_words(message)}", column=column)  # fmt: skip
        if not isinstance(message.get("content"), str):
            raise RowError(f"the content of message {number} must be text; it is {in_words(message.get('content'))}",
                           column=column)  # fmt: skip
    return list(value)


def _of_text(text: str, asked: PromptArguments) -> tuple[Turn, ...]:
    """A text to go on with: its beginning where `prompt_characters` says so, and what follows as the reference."""
    if not asked.prompt_characters or len(text) <= asked.prompt_characters:
        return (Turn(({"role": "user", "content": text},)),)
    head, rest = text[: asked.prompt_characters], text[asked.prompt_characters :]
    return (Turn(({"role": "user", "content": head},), rest),)


def _messages(example: Example) -> list[Message]:
    return [*example.messages, *example.chosen] if example.chosen else list(example.messages)


def _tools(text: str) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(text)) if text else ()


def _turns(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """The turns of a conversation: each run of other messages with the answer behind it."""
    turns: list[Turn] = []
    given: list[Message] = []
    for message in messages:
        if message["role"] == "assistant" and not message.get("tool_calls"):
            turns.append(Turn(tuple(given), str(message["content"])))
            given = []
        elif message["role"] == "user" and given and given[-1]["role"] == "user":
            turns.append(Turn(tuple(given)))
            given = [message]
        else:
            given.append(message)
    if given:
        turns.append(Turn(tuple(given)))
    asked = [turn for turn in turns if any(each["role"] in ("user", "tool") for each in turn.given)]
    if len(asked) != len(turns) or not turns:
        raise RowError("a prompt must hold a question in front of each answer; this row has none")
    return tuple(turns)


def _last(task: Task) -> Task:
    """The same row with its last turn to answer alone, after the answers that it gives itself."""
    before: list[Message] = []
    for turn in task.turns[:-1]:
        before += turn.given
        if turn.reference is not None:
            before.append({"role": "assistant", "content": turn.reference})
    last = task.turns[-1]
    return Task(task.file, task.row, (Turn((*before, *last.given), last.reference),), task.tools)


def quick_facts(asked: PromptArguments, place: Workspace) -> dict[str, Any]:
    """The first prompts of each source: {"prompts", "answers" (wanted), "references", "notes"}."""
    few = asked.model_copy(update={"max_samples": min(asked.max_samples or FEW, FEW)})
    tasks, notes = read_tasks(few, place)
    turns = [turn for task in tasks for turn in task.turns]
    known = sum(turn.reference is not None for turn in turns)
    return {"prompts": len(tasks), "answers": len(turns), "references": known, "notes": notes}
