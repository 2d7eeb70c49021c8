"""Rows without an entry are recognised by their shape and names, or the entry to write is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from studio.data.entry import entry_of
from studio.data.example import to_example
from studio.data.recognise import recognise
from studio.errors import DatasetError

U, A, B = ({"role": "user", "content": "q"}, *({"role": "assistant", "content": text} for text in ("good", "bad")))
H, G = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
MOSS = {"Human": "a", "MOSS": "b"}

PAIR = "chosen=chosen rejected=rejected"


def mapped(columns: str, **keys: Any) -> dict[str, Any]:
    return {**keys, "columns": dict(part.split("=") for part in columns.split())}


KNOWN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"instruction": "a", "input": "", "output": "b"}, {}),
    ({"instruction": "a", "output": "b", "text": "a b", "id": 1}, {}),
    ({"instruction": "a", "output": "b", "history": [["c", "d"]]}, {}),
    ({"instruction": "a", "context": "c", "response": "b"},
     mapped("prompt=instruction query=context response=response")),
    ({"prompt": "a", "response": "b"}, mapped("prompt=prompt response=response")),
    ({"prompt": "a", "completion": "b"}, mapped("prompt=prompt response=completion")),
    ({"question": "a", "answer": "b"}, mapped("prompt=question response=answer")),
    ({"Question": "a", "Answer": "b"}, mapped("prompt=Question response=Answer")),
    ({"query": "a", "answer": "b"}, mapped("prompt=query response=answer")),
    ({"human": "a", "assistant": "b"}, mapped("prompt=human response=assistant")),
    ({"问题": "a", "回答": "b"}, mapped("prompt=问题 response=回答")),
    ({"input": "a", "output": "b"}, mapped("prompt=input response=output")),
    ({"system": "s", "prompt": "a", "response": "b"}, mapped("prompt=prompt response=response system=system")),
    ({"kind": "x", "input": "a", "target": "b"}, {"formatting": "firefly"}),
    ({"text": "a"}, {"formatting": "text"}),
    ({"title": "x", "content": "a", "url": "u"}, mapped("prompt=content", formatting="text")),
    ({"data": "a"}, mapped("prompt=data", formatting="text")),
    ({"body": "a"}, mapped("prompt=body", formatting="text")),
    ({"text": "<s>Human: a\n</s><s>Assistant: b\n</s>"}, {"formatting": "atom"}),
    ({"messages": [U, A], "id": 1}, {"formatting": "openai"}),
    ({"conversations": [U, A]}, mapped("messages=conversations", formatting="openai")),
    ({"messages": json.dumps([U, A])}, {"formatting": "openai"}),
    ({"conversations": [H, G], "tools": "[]"}, {"formatting": "sharegpt"}),
    ({"conversation": [{"human": "a", "assistant": "b"}]}, {"formatting": "firefly"}),
    ({"conversation": [{"system": "s", "input": "a", "output": "b"}]}, {"formatting": "xtuner"}),
    ({"chat": {"turn_1": MOSS}, "meta_instruction": "m"}, {"formatting": "moss"}),
    ({"conversation": [MOSS]}, mapped("messages=conversation", formatting="moss")),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"formatting": "pairs"}),
    ({"prompt": [U], "chosen": "b", "rejected": "c"}, {"formatting": "pairs"}),
    ({"prompt": "q", "chosen": [U, A], "rejected": [U, B], "messages": [U, A]}, {"formatting": "pairs"}),
    ({"chosen": [U, A], "rejected": [U, B]}, {"formatting": "pairs"}),
    ({"prompt": "a", "selected": "b", "rejected": "c"},
     mapped("prompt=prompt chosen=selected rejected=rejected", formatting="pairs")),
    ({"prompt": "a", "query": "x", "chosen": "b", "rejected": "c"},
     mapped(f"prompt=prompt query=query {PAIR}", ranking=True)),
    ({"conversations": [H], "chosen": G, "rejected": G},
     mapped(f"messages=conversations {PAIR}", formatting="sharegpt", ranking=True)),
    ({"messages": [U, A], "label": True}, mapped("messages=messages kto_tag=label", formatting="openai")),
    ({"prompt": "a", "completion": "b", "label": "false"},
     mapped("prompt=prompt response=completion kto_tag=label")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said"), KNOWN, ids=[", ".join(row) for row, _ in KNOWN])
def test_a_row_is_recognised_and_reads_with_the_entry_that_is_made_of_it(
    row: dict[str, Any], said: dict[str, Any]
) -> None:
    guess = recognise([row, row])
    assert guess.entry() == said
    example = to_example(row, entry_of("mine", {"file_name": "rows.json", **guess.entry()}, Path(), Path()))
    assert example.messages or example.text


def test_it_says_why_and_what_is_not_read() -> None:
    why = recognise([{"question": "a", "answer": "b", "source": "x", "year": 1}]).why
    assert why == "question may be the question, answer the answer; source, year not read"


def test_other_words_for_the_roles_become_tags() -> None:
    turns = [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]
    assert recognise([{"conversations": turns}]).entry() == {
        "formatting": "sharegpt",
        "tags": {"user_tag": "user", "assistant_tag": "assistant"},
    }
    messages = [{"role": "human", "content": "a"}, {"role": "gpt", "content": "b"}]
    said = recognise([{"messages": messages}]).entry()
    assert said["formatting"] == "sharegpt"
    assert said["tags"] == {"role_tag": "role", "content_tag": "content", "user_tag": "human", "assistant_tag": "gpt"}


def test_columns_are_told_from_all_rows() -> None:
    rows: list[dict[str, Any]] = [{"messages": [], "label": None}, {"messages": [U, A], "label": False}]
    assert dict(recognise(rows).columns) == {"messages": "messages", "kto_tag": "label"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "a", "answer": "b", "response": "c"}, "several may be the question or the answer"),
        ({"question": "a", "prompt": "b", "answer": "c"}, "several may be the question or the answer"),
        ({"data": "a", "content": "b"}, "several may be the text (data, content)"),
        ({"messages": [U, A], "conversations": [U, A]}, "several hold a conversation (messages, conversations)"),
        (
            {"messages": [U, A], "question": "a", "answer": "b"},
            "messages holds a conversation, and question and answer",
        ),
        ({"chosen": "a", "rejected": "b"}, "chosen and rejected are a pair, and no column is its prompt"),
        ({"question": "a", "golden": "b"}, "they are question (text), golden (text), and no format is known that has"),
        ({"sys": "a", "conversations": [{"from": "x", "value": "q"}]}, "but no row reads so: column 'conversations': "),
        ({"sys": "a", "conversations": [{"from": "x", "value": "q"}]}, '"formatting": "sharegpt"}}, and name it'),
        ({"data": [{"instruction": "a", "input": "", "output": "b"}]}, "they are data (list), and no format is known"),
        ({"question": "a", "answer": 4}, "question (text), answer (number)"),
        ({"messages": ["a", "b"]}, "messages (list)"),
        ({"messages": [U, U]}, "no row reads so: column 'messages': a conversation must end with an answer"),
        ({"a": 1}, 'for example {"my_data": {"file_name": "…", "columns": {"prompt": "question"'),
        ({"x": "a", "y": "b"}, '"columns": {"prompt": "x", "response": "y"}}}, and name it as the dataset'),
    ],
)
def test_what_is_unclear_is_not_guessed(row: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError) as caught:
        recognise([row])
    assert said in str(caught.value)


def test_a_column_of_several_kinds_is_named_and_the_sentences_end_once() -> None:
    with pytest.raises(DatasetError) as caught:
        recognise([{"instruction": "a", "output": "b"}, {"instruction": "a", "output": 4}])
    said = str(caught.value)
    assert "that has these; the values of output are of several kinds. Write" in said
    assert '"columns": {"prompt": "instruction", "response": "output"}' in said
    with pytest.raises(DatasetError) as caught:
        recognise([{"conversations": [{"from": "x", "value": "q"}]}])
    assert not any(marks in str(caught.value) for marks in (".:", "..", "?."))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"instruction": "a", "output": "b"}, {"instruction": "a", "output": 5}),
        ({"instruction": "a", "output": "b"}, {"instruction": ["a"], "output": "b"}),
        ({"messages": [U, A]}, {"messages": "q"}),
        ({"messages": [U, A]}, {"messages": [U, A, "q"]}),
        ({"messages": [U, A]}, {"messages": [{"role": "human", "content": "q"}, A]}),
        ({"conversations": [H, G]}, {"conversations": [["q"], 3]}),
        ({"chosen": [U, A], "rejected": [U, B]}, {"chosen": [A], "rejected": ["x"]}),
        ({"prompt": "a", "completion": "b", "label": "true"}, {"prompt": "a", "completion": "b", "label": "maybe"}),
        ({"text": "a"}, {"text": 1.5}),
    ],
)
def test_a_bad_row_among_many_good_ones_changes_nothing(good: dict[str, Any], bad: dict[str, Any]) -> None:
    for rows in ([bad, *[good] * 10], [*[good] * 10, bad]):
        assert recognise(rows) == recognise([good] * 10)


def test_a_file_without_rows_has_no_format() -> None:
    with pytest.raises(DatasetError, match="must have a row"):
        recognise([])
