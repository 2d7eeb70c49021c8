"""From a raw row to an example: each format, and each way a row can be wrong."""

from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, entry_of
from studio.data.example import FORMATS, Example, to_example
from studio.errors import RowError

HERE = Path()


def entry(**keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", **keys}, HERE, HERE)


def talk(*contents: str, system: str = "") -> Example:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return Example(messages=tuple([{"role": "system", "content": system}] * bool(system) + turns))


def complaint(row: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(RowError) as caught:
        to_example(row, entry(**keys))
    return str(caught.value)


ALPACA = entry()
SHAREGPT = entry(formatting="sharegpt")


def test_there_are_three_formats() -> None:
    assert list(FORMATS) == ["text", "alpaca", "sharegpt"]


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


def test_a_conversation_maps_its_roles() -> None:
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert to_example(row, SHAREGPT) == talk("a", "b")
    assert to_example({**row, "system": "s"}, SHAREGPT) == talk("a", "b", system="s")


def test_a_system_turn_may_come_first() -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert to_example({"conversations": turns}, SHAREGPT) == talk("a", "b", system="s")


def test_tags_name_keys_and_roles() -> None:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    mine = entry(formatting="sharegpt", columns={"messages": "messages"}, tags=tags)
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert to_example(row, mine) == talk("a", "b")


H, G, S = {"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}, {"from": "system", "value": "s"}


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([G, H], "turn 1 must be 'human' but is 'gpt'"),
        ([H, H, G], "turn 2 must be 'gpt' but is 'human'"),
        ([H, G, G], "turn 3 must be 'human' but is 'gpt'"),
        ([H, S, G], "turn 2 must be 'gpt' but is 'system'"),
        ([H, G, H], "must end with an answer ('gpt'), but it ends with 'human'"),
        ([S], "it has no turn beside the system prompt"),
        ([], "it must be a list of turns; this is an empty list"),
        ("hi", "it must be a list of turns; this is the text 'hi'"),
        (None, "it must be a list of turns; this is null"),
        ([{"from": "humam", "value": "x"}], "turn 1 has the unknown role 'humam'"),
        ([{"from": ["x"], "value": "x"}], "turn 1 has the unknown role ['x']"),
        ([{"role": "user", "content": "x"}], "but it is an object with role, content"),
        (["x"], 'turn 1 must be {"from": "human", "value": "…"}, but it is the text'),
        ([H, {"from": "gpt", "value": ""}], "turn 2 (gpt) is empty"),
        ([H, {"from": "gpt", "value": 4}], "turn 2 must be text, but it is the number 4"),
        ([H, {"from": "gpt", "value": None}], "turn 2 must be text, but it is null"),
        ([H, {"from": "function_call", "value": "{}"}], "tool calls are not supported"),
    ],
)
def test_a_bad_conversation_names_the_turn(turns: Any, said: str) -> None:
    assert said in complaint({"conversations": turns}, formatting="sharegpt")


def test_an_unknown_role_gets_a_suggestion() -> None:
    turns = [{"from": "humann", "value": "x"}]
    assert complaint({"conversations": turns}, formatting="sharegpt").endswith("Did you mean human?")


def test_two_system_prompts_are_one_too_many() -> None:
    said = complaint({"system": "t", "conversations": [S, H, G]}, formatting="sharegpt")
    assert "a system prompt stands here and in the column 'system'; keep one" in said


def test_a_conversation_without_its_column_says_what_there_is() -> None:
    said = complaint({"conversation": [H, G]}, formatting="sharegpt")
    assert "it has conversation" in said and "Did you mean conversation?" in said


def test_a_missing_mapping_is_told() -> None:
    row = {"q": "a", "s": "b"}
    assert "add columns.response" in complaint(row, columns={"prompt": "q", "system": "s"})
    assert "add columns.messages" in complaint(row, formatting="sharegpt", columns={"system": "s"})
