"""Bad input ends the command with exit code 10 and a sentence: where, what was found, what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

GOOD = {"instruction": "Say hello.", "input": "", "output": "Hello."}
LINE = json.dumps(GOOD)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def text(*lines: str) -> Callable[[Path], object]:
    return lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def encoded(name: str) -> Callable[[Path], object]:
    row = {"instruction": "你好，请问头晕怎么办？", "output": "请多休息，并测量血压。"}
    return lambda path: path.write_bytes((json.dumps(row, ensure_ascii=False) + "\n").encode(name) * 20)


def chat(*roles: str) -> Callable[[Path], object]:
    turns = [{"from": role, "value": f"words of {role}"} for role in roles]
    return text(json.dumps({"conversations": turns}))


# name: the file's name, what is in it, more of its entry, and what the sentence must hold
CASES: dict[str, tuple[str, Callable[[Path], object], dict[str, Any], tuple[str, ...]]] = {
    "empty": ("rows.json", lambda path: path.write_bytes(b""), {}, ("rows.json", "empty")),
    "only blanks": ("rows.jsonl", text("", "  ", ""), {}, ("rows.jsonl", "empty")),
    "broken line": ("rows.jsonl", text(LINE, '{"instruction": ', LINE), {}, ("rows.jsonl", "row 2", "line 2")),
    "broken list": ("rows.json", text("[", LINE + ",", '{"instruction" "x"}', "]"), {}, ("rows.json", "line 3")),
    "absent column": ("rows.jsonl", text('{"question": "a", "answer": "b"}'), {}, ("instruction", "question, answer")),
    "not text": ("rows.jsonl", text('{"instruction": "a", "output": 7}'), {}, ("row 1", "output", "number")),
    "empty answer": ("rows.jsonl", text('{"instruction": "a", "output": ""}'), {}, ("row 1", "output", "empty")),
    "answer first": ("rows.jsonl", chat("gpt", "human"), {"formatting": "sharegpt"}, ("row 1", "gpt")),
    "two users in a row": ("rows.jsonl", chat("human", "human"), {"formatting": "sharegpt"}, ("row 1", "human")),
    "unknown role": ("rows.jsonl", chat("human", "robot"), {"formatting": "sharegpt"}, ("row 1", "robot")),
    "UTF-16": ("rows.jsonl", encoded("utf-16"), {}, ("rows.jsonl", "UTF-16")),
    "GB18030": ("rows.jsonl", encoded("gb18030"), {}, ("rows.jsonl", "GB18030")),
    "huge row": ("rows.jsonl", text(LINE, json.dumps({**GOOD, "output": "x" * 9_000_000})), {}, ("row 2", "8 MB")),
    "git-LFS pointer": ("rows.jsonl", lambda path: path.write_text(LFS), {}, ("rows.jsonl", "git lfs pull")),
    "another format": ("rows.csv", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), {}, ("rows.csv", "ZIP")),
    "unknown key": ("rows.jsonl", text(LINE), {"formating": "alpaca"}, ("bad", "formating", "formatting")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_told_with_its_place(case: str, place: Workspace, command: Any, small: dict[str, str]):
    name, write, more, told = CASES[case]
    folder = place.root / "bad" / case.replace(" ", "_")
    folder.mkdir(parents=True)
    write(folder / name)
    (folder / "dataset_info.json").write_text(json.dumps({"bad": {"file_name": name, **more}}))
    ended = plan(command, place, small, dataset_dir=str(folder), dataset="bad")
    assert ended.code == 10, ended.err
    assert "Traceback" not in ended.err
    for word in told:
        assert word in ended.err, f"{word!r} must stand in: {ended.err}"


def plan(command: Any, place: Workspace, small: dict[str, str], **more: str) -> Any:
    words = [f"--{name}={value}" for name, value in {**small, "output_dir": "saves/bad", **more}.items()]
    return command(place, "train", *words, "--plan")


def test_a_byte_order_mark_is_no_trouble(place: Workspace, command: Any, small: dict[str, str]):
    folder = place.root / "bad" / "bom"
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text((LINE + "\n") * 8, encoding="utf-8-sig")
    (folder / "dataset_info.json").write_text(json.dumps({"good": {"file_name": "rows.jsonl"}}), encoding="utf-8-sig")
    ended = plan(command, place, small, dataset_dir=str(folder), dataset="good")
    assert ended.code == 0, ended.err
    assert "8 rows, 8 kept" in ended.err


def test_a_missing_file_and_one_spelled_in_another_case_are_told(place: Workspace, command: Any, small: Any):
    folder = place.root / "bad" / "paths"
    folder.mkdir(parents=True)
    (folder / "Rows.jsonl").write_text(LINE)
    registry = {"wrong_case": {"file_name": "rows.jsonl"}, "missing": {"file_name": "nowhere.json"}}
    (folder / "dataset_info.json").write_text(json.dumps(registry))
    ended = plan(command, place, small, dataset_dir=str(folder), dataset="wrong_case")
    assert ended.code == 10 and "Rows.jsonl" in ended.err
    ended = plan(command, place, small, dataset_dir=str(folder), dataset="missing")
    assert ended.code == 10 and "nowhere.json" in ended.err
    ended = plan(command, place, small, dataset_dir=str(folder), dataset="wrong_cas")
    assert ended.code == 10 and "Did you mean wrong_case" in ended.err


def test_a_trailing_comma_in_the_registry_names_file_line_and_cause(place: Workspace, command: Any, small: Any):
    folder = place.root / "bad" / "comma"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{\n  "a": {"file_name": "a.json"},\n}\n')
    ended = plan(command, place, small, dataset_dir=str(folder), dataset="a")
    assert ended.code == 10
    assert "dataset_info.json" in ended.err and "line 2" in ended.err and "comma" in ended.err


def test_bad_rows_are_left_out_only_when_asked_and_only_up_to_the_cap(place: Workspace, command: Any, small: Any):
    folder = place.root / "bad" / "some"
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("\n".join([LINE] * 9 + ['{"instruction": "a"}']))
    (folder / "dataset_info.json").write_text(json.dumps({"some": {"file_name": "rows.jsonl"}}))
    asked = {"dataset_dir": str(folder), "dataset": "some"}
    assert plan(command, place, small, **asked).code == 10
    capped = plan(command, place, small, **asked, skip_bad_rows="True")
    assert capped.code == 10 and "max_bad_rows 0.01" in capped.err
    left_out = plan(command, place, small, **asked, skip_bad_rows="True", max_bad_rows="0.2")
    assert left_out.code == 0
    assert "9 kept" in left_out.err and "1 refused" in left_out.err and "row 10" in left_out.err
