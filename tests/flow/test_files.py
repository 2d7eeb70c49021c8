"""Files without an entry: looked at, written into the registry, and trained on."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

NO_DATASET = {"dataset": ""}


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def files(place: Workspace) -> Workspace:
    """a.csv and b.csv to train on, c.csv to evaluate on, a packed one in GB18030, one nobody understands."""
    texts = [{"text": f"Line {number} of a text about bridges and rivers."} for number in range(30)]
    write_csv(place.root / "a.csv", texts[:12])
    write_csv(place.root / "b.csv", texts[12:20])
    write_csv(place.root / "c.csv", texts[20:])
    rows = [{"问题": f"第{number}个问题？", "回答": "是的。"} for number in range(8)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (place.data / "qa.jsonl.gz").write_bytes(gzip.compress(lines.encode("gb18030")))
    write_csv(place.data / "odd.csv", [{"left": "a", "right": "b"}])
    return place


def test_files_train_and_evaluate_without_any_entry(files: Workspace, train: Any, look: Any):
    more = {"stage": "pt", "max_steps": 2, "train_file": "a.csv,b.csv", "validation_file": "c.csv"}
    more |= {"eval_strategy": "steps", "eval_steps": 2, "max_eval_samples": 4, "packing": "False"}
    done = train(files, "saves/files", **NO_DATASET, **more)
    assert done.code == 0, done.err
    run = look(files.path("saves/files"))
    assert "a.csv is read as text: " in run.log and "c.csv is read as text: " in run.log
    assert "a.csv: 12 rows, 12 kept" in run.log and "b.csv: 8 rows, 8 kept" in run.log
    assert "c.csv: 4 rows, 4 kept" in run.log
    assert set(run.json("run.json")["data"]["hashes"]) == {"a.csv", "b.csv", "c.csv"}


def test_a_file_may_stand_beside_a_dataset(files: Workspace, train: Any, look: Any):
    done = train(files, "saves/beside", stage="pt", dataset="tiny_pt", train_file="a.csv", max_steps=1)
    assert done.code == 0, done.err
    log = look(files.path("saves/beside")).log
    assert "tiny_pt: 60 rows" in log and "a.csv: 12 rows" in log


def test_held_out_rows_are_capped_and_the_rest_is_not_used(files: Workspace, train: Any, look: Any):
    more = {"val_size": 10, "max_eval_samples": 3, "eval_strategy": "steps", "eval_steps": 1, "max_steps": 1}
    done = train(files, "saves/capped", **more)
    assert done.code == 0, done.err
    log = look(files.path("saves/capped")).log
    assert "of the 10 rows held out 3 are evaluated (max_eval_samples); the others are not used" in log
    assert "30 to train on" in log and "3 held out" in log


def test_a_file_that_is_not_understood_ends_the_command_with_its_columns(files: Workspace, train: Any):
    done = train(files, "saves/odd", **NO_DATASET, train_file="data/odd.csv")
    assert done.code == 10
    assert "data/odd.csv: the columns must say what the rows are" in done.err and "left (text), right" in done.err


def test_a_file_is_recognised_added_listed_and_shown(files: Workspace, command: Any):
    told = command(files, "data", "recognise", "data/qa.jsonl.gz", "--encoding", "gb18030")
    assert told.code == 0, told.err
    entry = {"file_name": "qa.jsonl.gz", "encoding": "gb18030", "columns": {"prompt": "问题", "response": "回答"}}
    assert json.loads(told.out) == {"qa": entry}
    added = command(files, "data", "add", "data/qa.jsonl.gz", "--encoding", "gb18030", "--name", "asked")
    assert added.code == 0, added.err
    assert json.loads(files.dataset_info.read_text())["asked"] == entry
    assert "asked: alpaca, data/qa.jsonl.gz" in command(files, "data", "list").out
    model = "--model_name_or_path=models/tiny-chat"
    by_name = command(files, "data", "preview", "asked", model, "--start=8")
    assert by_name.code == 0 and "第7个问题？" in by_name.out
    by_path = command(files, "data", "preview", "data/qa.jsonl.gz", model, "--start=8", "--encoding=gb18030")
    assert by_path.out == by_name.out and "is read as alpaca" in by_path.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["recognise"], 2, "needs the path of a file"),
        (["add"], 2, "needs the path of a file"),
        (["preview"], 2, "the name of a dataset or the path of a file"),
        (["recognise", "data/gone.csv"], 10, "there is no such file"),
        (["recognise", "data/qa.jsonl.gz"], 10, "it looks like GB18030"),
        (["recognise", "data/odd.csv"], 10, "the columns must say what the rows are"),
        (["add", "data/tiny_pt.jsonl"], 10, "a dataset of this name is registered"),
        (["add", "data/tiny_pt.jsonl", "--name", "a,b"], 10, "without commas"),
        (["add", "data/tiny_pt.jsonl", "--encoding", "gb2313"], 10, "no text encoding is named"),
        (["preview", "tiny_pt", "--encoding", "gbk"], 2, "the entry of tiny_pt says its encoding"),
        (["preview", "tiny_tp"], 10, "Did you mean tiny_pt?"),
        (["recognize", "x"], 2, "Did you mean recognise?"),
    ],
)
def test_a_wrong_command_says_what_to_write(files: Workspace, command: Any, words: list[str], code: int, said: str):
    before = files.dataset_info.read_text()
    done = command(files, "data", *words)
    assert (done.code, said in done.err) == (code, True), done.err
    assert files.dataset_info.read_text() == before
