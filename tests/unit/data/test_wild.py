"""Formats of single projects: what they published becomes the same messages as everything else."""

from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, entry_of
from studio.data.example import Example, to_example
from studio.errors import RowError

HERE = Path()


def entry(formatting: str, **keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", "formatting": formatting, **keys}, HERE, HERE)


def talk(*contents: str, system: str = "", text: str = "") -> Example:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return Example(tuple([{"role": "system", "content": system}] * bool(system) + turns), text=text)


def complaint(row: dict[str, Any], formatting: str, **keys: Any) -> str:
    with pytest.raises(RowError) as caught:
        to_example(row, entry(formatting, **keys))
    return str(caught.value)


def moss_round(human: str, answer: str, **parts: str) -> dict[str, str]:
    return {
        "Human": f"<|Human|>: {human}<eoh>\n",
        "Inner Thoughts": f"<|Inner Thoughts|>: {parts.get('thoughts', 'None')}<eot>\n",
        "Commands": f"<|Commands|>: {parts.get('commands', 'None')}<eoc>\n",
        "Tool Responses": f"<|Results|>:\n{parts.get('results', 'None')}\n<eor>\n",
        "MOSS": f"<|MOSS|>: {answer}<eom>\n",
    }


def test_moss_rounds_lose_their_marks() -> None:
    row = {
        "meta_instruction": "You are MOSS.\n",
        "chat": {"turn_1": moss_round("a", "b"), "turn_2": moss_round("c", "d")},
    }
    assert to_example(row, entry("moss")) == talk("a", "b", "c", "d", system="You are MOSS.")


def test_moss_rounds_go_by_their_numbers() -> None:
    rounds = {f"turn_{number}": moss_round(f"q{number}", f"a{number}") for number in (10, 2, 1)}
    assert to_example({"chat": rounds}, entry("moss")) == talk("q1", "a1", "q2", "a2", "q10", "a10")


@pytest.mark.parametrize("column", ["chat", "conversation"])
def test_moss_rounds_may_be_a_list_and_without_marks(column: str) -> None:
    assert to_example({column: [{"Human": "a", "MOSS": "b"}]}, entry("moss")) == talk("a", "b")


def test_moss_commands_are_tool_calls_and_their_results_come_back() -> None:
    turn = moss_round("1+1?", "Two.", thoughts="I count.", commands='Calculate("(1+1)"), Search("two")', results="=> 2")
    (asked, calls, result, answer) = to_example({"chat": {"turn_1": turn}}, entry("moss")).messages
    assert (asked["content"], answer["content"], result) == ("1+1?", "Two.", {"role": "tool", "content": "=> 2"})
    assert calls["reasoning_content"] == "I count."
    made = [call["function"] for call in calls["tool_calls"]]
    assert made == [
        {"name": "Calculate", "arguments": {"expression": "(1+1)"}},
        {"name": "Search", "arguments": {"query": "two"}},
    ]


def test_moss_thoughts_without_commands_are_the_thinking_of_the_answer() -> None:
    row = {"chat": {"turn_1": moss_round("a", "b", thoughts="hm")}}
    assert to_example(row, entry("moss")).messages[1] == {
        "role": "assistant",
        "content": "b",
        "reasoning_content": "hm",
    }


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (moss_round("a", ""), "round 1: MOSS is empty"),
        (moss_round("a", "b", commands="look it up"), "round 1: commands must be written as Search"),
        (moss_round("a", "b", results="2"), "round 1 has Tool Responses without Commands"),
        ({"Human": 1, "MOSS": "b"}, "round 1: Human must be text, but it is the number 1"),
        ({"Human": "a"}, "round 1 is an object with Human"),
    ],
)
def test_a_bad_moss_round_is_named(turn: dict[str, Any], said: str) -> None:
    assert said in complaint({"chat": {"turn_1": turn}}, "moss")


def test_firefly_has_one_exchange_or_a_list_of_them() -> None:
    one = {"kind": "NLI", "input": "a", "target": "b"}
    several = {"conversation_id": 1, "category": "x", "conversation": [{"human": "a", "assistant": "b"}] * 2}
    assert to_example(one, entry("firefly")) == talk("a", "b")
    assert to_example(several, entry("firefly")) == talk("a", "b", "a", "b")
    assert to_example({**several, "system": "s"}, entry("firefly")) == talk("a", "b", "a", "b", system="s")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "a", "target": ""}, "column 'target': the row: the answer is empty"),
        ({"input": "a"}, "column 'target': the row has no such column"),
        ({"conversation": []}, "it must be a list of rounds"),
        ({"conversation": [{"human": "a"}]}, "round 1 is an object with human"),
        ({"conversation": [{"human": "a", "assistant": None}]}, "round 1: the answer must be text, but it is null"),
    ],
)
def test_a_bad_firefly_row_is_named(row: dict[str, Any], said: str) -> None:
    assert said in complaint(row, "firefly")


def test_xtuner_has_its_system_prompt_in_the_first_round() -> None:
    rounds = [{"system": "s", "input": "a", "output": "b"}, {"input": "c", "output": "d"}]
    assert to_example({"conversation": rounds}, entry("xtuner")) == talk("a", "b", "c", "d", system="s")
    again = [rounds[0], {"system": "s", "input": "c", "output": "d"}]
    assert to_example({"conversation": again}, entry("xtuner")) == talk("a", "b", "c", "d", system="s")
    other = [rounds[0], {"system": "t", "input": "c", "output": "d"}]
    assert "round 2 has a system prompt of its own" in complaint({"conversation": other}, "xtuner")


def test_an_xtuner_round_without_input_is_running_text() -> None:
    assert to_example({"conversation": [{"input": "", "output": "Once."}]}, entry("xtuner")) == Example(text="Once.")
    both = [{"input": "", "output": "Once."}, {"input": "a", "output": "b"}]
    assert "round 1: the question is empty" in complaint({"conversation": both}, "xtuner")


@pytest.mark.parametrize("line", ["\n", ""])
@pytest.mark.parametrize("column", ["text", "data", "content"])
def test_atom_text_is_taken_apart_and_kept(line: str, column: str) -> None:
    text = f"<s>Human: a\nb{line}</s><s>Assistant: c{line}</s><s>Human: d{line}</s><s>Assistant: e{line}</s>"
    assert to_example({column: text + "\n"}, entry("atom")) == talk("a\nb", "c", "d", "e", text=text)


def test_an_atom_text_may_begin_with_a_system_prompt() -> None:
    text = "<s>System: s\n</s><s>Human: a\n</s><s>Assistant: b\n</s>"
    assert to_example({"text": text}, entry("atom")) == talk("a", "b", system="s", text=text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Once upon a time", "at character 1 stands the text 'Once upon a time'"),
        ("<s>Human: a</s><s>Assistant: b", "at character 16 stands the text '<s>Assistant: b'"),
        ("<s>Human: a</s>", "Human and Assistant must take turns and end with Assistant"),
        ("<s>Assistant: a</s><s>Human: b</s>", "must take turns"),
        ("<s>Human: \n</s><s>Assistant: b</s>", "turn 1 (Human) is empty"),
        ("", "must take turns"),
    ],
)
def test_a_bad_atom_text_is_told(text: str, said: str) -> None:
    assert said in complaint({"text": text}, "atom")
