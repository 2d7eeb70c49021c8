"""How much text a vocabulary is learned from or measured on: arguments that several works share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.arguments.base import Arguments, Text, arg
from studio.workspace import Workspace


class TextSampleArguments(Arguments):
    """Which part of the datasets is read."""

    max_chars: int = arg(20_000_000, ge=1)
    """The most characters to read, an equal share of each dataset."""

    sample_rows: int | None = arg(None, ge=1)
    """Rows drawn at random from each dataset; unset: its rows in order, until max_chars is reached."""

    seed: int = arg(42, ge=0)
    """Decides what is drawn at random; the same seed draws the same."""


class FolderArguments(Arguments):
    """Where the result is written."""

    output_dir: Text = arg("", level="basic")
    """The folder to write; it appears under this name only when it is complete."""

    overwrite_output_dir: bool = arg(False)
    """Move a folder that already stands at output_dir aside to <name>.old-<time> instead of refusing."""


def facts_of(name: str) -> Callable[[Any, Workspace], dict[str, Any]]:
    """The quick look of a work about vocabularies, which is imported when it is asked for."""

    def look(asked: Any, place: Workspace) -> dict[str, Any]:
        found: dict[str, Any] = getattr(importlib.import_module("studio.vocabulary.facts"), name)(asked, place)
        return found

    return look


def folder_complaints(folder: FolderArguments, example: str) -> list[str]:
    """What is wrong with where the result is to be written, as far as the words tell."""
    if folder.output_dir:
        return []
    return [f"--output_dir: name the folder to write, such as {Path(example)}."]
