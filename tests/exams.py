"""Small exams in the layouts of the known benchmarks, made up here."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

PLACES = ["Tokyo", "Paris", "Cairo", "Lima", "Oslo", "Rome", "Delhi", "Kyiv", "Quito", "Hanoi", "Accra", "Bern"]
CHINESE = ["东京", "巴黎", "开罗", "利马", "奥斯陆", "罗马", "德里", "基辅", "基多", "河内", "阿克拉", "伯尔尼"]
LETTERS = "ABCD"


def questions(count: int, *, chinese: bool, seed: int = 0) -> list[dict[str, str]]:
    """Questions with four different options each, of different lengths; the right letters are drawn."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        options = drawn.sample(CHINESE if chinese else PLACES, 4)
        more = "它有一座古老的桥。" * (number % 3) if chinese else "It has an old bridge. " * (number % 3)
        text = f"{more}第{number}座城市的名字是" if chinese else f"{more}What is the name of city number {number}?"
        rows.append({"question": text, **dict(zip(LETTERS, options, strict=True)), "answer": drawn.choice(LETTERS)})
    return rows


def write_ceval(folder: Path, subjects: dict[str, dict[str, int]], *, answers: bool = True) -> Path:
    """{"law": {"dev": 5, "val": 12}} as C-Eval has it; the split test has no answers unless `answers`."""
    for at, (subject, splits) in enumerate(subjects.items()):
        for split, count in splits.items():
            rows = questions(count, chinese=True, seed=1000 * at + len(split) + ord(split[0]))
            head = ["id", "question", *LETTERS]
            head += ["answer"] if split != "test" or answers else []
            lines = [[number, *(row[name] for name in head[1:])] for number, row in enumerate(rows)]
            _table(folder / split / f"{subject}_{split}.csv", [head, *lines])
    return folder


def write_mmlu(folder: Path, subjects: dict[str, dict[str, int]]) -> Path:
    """As MMLU has it: no header."""
    for at, (subject, splits) in enumerate(subjects.items()):
        for split, count in splits.items():
            rows = questions(count, chinese=False, seed=1000 * at + ord(split[0]))
            _table(folder / split / f"{subject}_{split}.csv", [list(row.values()) for row in rows])
    return folder


def write_cmmlu(folder: Path, subjects: dict[str, dict[str, int]]) -> Path:
    """As CMMLU has it: an unnamed index, and names with capitals."""
    for subject, splits in subjects.items():
        for split, count in splits.items():
            rows = questions(count, chinese=True, seed=ord(split[0]))
            lines = [[str(number), *row.values()] for number, row in enumerate(rows)]
            _table(folder / split / f"{subject}.csv", [["", "Question", *LETTERS, "Answer"], *lines])
    return folder


def agieval_rows(count: int) -> list[dict[str, Any]]:
    """As AGIEval has them: marked options, a passage."""
    return [
        {"passage": "A passage." if number % 2 else None, "question": row["question"],
         "options": [f"({letter}){row[letter]}" for letter in LETTERS], "label": row["answer"], "answer": None}
        for number, row in enumerate(questions(count, chinese=False))
    ]  # fmt: skip


def inside_rows(count: int, *, chinese: bool = True) -> list[dict[str, Any]]:
    """Rows with the options as lines of the question."""
    rows = questions(count, chinese=chinese)
    return [
        {"question": "\n".join([row["question"], *(f"{letter}. {row[letter]}" for letter in LETTERS)]),
         "answer": row["answer"]}
        for row in rows
    ]  # fmt: skip


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _table(path: Path, rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
