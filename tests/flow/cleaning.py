"""Rows to clean, and `studio data clean` in this process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.cleaning import work
from studio.command import read_set
from studio.works.clean import CleanSet
from studio.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
Studio = Callable[..., subprocess.CompletedProcess[str]]

LONG = (
    "The quick brown fox jumps over the lazy dog near the river bank on a sunny afternoon in early spring while the "
    "birds sing. It was a good day for all of them and nobody had to work at all, so they "
)
DIRTY = [
    {"id": 0, "text": "<p>高血压患者应该<b>低盐饮食</b>，多吃蔬菜&amp;水果。</p><script>alert(1)</script>"},
    {"id": 1, "text": "CafÃ© dâ€™Artiste serves coffee all day long, and it is good."},
    {"id": 2, "text": "请联系张先生，电话13800138000，邮箱zhang@mail.cn。"},
    {"id": 3, "text": "短"},
    {"id": 4, "text": "买一送一，先到先得。" * 40},
    {"id": 5, "text": "!!!@@@###$$$%%%^^^&&&***!!!"},
    {"id": 6, "text": LONG + "stayed."},
    {"id": 7, "text": (LONG + "stayed.").upper()},
    {"id": 8, "text": LONG + "left."},
    {"id": 9, "text": "Il était une fois un petit garçon qui vivait dans une grande maison près de la mer."},
    {"id": 10, "text": "  "},
]


class Silent:
    """Who hears nothing."""

    def say(self, _: str) -> None:
        """Nothing."""

    def tell(self, *_: Any) -> None:
        """Nothing."""


def write(place: Workspace, name: str, rows: list[Any]) -> str:
    path = place.data / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return f"data/{name}"


def clean(place: Workspace, *words: str, ear: Any = None) -> dict[str, Any]:
    """The work itself, in this process."""
    asked, _ = read_set(CleanSet, [*words, "--output_dir", "data/clean"], place.root)
    assert asked.complaints() == []
    return work.run(asked, place, ear or Silent())


def kept(place: Workspace, name: str) -> list[dict[str, Any]]:
    text = (place.data / "clean" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def steps(found: dict[str, Any]) -> dict[str, Any]:
    return {step["step"]: step for step in found["steps"]}
