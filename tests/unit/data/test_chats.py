"""Lists of turns: sharegpt in strict order, openai in its own, with tool calls, results and thinking."""

import json
from typing import Any

import pytest

from studio.data.example import to_example
from tests.unit.data.talking import complaint, entry, talk


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


SHAREGPT, OPENAI = entry(formatting="sharegpt"), entry(formatting="openai")


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
        ([H, {"from": "function_call", "value": "{}"}], "turn 2: a tool call must be"),
        ([{"from": "function_call", "value": "{}"}], "turn 1 must be 'human' but is 'function_call'"),
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


def share(*turns: tuple[str, Any], **columns: Any) -> tuple[dict[str, Any], ...]:
    row = {"conversations": [{"from": role, "value": value} for role, value in turns], **columns}
    return to_example(row, SHAREGPT).messages


ADD = '{"name": "add", "arguments": {"a": 1}}'


def test_a_function_call_is_an_answer_and_an_observation_a_question() -> None:
    messages = share(("human", "1+1?"), ("function_call", ADD), ("observation", "2"), ("gpt", "Two."))
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1] == {"role": "assistant", "content": "", "tool_calls": [call("add", a=1)]}
    assert messages[2] == {"role": "tool", "content": "2"}


@pytest.mark.parametrize(
    "value",
    [
        f"[{ADD}, {ADD}]",
        f"{ADD}\n{ADD}",
        [json.loads(ADD)] * 2,
        '[{"name": "add", "arguments": "{\\"a\\": 1}"}, {"name": "add", "parameters": {"a": 1}}]',
    ],
)
def test_one_turn_may_hold_several_calls_in_any_of_their_spellings(value: Any) -> None:
    messages = share(("human", "q"), ("function_call", value), ("observation", "2"), ("observation", "3"), ("gpt", "x"))
    assert messages[1]["tool_calls"] == [call("add", a=1)] * 2
    assert [message["content"] for message in messages[2:4]] == ["2", "3"]


def test_there_are_no_more_results_than_calls() -> None:
    turns = [("human", "q"), ("function_call", ADD), ("observation", "2"), ("observation", "3"), ("gpt", "x")]
    row = {"conversations": [{"from": role, "value": value} for role, value in turns]}
    assert "turn 4 must be 'gpt' but is 'observation'" in complaint(row, formatting="sharegpt")


def test_thinking_in_front_of_a_call_is_told_apart() -> None:
    (_, answer) = share(("human", "q"), ("function_call", f"<think>\nhm\n</think>\n{ADD}"))
    assert answer["reasoning_content"] == "hm" and answer["tool_calls"] == [call("add", a=1)]


def test_a_result_that_is_no_text_is_written_as_json() -> None:
    messages = share(("human", "q"), ("function_call", ADD), ("observation", {"和": 2}), ("gpt", "x"))
    assert messages[2]["content"] == '{"和": 2}'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("add(1)", "turn 2: a tool call must be JSON, and is not at character 1"),
        ("", "turn 2: it must hold at least one call"),
        ('{"arguments": {}}', "this one is an object with arguments"),
        ('{"name": "add", "arguments": "{"}', "the arguments of add must be JSON"),
        ('{"name": "add", "arguments": [1]}', "the arguments of add must be an object, but they are a list of 1"),
    ],
)
def test_a_wrong_call_names_its_turn(value: str, said: str) -> None:
    row = {"conversations": [H, {"from": "function_call", "value": value}]}
    assert said in complaint(row, formatting="sharegpt")


@pytest.mark.parametrize("written", [json.dumps, lambda tools: tools])
def test_tools_come_as_text_or_as_values_and_are_wrapped(written: Any) -> None:
    bare, whole = {"name": "add"}, {"type": "function", "function": {"name": "sub"}}
    row = {"conversations": [H, G], "tools": written([bare, whole])}
    assert json.loads(to_example(row, SHAREGPT).tools) == [{"type": "function", "function": bare}, whole]


@pytest.mark.parametrize("none", ["", "[]", [], None, "  "])
def test_without_tools_there_are_none(none: Any) -> None:
    assert to_example({"conversations": [H, G], "tools": none}, SHAREGPT).tools == ""


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("[{]", "column 'tools': tools must be JSON, and is not"),
        ([{"description": "x"}], "column 'tools': tools must be a list of"),
        (["add"], "tool 1 is the text 'add'"),
    ],
)
def test_wrong_tools_are_told(tools: Any, said: str) -> None:
    assert said in complaint({"conversations": [H, G], "tools": tools}, formatting="sharegpt")


def test_a_turn_may_be_left_out_of_what_is_learned() -> None:
    turns = [H, {**G, "weight": 0}, H, {**G, "loss": True}]
    messages = to_example({"conversations": turns}, SHAREGPT).messages
    assert [message.get("weight") for message in messages] == [None, 0, None, None]
    assert "the weight 0.5, and it must be 0 or 1" in complaint(
        {"conversations": [H, {**G, "weight": 0.5}]}, formatting="sharegpt"
    )


def test_what_a_turn_would_lose_is_refused() -> None:
    picture = {"conversations": [{**H, "image": "a.png"}, G]}
    assert "turn 1 has 'image'; only text is learned" in complaint(picture, formatting="sharegpt")
    calls = {"conversations": [H, {**G, "tool_calls": [call("add")]}]}
    assert "has tool_calls, which formatting openai reads" in complaint(calls, formatting="sharegpt")


def test_a_table_may_write_a_conversation_as_json() -> None:
    assert to_example({"conversations": json.dumps([H, G])}, SHAREGPT) == talk("x", "y")


U, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
ASKS = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **call("add", a=1)}]}
GIVES = {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"}


def openai(*messages: Any, **columns: Any) -> tuple[dict[str, Any], ...]:
    return to_example({"messages": list(messages), **columns}, OPENAI).messages


def test_messages_keep_their_order_and_get_no_system_prompt() -> None:
    messages = openai(U, U, A, {"role": "system", "content": "s"}, U, A)
    assert [message["role"] for message in messages] == ["user", "user", "assistant", "system", "user", "assistant"]


def test_calls_and_results_keep_their_ids() -> None:
    messages = openai(U, ASKS, GIVES, A)
    assert messages[1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **call("add", a=1)}]}
    assert messages[2] == {"role": "tool", "content": "2", "name": "add", "tool_call_id": "c1"}


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}])
def test_arguments_are_an_object_whichever_way_they_are_written(arguments: Any) -> None:
    written = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert openai(U, written)[1]["tool_calls"] == [call("f", a=1)]


def test_the_older_way_to_call_a_function_is_read() -> None:
    asks = {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"a": 1}'}}
    messages = openai(U, asks, {"role": "function", "name": "add", "content": "2"}, A)
    assert messages[1]["tool_calls"] == [call("add", a=1)]
    assert messages[2] == {"role": "tool", "content": "2", "name": "add"}


def test_parts_of_text_are_joined_and_other_parts_refused() -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
    assert openai({"role": "user", "content": parts}, A)[0]["content"] == "What is this?"
    picture = {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": "x"}}]}
    said = complaint({"messages": [picture, A]}, formatting="openai")
    assert "message 1 (user) must be made of text parts, but it has one of type 'image_url'" in said


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_thinking_has_one_name(key: str) -> None:
    assert openai(U, {**A, key: "hm"})[1] == {**A, "reasoning_content": "hm"}
    assert openai(U, {**A, key: None})[1] == A


def test_keys_that_tables_fill_with_null_are_as_if_absent() -> None:
    empty = dict.fromkeys(("tool_calls", "name", "tool_call_id", "weight", "images", "reasoning_content"))
    assert openai({**U, **empty}, {**A, **empty}) == (U, A)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([U], "must end with an answer ('assistant'), but it ends with 'user'"),
        ([U, ASKS, GIVES], "must end with an answer"),
        ([U, {"role": "assistant", "content": None}], "message 2 (assistant) must have text under 'content'"),
        ([U, {"role": "assistant"}], "but it is null"),
        ([U, {"role": "assistant", "content": " "}], "message 2 (assistant) is empty"),
        ([{"role": "user", "content": ""}, A], "message 1 (user) is empty"),
        ([{"role": "alien", "content": "x"}, A], "turn 1 has the unknown role 'alien'"),
        ([{"role": ["user"], "content": "x"}, A], "turn 1 has the unknown role ['user']"),
        (["hi", A], 'turn 1 must be {"role": "user", "content": "…"}, but it is the text'),
        ([U, {**A, "tool_calls": "add"}], "must have a list of tool_calls, but they are the text 'add'"),
        ([U, {**A, "tool_calls": [{"id": "x"}]}], "message 2 (assistant) has a wrong call: a tool call must be"),
        ([U, {**A, "weight": 2}], "turn 2 has the weight 2, and it must be 0 or 1"),
        ([U, {**A, "reasoning_content": 7}], "the thinking of turn 2 must be text"),
    ],
)
def test_a_bad_message_is_named(messages: Any, said: str) -> None:
    assert said in complaint({"messages": messages}, formatting="openai")


def test_tags_give_other_words_to_messages() -> None:
    tags = {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "B", "function_tag": "F"}
    mine = entry(formatting="openai", tags=tags)
    row = {"messages": [{"who": "U", "says": "q"}, {"who": "F", "says": ADD}, {"who": "tool", "says": "2"},
                        {"who": "B", "says": "a"}]}  # fmt: skip
    assert [message["role"] for message in to_example(row, mine).messages] == ["user", "assistant", "tool", "assistant"]
