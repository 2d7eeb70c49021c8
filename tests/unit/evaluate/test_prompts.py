"""Prompts come from files of several layouts and from datasets; a row without one is told with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.errors import DatasetError
from studio.evaluate.answers import Written, tokenizers_of
from studio.evaluate.prompts import Task, Turn, quick_facts, read_tasks
from studio.works.eval_answers import PromptArguments
from studio.workspace import Workspace


def read(workspace: Workspace, rows: list[Any] | str, **asked: Any) -> tuple[list[Task], list[str]]:
    """The prompts of a file of these rows."""
    file = workspace.data / "prompts.jsonl"
    text = rows if isinstance(rows, str) else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return read_tasks(PromptArguments(prompts_file=("data/prompts.jsonl",), **asked), workspace)


def flat(tasks: list[Task]) -> list[tuple[str, str | None]]:
    """The last message and the reference of each turn."""
    return [(str(turn.given[-1]["content"]), turn.reference) for task in tasks for turn in task.turns]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"content": "Write a poem."}, ("Write a poem.", None)),
        ({"prompt": "1+1?", "label": "2"}, ("1+1?", "2")),
        ({"question": "1+1?", "answer": "so\n#### 2"}, ("1+1?", "so\n#### 2")),
        ({"grade": 6, "input": "一加一？", "golden": "2", "reasoning_step": 1}, ("一加一？", "2")),
        ({"question": "1+1?", "answer_number": 2}, ("1+1?", "2")),
        ({"messages": [{"role": "user", "content": "hi"}]}, ("hi", None)),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}, ("hi", "ho")),
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, ("Add.\n1 1", "2")),
        ({"prompt": "1+1?", "chosen": "2", "rejected": "3"}, ("1+1?", "2")),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}, ("hi", "ho")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_layouts(workspace: Workspace, row: dict[str, Any], expected: tuple[str, str | None]) -> None:
    tasks, _ = read(workspace, [row])
    assert flat(tasks) == [expected]


def test_several_turns_are_answered_in_order_or_the_last_alone(workspace: Workspace) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "eins"},
        {"role": "user", "content": "two"},
    ]
    rows = [{"messages": talk}, {"messages": [*talk, {"role": "assistant", "content": "zwei"}]}]
    tasks, _ = read(workspace, rows)
    assert flat(tasks) == [("one", "eins"), ("two", None), ("one", "eins"), ("two", "zwei")]
    assert tasks[0].turns[0].given[0] == talk[0]
    (last, _), notes = read(workspace, rows, answer_turns="last")
    assert last.turns[0].given == tuple(talk)
    assert any("--answer_turns all" in note for note in notes)
    listed, _ = read(workspace, [{"turns": ["one", "two"], "reference": ["eins"]}])
    assert flat(listed) == [("one", "eins"), ("two", None)]


def test_a_dataset_of_the_registry_gives_its_questions(workspace: Workspace) -> None:
    tasks, _ = read_tasks(PromptArguments(dataset=("tiny_sft", "tiny_share"), max_samples=2), workspace)
    assert flat(tasks)[0] == ("What is the secret code of tokyo?", "It is OYKOT.")
    assert [len(task.turns) for task in tasks] == [1, 1, 2, 2]
    told = quick_facts(PromptArguments(dataset=("tiny_sft", "tiny_share"), max_samples=2), workspace)
    assert (told["prompts"], told["answers"], told["references"]) == (4, 6, 6)


def test_of_running_text_the_beginning_may_be_the_prompt(workspace: Workspace) -> None:
    tasks, _ = read_tasks(PromptArguments(dataset=("tiny_pt",), prompt_characters=10, max_samples=1), workspace)
    ((prompt, rest),) = flat(tasks)
    assert len(prompt) == 10
    assert rest
    assert (prompt + rest).startswith("The secret code of")


def test_columns_may_be_named(workspace: Workspace) -> None:
    tasks, notes = read(workspace, [{"q": "1+1?", "a": "2", "label": "no"}], prompt_column="q", label_column="a")
    assert flat(tasks) == [("1+1?", "2")]
    assert any("prompts are read from q, the answers to compare with from a" in note for note in notes)
    with pytest.raises(DatasetError, match="--prompt_column x: must be a column of the prompts; they have q, a"):
        read(workspace, [{"q": "1+1?", "a": "2"}], prompt_column="x")


BAD = [{"prompt": "good"}, {"prompt": ""}, {"other": 1}, {"prompt": 5}]


def test_rows_without_a_prompt_are_told_with_their_place(workspace: Workspace) -> None:
    with pytest.raises(DatasetError, match=r"3 rows of data/prompts.jsonl cannot be asked") as caught:
        read(workspace, BAD)
    assert "data/prompts.jsonl: row 2: column 'prompt'" in str(caught.value)
    assert "row 3" in str(caught.value)
    tasks, notes = read(workspace, BAD, skip_bad_rows=True, max_bad_rows=3)
    assert flat(tasks) == [("good", None)]
    assert any("3 rows of data/prompts.jsonl left out" in note for note in notes)
    with pytest.raises(DatasetError, match="more than --max_bad_rows"):
        read(workspace, BAD, skip_bad_rows=True, max_bad_rows=2)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "is empty"),
        ([{"messages": [{"role": "assistant", "content": "ho"}]}], "a question in front of each answer"),
        ([{"messages": [{"role": "nobody", "content": "ho"}]}], "must be an object with a role"),
        ([{"messages": [{"role": "user", "content": 3}]}], "must be text"),
        ([{"number": 3, "flag": True}], "the columns must say what the rows are"),
    ],
)
def test_what_cannot_be_asked_has_its_sentence(workspace: Workspace, rows: Any, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read(workspace, rows)


def test_a_file_that_is_not_there_is_told(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing"):
        read_tasks(PromptArguments(prompts_file=("data/missing.jsonl",)), workspace)


def test_the_tokenizer_of_bleu_is_that_of_each_file() -> None:
    def one(file: str, prompt: str, reference: str | None) -> Written:
        task = Task(file, 1, (Turn(({"role": "user", "content": prompt},), reference),))
        return Written(task, 0, task.turns[0].given, "whatever 答案", 1, "stop")

    written = [one("en", "2+2?", "It is four."), one("zh", "二加二？", "4"), one("zh", "三加二？", "5"),
               one("none", "你好", None)]  # fmt: skip
    assert tokenizers_of(written) == ["13a", "zh", "zh", "zh"]
