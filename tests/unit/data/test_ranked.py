"""Pairs and labels: two answers to one question, or one answer and whether it is wanted."""

from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import DatasetEntry, entry_of
from studio.data.example import Example, sides, to_example
from studio.data.kinds import kind_of
from studio.data.render import View
from studio.data.tokenise import must_fit
from studio.errors import DatasetError, RowError

HERE = Path()
U, A, B = ({"role": "user", "content": "q"}, *({"role": "assistant", "content": text} for text in ("good", "bad")))
PAIR = Example((U,), chosen=(A,), rejected=(B,))
BOTH = {"chosen": "chosen", "rejected": "rejected"}


def entry(**keys: Any) -> DatasetEntry:
    return entry_of("mine", {"file_name": "rows.json", **keys}, HERE, HERE)


def complaint(row: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(RowError) as caught:
        to_example(row, entry(**keys))
    return str(caught.value)


def ranked(formatting: str, **columns: str) -> dict[str, Any]:
    return {"formatting": formatting, "ranking": True, "columns": {**columns, **BOTH}}


def test_an_alpaca_entry_with_ranking_joins_prompt_and_query() -> None:
    written = {
        "file_name": "custom_rlhf_train_data.json",
        "ranking": True,
        "columns": {"prompt": "prompt", "query": "query", "chosen": "chosen", "rejected": "rejected"},
    }
    mine = entry_of("custom_rlhf_train_data", written, HERE, HERE)
    row = {"prompt": "q", "query": "", "chosen": "good", "rejected": "bad"}
    assert kind_of(mine) == "pairs"
    assert to_example(row, mine) == PAIR
    assert to_example({**row, "query": "x"}, mine).messages[0]["content"] == "q\nx"
    assert to_example({**row, "prompt": [U], "chosen": [A], "rejected": [B]}, mine) == PAIR


@pytest.mark.parametrize("side", ["text", "turn", "turns"])
def test_a_sharegpt_pair_has_text_a_turn_or_turns_as_sides(side: str) -> None:
    def shaped(text: str) -> Any:
        turn = {"from": "gpt", "value": text}
        return {"text": text, "turn": turn, "turns": [turn]}[side]

    row = {"conversations": [{"from": "human", "value": "q"}], "chosen": shaped("good"), "rejected": shaped("bad")}
    assert to_example(row, entry(**ranked("sharegpt", messages="conversations"))) == PAIR


def test_an_openai_pair_keeps_the_tool_calls_of_a_side() -> None:
    calls = [{"type": "function", "function": {"name": "add", "arguments": "{}"}}]
    row = {"messages": [U], "chosen": {"role": "assistant", "content": None, "tool_calls": calls}, "rejected": [B]}
    example = to_example(row, entry(**ranked("openai", messages="messages")))
    assert example.chosen[0]["tool_calls"][0]["function"] == {"name": "add", "arguments": {}}
    assert example.rejected == (B,)


def test_the_prompt_of_a_pair_ends_with_a_question() -> None:
    row = {"messages": [U, A], "chosen": "x", "rejected": "y"}
    said = complaint(row, **ranked("openai", messages="messages"))
    assert "column 'messages': the prompt of a pair must end with a question" in said


@pytest.mark.parametrize("prompt", ["q", [U]])
@pytest.mark.parametrize("name", ["chosen", "selected"])
def test_pairs_take_text_or_messages_as_prompt(prompt: Any, name: str) -> None:
    assert to_example({"prompt": prompt, name: "good", "rejected": "bad"}, entry(formatting="pairs")) == PAIR


@pytest.mark.parametrize("prompt", [{}, {"prompt": "q"}])
def test_two_whole_conversations_part_at_their_last_answer(prompt: dict[str, str]) -> None:
    row = {**prompt, "chosen": [U, A], "rejected": [U, B]}
    assert to_example(row, entry(formatting="pairs")) == PAIR
    longer = {"chosen": [U, A, U, A], "rejected": [U, A, U, B]}
    assert to_example(longer, entry(**ranked("openai"))) == Example((U, A, U), chosen=(A,), rejected=(B,))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"chosen": [U, A], "rejected": [{**U, "content": "r"}, B]}, "chosen and rejected part at message 1"),
        ({"prompt": "other", "chosen": [U, A], "rejected": [U, B]}, "must hold the prompt of the row"),
        ({"chosen": "good", "rejected": "bad"}, "a pair needs a prompt"),
        ({"prompt": "q", "chosen": "good"}, "column 'rejected': the row has no such column"),
        ({"prompt": "q", "chosen": "good", "rejected": " "}, "column 'rejected': it must be an answer"),
        ({"prompt": "q", "chosen": "good", "rejected": [U]}, "must end with an answer"),
        ({"prompt": "", "chosen": "good", "rejected": "bad"}, "column 'prompt': the question is empty"),
    ],
)
def test_a_bad_pair_is_told(row: dict[str, Any], said: str) -> None:
    assert said in complaint(row, formatting="pairs")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(True, True), (False, False), (1, True), (0, False), ("true", True), ("False", False), ("1", True)],
)
def test_a_label_is_true_or_false_in_any_spelling(value: Any, wanted: bool) -> None:
    mine = entry(columns={"prompt": "q", "response": "a", "kto_tag": "label"})
    assert to_example({"q": "x", "a": "y", "label": value}, mine).label is wanted
    chats = entry(formatting="openai", columns={"messages": "messages", "kto_tag": "label"})
    assert to_example({"messages": [U, A], "label": value}, chats) == Example((U, A), label=wanted)
    assert kind_of(chats) == "judged"


@pytest.mark.parametrize("value", [None, "good", 2, [True]])
def test_another_label_is_refused(value: Any) -> None:
    columns = {"prompt": "q", "response": "a", "kto_tag": "label"}
    said = complaint({"q": "x", "a": "y", "label": value}, columns=columns)
    assert "column 'label': the label must be true or false (1 or 0)" in said


def test_the_sides_of_an_example_are_whole_conversations() -> None:
    assert sides(PAIR) == [("chosen", Example((U, A))), ("rejected", Example((U, B)))]
    assert sides(Example((U, A))) == [("", Example((U, A)))]


@pytest.mark.parametrize("documents", [True, False])
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"formatting": "pairs"}, "holds pairs of a chosen and a rejected answer. Use --stage dpo or rm"),
        ({"columns": {"prompt": "q", "response": "a", "kto_tag": "l"}}, "with a label, wanted or not. Use --stage kto"),
    ],
)
def test_stages_that_learn_every_answer_refuse_pairs_and_labels(
    documents: bool, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        must_fit(entry(**keys), View(wants="documents" if documents else "answers"))


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, "conversation"),
        ({"formatting": "atom"}, "conversation"),
        ({"formatting": "text"}, "text"),
        ({"columns": {"prompt": "text"}}, "text"),
        ({"formatting": "sharegpt"}, "conversation"),
        ({"formatting": "pairs"}, "pairs"),
    ],
)
def test_an_entry_says_what_its_rows_are_for(keys: dict[str, Any], kind: str) -> None:
    assert kind_of(entry(**keys)) == kind
