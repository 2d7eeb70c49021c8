"""`studio data clean`, from the command to a dataset that training takes."""

from __future__ import annotations

import hashlib
import json
from datetime import date

import pyarrow
import pytest
from pyarrow import parquet

from studio.data.origin import origins
from studio.workspace import Workspace
from tests.flow.cleaning import DIRTY, LONG, Studio, clean, kept, steps, write


def test_every_step_does_its_part_and_says_so(workspace: Workspace):
    found = clean(workspace, "--train_file", write(workspace, "dirty.jsonl", DIRTY), "--languages", "zh,en")
    assert kept(workspace, "dirty.jsonl") == [
        {"id": 0, "text": "高血压患者应该低盐饮食，多吃蔬菜&水果。"},
        {"id": 1, "text": "Café d’Artiste serves coffee all day long, and it is good."},
        {"id": 2, "text": "请联系张先生，电话[phone]，邮箱[mail]。"},
        {"id": 6, "text": LONG + "stayed."},
    ]
    done = steps(found)
    assert {name: step["removed"] for name, step in done.items() if step["removed"]} == {
        "empty": 1, "min_length": 1, "max_symbols": 1, "languages": 1, "remove_repetition": 1,
        "exact_duplicates": 1, "near_duplicates": 1,
    }  # fmt: skip
    assert {name for name, step in done.items() if step["changed"]} == {
        "repair_encoding", "remove_html", "tidy_space", "personal",
    }  # fmt: skip
    assert (found["rows"], found["kept"], found["removed"], found["refused"]) == (11, 4, 7, 0)
    assert done["languages"]["reasons"] == {"fr": 1}


def test_samples_name_file_and_row_and_show_what_was_done(workspace: Workspace):
    path = write(workspace, "dirty.jsonl", DIRTY)
    done = steps(clean(workspace, "--train_file", path, "--languages", "zh,en"))
    assert done["repair_encoding"]["samples"] == [
        {"file": path, "row": 2, "before": DIRTY[1]["text"], "after": kept(workspace, "dirty.jsonl")[1]["text"]}
    ]
    near = done["near_duplicates"]["samples"][0]
    assert (near["file"], near["row"], near["like"]["row"]) == (path, 9, 7)
    assert near["text"] == LONG + "left."
    # The last word differs, and with it one of all sequences of five words.
    sequences = len(LONG.split()) + 1 - 4
    assert near["similarity"] == pytest.approx((sequences - 1) / (sequences + 1), abs=0.001)


def test_the_account_stands_beside_the_rows_with_recipe_and_hashes(workspace: Workspace):
    path = write(workspace, "dirty.jsonl", DIRTY)
    clean(workspace, "--train_file", path, "--samples", "0", "--max_symbols", "1")
    account = json.loads((workspace.data / "clean/clean.json").read_text(encoding="utf-8"))
    assert account["recipe"]["max_symbols"] == 1
    (source,) = account["sources"]
    assert source["files"][0]["sha256"] == hashlib.sha256((workspace.root / path).read_bytes()).hexdigest()
    assert source["rows"] == 11 and source["output"] == "dirty.jsonl"
    assert all(step["samples"] == [] for step in account["steps"])
    assert "max_symbols" not in steps(account)
    assert not (workspace.data / "clean/.scratch").exists()


def test_switched_off_steps_leave_everything_as_it_is(workspace: Workspace):
    path = write(workspace, "dirty.jsonl", DIRTY)
    off = ["repair_encoding", "remove_html", "remove_control", "tidy_space", "remove_repetition", "exact_duplicates",
           "near_duplicates"]  # fmt: skip
    words = [word for name in off for word in (f"--{name}", "False")]
    clean(
        workspace, "--train_file", path, *words, "--personal", "keep", "--min_length", "0", "--max_symbols", "1"
    )  # fmt: skip
    assert kept(workspace, "dirty.jsonl") == DIRTY[:-1]


def test_personal_data_can_remove_the_row(workspace: Workspace):
    path = write(workspace, "dirty.jsonl", DIRTY)
    found = clean(workspace, "--train_file", path, "--personal", "remove")
    assert steps(found)["personal"]["removed"] == 1
    assert 2 not in [row["id"] for row in kept(workspace, "dirty.jsonl")]


def test_rows_that_are_held_out_are_taken_from_the_training_rows(workspace: Workspace):
    train = write(workspace, "dirty.jsonl", DIRTY)
    held = write(workspace, "held.jsonl", [{"text": LONG + "left."}, {"text": LONG + "left."}, {"text": "短"}])
    off = ["--exact_duplicates", "False", "--near_duplicates", "False"]
    found = clean(workspace, "--train_file", train, "--held_out", held, *off)
    done = steps(found)
    # Rows 7 and 8 are nearly, row 9 is wholly what is held out; without held-out rows they would stay.
    assert done["held_out"]["removed"] == 3
    assert {sample["row"] for sample in done["held_out"]["samples"]} == {7, 8, 9}
    assert {sample["like"]["file"] for sample in done["held_out"]["samples"]} == {held}
    assert found["held_out"][0]["rows"] == 3
    assert sorted(path.name for path in (workspace.data / "clean").iterdir()) == [
        "clean.json", "dirty.jsonl", "manifest.json",
    ]  # fmt: skip


def test_a_question_with_another_answer_is_no_duplicate(workspace: Workspace):
    answer = "Listen every day, and speak from the first week on with whoever listens."
    question = "What is the best way to learn a language when you have little time and no teacher near you at all?"
    rows = [
        {"instruction": question, "output": answer},
        {"instruction": question, "output": "Read novels that you know, and write down ten new words each evening."},
        {"instruction": question + "!", "output": answer.upper().replace(",", "")},
        {"instruction": "2 + 3", "output": "<b>5</b>"},
        {"instruction": "2 - 3", "output": "-1   # in code"},
    ]  # fmt: skip
    clean(workspace, "--train_file", write(workspace, "qa.jsonl", rows))
    assert kept(workspace, "qa.jsonl") == [rows[0], rows[1], rows[3], rows[4]]


def test_conversations_keep_their_form_and_only_their_texts_are_mended(workspace: Workspace):
    rows = [
        {"conversations": [{"from": "human", "value": "Call 13800138000  \n\n\n\nplease\x07"},
                           {"from": "gpt", "value": "I  did: <b>"}], "extra": [1, None]},
    ]  # fmt: skip
    clean(workspace, "--train_file", write(workspace, "chat.jsonl", rows), "--languages", "en")
    assert kept(workspace, "chat.jsonl") == [
        {"conversations": [{"from": "human", "value": "Call [phone]\n\nplease"},
                           {"from": "gpt", "value": "I  did: <b>"}], "extra": [1, None]}
    ]  # fmt: skip


def test_columns_beside_the_text_come_out_as_they_were_and_bytes_as_base64(workspace: Workspace):
    raw = (
        '{"text": "'
        + LONG
        + '", "big": 123456789012345678901234567890, "f": 1.0, "nest": {"a": [1, {"b": "  x "}]}, "": null}'
    )
    (workspace.data / "odd.jsonl").write_text(raw, encoding="utf-8")
    clean(workspace, "--train_file", "data/odd.jsonl")
    assert (workspace.data / "clean/odd.jsonl").read_text(encoding="utf-8") == raw.replace('they "', 'they"') + "\n"
    table = {"text": [LONG], "raw": [b"\xff\x00ab"], "day": [date(2020, 1, 2)]}
    parquet.write_table(pyarrow.table(table), workspace.data / "odd.parquet")
    clean(workspace, "--train_file", "data/odd.parquet", "--overwrite_output_dir", "True")
    assert kept(workspace, "odd.jsonl") == [{"text": LONG.strip(), "raw": "/wBhYg==", "day": "2020-01-02"}]


def test_the_same_rows_come_out_however_many_processes_work(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    texts = [f"{LONG} number {number % 700} {'x' * (number % 7)}" for number in range(3_000)]
    path = write(workspace, "many.jsonl", [{"text": text} for text in texts])
    one = clean(workspace, "--train_file", path, "--preprocessing_num_workers", "1")
    first = (workspace.data / "clean/many.jsonl").read_bytes()
    monkeypatch.setattr("studio.cleaning.crew._WORTH_PROCESSES", 0)
    monkeypatch.setattr("studio.cleaning.crew.ROWS", 500)
    monkeypatch.setattr("studio.cleaning.crew.cores", lambda: 2)
    two = clean(workspace, "--train_file", path, "--overwrite_output_dir", "True")
    assert (workspace.data / "clean/many.jsonl").read_bytes() == first
    assert one["steps"] == two["steps"]


def test_from_a_yaml_file_to_a_dataset_that_training_takes(workspace: Workspace, studio: Studio):
    write(workspace, "dirty.jsonl", DIRTY)
    (workspace.root / "clean.yaml").write_text(
        "train_file: data/dirty.jsonl\noutput_dir: data/clean\nname: cleaned\nlanguages: zh,en\nmin_length: 5\n"
    )
    done = studio("data", "clean", "clean.yaml", "min_length=12", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kept"] == 4 and found["recipe"]["min_length"] == 12
    assert (found["name"], found["registry"]) == ("cleaned", "dataset_info.json")
    entry = json.loads(workspace.dataset_info.read_text())["cleaned"]
    assert entry["file_name"] == "clean/dirty.jsonl"
    assert list(origins(["data/clean/dirty.jsonl"], workspace)) == ["data/clean/clean.json"]
    shown = studio("data", "preview", "cleaned", "--model_name_or_path", "models/tiny", "--stage", "pt")
    assert shown.returncode == 0, shown.stderr
    assert "Café" in shown.stdout
    again = studio("data", "clean", "--dataset", "cleaned", "--output_dir", "data/twice")
    assert again.returncode == 0, again.stderr
    assert "4 rows of 4 kept" in again.stdout, "what was cleaned is clean"
