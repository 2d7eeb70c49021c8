"""Evaluations that are kept, of a run or of no run, for the page: numbers of all of them, rows of one."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.evaluate.kept import ELSEWHERE, FOLDER, read_kept
from studio.workspace import Workspace

# The newest that are listed, and the largest file that is read.
MOST_FILES, MOST_BYTES = 200, 64 << 20
_NAME = re.compile(r"[\w.-]+\.json")
# One number for each row: needed to compare, not to look at.
_UNSEEN = ("values", "members")


def names(folder: Path) -> list[str]:
    """Names of the files of a folder of evaluations, which begin with their time."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))


def listed(run: Path) -> list[dict[str, Any]]:
    """Each evaluation of a run with its measures and differences, without its rows; a file that is none is told.

    Links and what is larger than anything kept are left out, as everywhere here.
    """
    folder = run / FOLDER
    return [_told(folder / name) for name in names(folder)[-MOST_FILES:] if _is_own(folder / name)]


def elsewhere(place: Workspace) -> tuple[list[dict[str, Any]], int]:
    """The newest evaluations that belong to no run, the newest first; how many older ones there are.

    As `listed`, but without groups and settings. `folder` names the model in `evaluations/`; with `file` it says which
    one to ask for.
    """
    found = sorted(((name, folder) for folder in _folders(place) for name in names(folder)), reverse=True)
    newest = [folder / name for name, folder in found[:MOST_FILES]]
    told = [{**_light(_told(path)), "folder": path.parent.name} for path in newest if _is_own(path)]
    return told, len(found) - len(newest)


def one_elsewhere(place: Workspace, folder: str, name: str) -> dict[str, Any] | None:
    """One of these, as `whole`."""
    return next((whole(path, name) for path in _folders(place) if path.name == folder), None)


def _folders(place: Workspace) -> list[Path]:
    home = place.root / ELSEWHERE
    return sorted(home.iterdir()) if home.is_dir() and not home.is_symlink() else []


def whole(folder: Path, name: str) -> dict[str, Any] | None:
    """One of a folder with the rows to look at; None when there is none. Raises StudioError for a file that is none."""
    path = folder / name
    if not _NAME.fullmatch(name) or folder.is_symlink() or not _is_own(path):
        return None
    kept = read_kept(path)
    return {**kept, "file": name, "results": [_seen(each) for each in kept["results"]]}


def _told(path: Path) -> dict[str, Any]:
    try:
        return _brief(path, _stamp(path))
    except (StudioError, OSError) as error:
        return {"file": path.name, "error": str(error), "results": [], "differences": {}}


@functools.lru_cache(maxsize=512)
def _brief(path: Path, _stamp: tuple[int, int]) -> dict[str, Any]:
    kept = read_kept(path)
    results = [{**_seen(each), "rows": len(each.get("rows") or ())} for each in kept["results"]]
    return {**kept, "file": path.name, "results": results}


def _light(told: dict[str, Any]) -> dict[str, Any]:
    """What a line of a table needs."""
    results = [{name: value for name, value in each.items() if name != "groups"} for each in told["results"]]
    apart = {model: {"all": groups.get("all", {})} for model, groups in told["differences"].items()}
    return {**told, "results": results, "differences": apart, "settings": {}}


def _seen(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in _UNSEEN}


def _is_own(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and path.stat().st_size <= MOST_BYTES
    except OSError:
        return False


def _stamp(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_mtime_ns, told.st_size
