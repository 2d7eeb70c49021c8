"""What is shown is what is trained: preview and the trainer's first batch, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studio.workspace import Workspace

THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}"
    "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CASES: dict[str, dict[str, Any]] = {
    "the model's own template": {},
    "the named template": {"template": "default", "model_name_or_path": "models/tiny"},
    "turns": {"dataset": "tiny_share"},
    "only the last turn": {"dataset": "tiny_share", "mask_history": "True"},
    "questions too": {"dataset": "tiny_share", "train_on_prompt": "True"},
    "cut rows": {"dataset": "tiny_share", "cutoff_len": 40},
    "packed": {"packing": "True", "cutoff_len": 128, "per_device_train_batch_size": 2},
    "a thinking template": {"dataset": "thoughts", "template": "thinking.jinja"},
    "documents": {"stage": "pt", "dataset": "tiny_pt", "model_name_or_path": "models/tiny", "packing": "False"},
    "packed documents": {"stage": "pt", "dataset": "tiny_pt", "model_name_or_path": "models/tiny", "cutoff_len": 100},
    "documents in pieces": {"stage": "pt", "dataset": "tiny_pt", "cutoff_len": 9, "packing": "False"},
    "conversations as documents": {"stage": "pt", "dataset": "tiny_share", "cutoff_len": 64},
}
# Each differs from the others in how its rows are made; the rest with the slow tests.
APART = (
    "the model's own template",
    "turns",
    "packed",
    "a thinking template",
    "packed documents",
    "documents in pieces",
)
SEEN = ("stage", "model_name_or_path", "template", "cutoff_len", "train_on_prompt", "mask_history")


@pytest.fixture(scope="module")
def thoughts(place: Workspace) -> None:
    place.path("thinking.jinja").write_text(THINKING)
    talk = [("human", "Why?"), ("gpt", "<think>hm</think>Because."), ("human", "So?"), ("gpt", "<think>oh</think>Yes.")]
    rows = [{"conversations": [{"from": who, "value": f"{what}"} for who, what in talk]} for _ in range(8)]
    place.path("data/thoughts.json").write_text(json.dumps(rows))
    info = place.path("dataset_info.json")
    entry = {"thoughts": {"file_name": "thoughts.json", "formatting": "sharegpt"}}
    info.write_text(json.dumps({**json.loads(info.read_text()), **entry}))


def shown(place: Workspace, command: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    given = {"model_name_or_path": "models/tiny-chat", **values}
    flags = [f"--{name}={value}" for name, value in given.items() if name in SEEN]
    done = command(place, "data", "preview", values.get("dataset", "tiny_sft"), "--count=200", "--json", *flags)
    assert done.code == 0, done.err
    return [each for row in json.loads(done.out)["rows"] for each in row["renderings"]]


def key(row: dict[str, Any]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    return tuple(row["input_ids"]), tuple(row["loss_mask"])


@pytest.mark.parametrize(
    "case", [case if case in APART else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
@pytest.mark.usefixtures("thoughts")
def test_every_row_of_the_first_batch_was_shown_byte_for_byte(
    place: Workspace, command: Any, train: Any, look: Any, case: str
):
    values = CASES[case]
    folder = f"saves/{case.replace(' ', '_')}"
    done = train(place, folder, max_steps=1, **values)
    assert done.code == 0, done.err
    batch = look(place.path(folder)).json("first_batch.json")["rows"]
    known = [key(row) for row in shown(place, command, values)]
    assert len(batch) >= 4 and (len(batch) == 4 or values.get("packing") == "True" or values["stage"] == "pt")
    for row in batch:
        assert key(row) in known
        assert any(row["loss_mask"]) and not row["loss_mask"][0]


@pytest.mark.usefixtures("thoughts")
@pytest.mark.parametrize("case", ["the model's own template", "turns", "documents", "documents in pieces"])
def test_a_batch_of_all_rows_holds_each_of_them_once(place: Workspace, command: Any, train: Any, look: Any, case: str):
    values = CASES[case]
    folder = f"saves/whole_{case.replace(' ', '_')}"
    done = train(place, folder, max_steps=1, **{**values, "per_device_train_batch_size": 2000})
    assert done.code == 0, done.err
    batch = look(place.path(folder)).json("first_batch.json")["rows"]
    trained = [row for row in shown(place, command, values) if any(row["loss_mask"])]
    assert sorted(map(key, batch)) == sorted(map(key, trained))


def test_preview_marks_what_bears_loss_without_colour(place: Workspace, command: Any):
    done = command(
        place,
        *["data", "preview", "tiny_sft", "--model_name_or_path", "models/tiny-chat", "--start", "1", "--count", "1"],
    )
    assert done.code == 0, done.err
    assert "⟦It is OYKOT.<|im_end|>⟧" in done.out


@pytest.mark.usefixtures("thoughts")
def test_the_page_as_json_has_the_notes_and_tells_of_past_thinking(place: Workspace, command: Any):
    asked = ["--model_name_or_path", "models/tiny-chat", "--template", "qwen3", "--stage", "pt", "--json"]
    done = command(place, "data", "preview", "thoughts", *asked)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert any(note.startswith("template: qwen3") for note in told["notes"])
    assert any("the thinking of all answers but the last" in each for each in told["statistics"])


def test_preview_refuses_what_training_refuses(place: Workspace, command: Any):
    both = ["--mask_history", "True", "--train_on_prompt", "True"]
    done = command(place, "data", "preview", "tiny_sft", "--model_name_or_path", "models/tiny-chat", *both)
    assert done.code == 10 and "contradict each other: keep one" in done.err
