"""What a run reads: datasets and files together, told apart, and rows held out of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.data.render import View
from studio.data.rows import Rows, prepare, split
from studio.errors import DatasetError
from studio.material import find_entries, sample_texts
from studio.model.templates import choose_template
from studio.model.tokenizer import open_tokenizer
from studio.recipe import Recipe, make_recipe
from studio.workspace import Workspace


def recipe(**values: Any) -> Recipe:
    return make_recipe({"stage": "sft", "model_name_or_path": "models/tiny-chat", "output_dir": "saves/x", **values})[0]


def put(path: Path, count: int, first: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"instruction": f"Question {number}?", "output": f"{number}."} for number in range(first, first + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_datasets_and_files_are_found_together(workspace: Workspace) -> None:
    put(workspace.root / "more.jsonl", 3)
    asked = recipe(dataset="tiny_sft,tiny_share", train_file="more.jsonl", validation_file="more.jsonl", do_eval=True)
    train, held_out, notes = find_entries(asked, workspace)
    assert [entry.name for entry in train] == ["tiny_sft", "tiny_share", "more.jsonl"]
    assert [entry.name for entry in held_out] == ["more.jsonl"]
    assert sum("more.jsonl is read as alpaca: " in note for note in notes) == 1, "told once for both uses"


def test_files_of_one_name_are_called_by_their_path(workspace: Workspace) -> None:
    paths = [str(put(workspace.root / folder / "part.jsonl", 2)) for folder in ("one", "two")]
    train, _, _ = find_entries(recipe(train_file=f"{paths[0]},{paths[1]}"), workspace)
    assert [entry.name for entry in train] == paths


def test_what_stands_twice_and_what_a_folder_leaves_out_is_told(workspace: Workspace) -> None:
    put(workspace.data / "mine" / "a.jsonl", 2)
    (workspace.data / "mine" / "README.md").touch()
    notes = find_entries(recipe(dataset="tiny_sft,tiny_sft", train_file="data/mine"), workspace)[2]
    assert any("--dataset tiny_sft: stands 2 times" in note for note in notes)
    assert any("README.md" in note for note in notes)


def test_a_file_that_is_not_there_is_told_before_anything_else(workspace: Workspace) -> None:
    with pytest.raises(DatasetError, match=r"gone\.csv.*there is no such file"):
        find_entries(recipe(train_file="gone.csv"), workspace)


@pytest.fixture
def pieces(workspace: Workspace) -> Rows:
    """Documents of two files in pieces: most raw rows become several."""
    for name in ("a", "b"):
        path = workspace.data / "docs" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"Line {number} of {name} goes on about bridges and rivers.\n" for number in range(20)))
    info = json.loads(workspace.dataset_info.read_text())
    workspace.dataset_info.write_text(json.dumps({**info, "docs": {"file_name": "docs", "formatting": "text"}}))
    train, _, _ = find_entries(recipe(dataset="docs"), workspace)
    tokenizer = open_tokenizer(workspace.models / "tiny", workspace.cache)
    rows, _ = prepare(train, tokenizer, None, View(cutoff_len=9, wants="documents"), workspace)
    return rows


def raw_of(rows: Rows) -> set[int]:
    return set(np.asarray(rows.table["row"][:]).tolist())


def test_rows_of_several_files_are_numbered_through(pieces: Rows) -> None:
    assert raw_of(pieces) == set(range(1, 41)) and len(pieces) > 40


@pytest.mark.parametrize("most", [None, 3, 100])
def test_all_pieces_of_a_raw_row_fall_on_one_side(pieces: Rows, most: int | None) -> None:
    train, held, notes = split(pieces, 10, 7, most=most)
    assert not raw_of(train) & raw_of(held)
    assert (len(raw_of(train)), len(raw_of(held))) == (30, 3 if most == 3 else 10)
    assert bool(notes) == (most == 3)
    for part in (train, held):
        assert len(part) == sum(row["row"] in raw_of(part) for row in pieces)


def test_how_many_are_evaluated_changes_nothing_in_what_is_learned(pieces: Rows) -> None:
    some, _, _ = split(pieces, 10, 7, most=2)
    every, held, _ = split(pieces, 10, 7)
    assert raw_of(some) == raw_of(every)
    assert raw_of(split(pieces, 10, 7, most=2)[1]) < raw_of(held)


def test_sample_texts_come_from_the_first_rows_of_all_files(workspace: Workspace) -> None:
    paths = [put(workspace.root / name, 2, first) for name, first in (("a.jsonl", 0), ("b.jsonl", 2))]
    info = json.loads(workspace.dataset_info.read_text())
    workspace.dataset_info.write_text(json.dumps({**info, "both": {"file_name": [str(path) for path in paths]}}))
    (entry,), _, _ = find_entries(recipe(dataset="both"), workspace)
    tokenizer = open_tokenizer(workspace.models / "tiny-chat", workspace.cache)
    template, _ = choose_template("", tokenizer, workspace)
    texts = sample_texts(entry, tokenizer, template, View(), workspace)
    assert ["Question 3?" in text for text in texts] == [False, False, False, True]
