"""The subjects of the known benchmarks: their Chinese names, and the categories their authors report them in. Light."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any


def title_of(layout: str, subject: str, lang: str) -> str:
    """A subject as a prompt names it: its Chinese name where it has one and the prompt is Chinese, else its words."""
    known = _table().get(layout, {}).get(subject, {})
    return str((known.get("zh") if lang == "zh" else "") or subject.replace("_", " ").replace("-", " "))


def categories_of(layout: str, subject: str) -> list[str]:
    """The categories that a subject counts in; none for a subject that the benchmark does not have."""
    return list(_table().get(layout, {}).get(subject, {}).get("in", ()))


@functools.cache
def _table() -> dict[str, dict[str, Any]]:
    text = resources.files("studio.evaluate").joinpath("subjects.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found
