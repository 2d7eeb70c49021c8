"""The evaluations that a run has kept, for the page: numbers of all of them, rows of one."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.evaluate.kept import FOLDER, read_kept

# The newest that are listed, and the largest file that is read.
MOST_FILES, MOST_BYTES = 200, 64 << 20
_NAME = re.compile(r"[\w.-]+\.json")
# One number for each row: needed to compare, not to look at.
_UNSEEN = ("values", "members")


def files(run: Path) -> list[Path]:
    """The files of a run's folder, oldest first; links and what is larger than anything kept are left out."""
    folder = run / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = [path for path in folder.glob("*.json") if _is_own(path)]
    return sorted(found, key=lambda path: path.name)[-MOST_FILES:]


def listed(run: Path) -> list[dict[str, Any]]:
    """Each evaluation with its measures and differences, without its rows; a file that is none is told."""
    found = []
    for path in files(run):
        try:
            found.append(_brief(path, _stamp(path)))
        except (StudioError, OSError, AttributeError) as error:
            found.append({"file": path.name, "error": str(error), "results": [], "differences": {}})
    return found


def whole(run: Path, name: str) -> dict[str, Any] | None:
    """One of them with the rows to look at; None when there is none. Raises StudioError for a file that is none."""
    path = run / FOLDER / name
    if not _NAME.fullmatch(name) or path not in files(run):
        return None
    kept = read_kept(path)
    return {**kept, "file": name, "results": [_seen(each) for each in kept["results"]]}


@functools.lru_cache(maxsize=512)
def _brief(path: Path, _stamp: tuple[int, int]) -> dict[str, Any]:
    kept = read_kept(path)
    results = [{**_seen(each), "rows": len(each.get("rows") or ())} for each in kept["results"]]
    return {**kept, "file": path.name, "results": results}


def _seen(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in _UNSEEN}


def _is_own(path: Path) -> bool:
    return not path.is_symlink() and path.is_file() and path.stat().st_size <= MOST_BYTES


def _stamp(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_mtime_ns, told.st_size
