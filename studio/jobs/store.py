"""The jobs of a workspace in one SQLite file."""

from __future__ import annotations

from pathlib import Path


class Store:
    """Jobs by number."""

    def __init__(self, path: Path) -> None:
        self.path = path
