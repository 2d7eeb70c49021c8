"""From a raw row to an example: each format, and each way a row can be wrong."""

import json
from typing import Any

import pytest

from studio.data.example import FORMATS, Example, to_example
from tests.unit.data.talking import complaint, entry, talk

ALPACA = entry()


def test_every_format_says_what_it_reads() -> None:
    assert list(FORMATS) == ["text", "alpaca", "pairs", "sharegpt", "openai", "moss", "firefly", "xtuner", "atom"]
    assert FORMATS["alpaca"].meanings == (
        "prompt", "query", "response", "system", "history", "tools", "chosen", "rejected", "kto_tag",
    )  # fmt: skip


def test_prompt_and_query_join_by_a_newline() -> None:
    row = {"instruction": "Add.", "input": "1 1", "output": "2"}
    assert to_example(row, ALPACA) == talk("Add.\n1 1", "2")
    assert to_example({**row, "input": ""}, ALPACA) == talk("Add.", "2")
    assert to_example({**row, "input": None}, ALPACA) == talk("Add.", "2")
    assert to_example({"instruction": "Add.", "output": "2"}, ALPACA) == talk("Add.", "2")
    assert to_example({**row, "instruction": ""}, ALPACA) == talk("1 1", "2")


def test_system_and_history_are_taken_where_the_row_has_them() -> None:
    row = {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]}
    assert to_example(row, ALPACA) == talk("a", "b", "c", "d", system="s")
    assert to_example({**row, "system": "", "history": []}, ALPACA) == talk("c", "d")
    assert to_example({**row, "system": None, "history": None}, ALPACA) == talk("c", "d")


def test_with_columns_listed_an_unlisted_column_is_not_read() -> None:
    listed = entry(columns={"prompt": "instruction", "response": "output"})
    row = {"instruction": "c", "input": "x", "output": "d", "system": "s"}
    assert to_example(row, listed) == talk("c", "d")


def test_an_entry_that_maps_only_the_prompt_gives_running_text() -> None:
    assert to_example({"text": "Once."}, entry(columns={"prompt": "text"})) == Example(text="Once.")
    assert to_example({"text": "Once."}, entry(formatting="text")) == Example(text="Once.")
    assert to_example({"body": "Once."}, entry(formatting="text", columns={"prompt": "body"})).text == "Once."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": ""}, "column 'output': the answer is empty"),
        ({"output": " \n"}, "column 'output': the answer is empty"),
        ({"output": 3}, "column 'output': it must be text, but it is the number 3"),
        ({"output": None}, "it must be text, but it is null"),
        ({"output": ["x"]}, "it must be text, but it is a list of 1"),
        ({"output": True}, "it must be text, but it is true"),
        ({"input": 5}, "column 'input': it must be text, but it is the number 5"),
        ({"system": {}}, "column 'system': it must be text, but it is an object"),
        ({"instruction": ""}, "column 'instruction': the question is empty"),
        ({"history": "x"}, "history must be a list of [question, answer] pairs"),
        ({"history": [["a"]]}, "item 1 is a list of 1"),
        ({"history": [["a", "b"], ["c", 3]]}, "item 2 is a list of 2"),
        ({"history": [["a", ""]]}, "item 1 of the history holds an empty text"),
    ],
)
def test_a_bad_alpaca_row_names_the_column(change: dict[str, Any], said: str) -> None:
    assert said in complaint({"instruction": "a", "output": "b", **change})


def test_an_absent_column_says_which_columns_the_row_has() -> None:
    said = complaint({"instruction": "a", "ouput": "b"})
    assert "column 'output': the row has no such column; it has instruction, ouput" in said
    assert "Did you mean ouput?" in said


@pytest.mark.parametrize("meaning", ["prompt", "query", "response", "system", "history"])
def test_a_listed_column_must_be_there(meaning: str) -> None:
    columns = {"prompt": "p", "response": "r", meaning: "gone"}
    assert "column 'gone': the row has no such column; it has p, r" in complaint({"p": "a", "r": "b"}, columns=columns)


def test_an_empty_text_is_refused() -> None:
    assert "the text is empty" in complaint({"text": " "}, formatting="text")


@pytest.mark.parametrize("column", ["text", "data", "content"])
def test_a_text_is_found_under_its_usual_names(column: str) -> None:
    assert to_example({column: "Once.", "title": "x"}, entry(formatting="text")) == Example(text="Once.")


def test_a_text_under_another_name_asks_for_the_column() -> None:
    assert "column 'text': the row has no such column; it has body" in complaint({"body": "x"}, formatting="text")
    listed = complaint({"content": "x"}, formatting="text", columns={"prompt": "text"})
    assert "it has content" in listed


def test_tools_of_an_alpaca_row_are_kept_in_one_shape() -> None:
    mapped = entry(columns={"prompt": "q", "response": "a", "tools": "t"})
    example = to_example({"q": "a", "a": "b", "t": [{"name": "add", "parameters": {}}]}, mapped)
    assert json.loads(example.tools) == [{"type": "function", "function": {"name": "add", "parameters": {}}}]


def test_a_missing_mapping_is_told() -> None:
    row = {"q": "a", "s": "b"}
    assert "add columns.response" in complaint(row, columns={"prompt": "q", "system": "s"})
    assert "add columns.messages" in complaint(row, formatting="sharegpt", columns={"system": "s"})
