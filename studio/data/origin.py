"""How data files came about: what `studio data clean` and `studio data shard` left beside them, for a run's record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from studio.data.shards import INDEX
from studio.errors import StudioError
from studio.workspace import Workspace

# What `studio data clean` writes beside the rows.
ACCOUNT, MADE_BY = "clean.json", "studio data clean"
_LARGEST = 64 * 2**20
_TOLD = ("time", "rows", "kept", "removed", "refused", "recipe")


def origins(files: Iterable[str], place: Workspace) -> dict[str, Any]:
    """The recipes of cleaning that files went through, by the path of each account.

    `files` are paths as `Workspace.shown` gives them. Shards are followed to what they were made of, and what was
    cleaned to what it was before. Each recipe has what stands in its account: {"time", "rows", "kept", "removed",
    "refused", "recipe", "steps": {step: {"changed", "removed"}}, "sources": {file: sha256}}; one that cannot be read is
    {"unreadable": why}.
    """
    found: dict[str, Any] = {}
    waiting, seen = list(files), set[Path]()
    while waiting:
        try:
            folder = place.path(waiting.pop()).parent
        except StudioError:
            # Of another machine, or outside of what may be read here.
            continue
        if folder in seen:
            continue
        seen.add(folder)
        for path, made in ((folder / ACCOUNT, _cleaned), (folder / INDEX, _sharded)):
            # A data file can have the same name.
            if not path.is_file():
                continue
            try:
                told = made(json.loads(_text(path)))
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                told = {"unreadable": f"{type(error).__name__}: {error}"}
            waiting += [source for source in told.get("sources", {}) if isinstance(source, str)]
            if told and path.name == ACCOUNT:
                found[place.shown(path)] = told
    return dict(sorted(found.items()))


def _text(path: Path) -> str:
    """Raises ValueError for one that is too large to be an account."""
    if (size := path.stat().st_size) > _LARGEST:
        raise ValueError(f"{size:,} bytes, more than the {_LARGEST:,} that are read")
    return path.read_text(encoding="utf-8")


def _cleaned(account: Any) -> dict[str, Any]:
    if not isinstance(account, dict) or account.get("made_by") != MADE_BY:
        return {}
    sources = {file["path"]: file["sha256"] for source in account["sources"] for file in source["files"]}
    steps = {step["step"]: {what: step[what] for what in ("changed", "removed")} for step in account["steps"]}
    return {**{name: account[name] for name in _TOLD}, "steps": steps, "sources": sources}


def _sharded(index: dict[str, Any]) -> dict[str, Any]:
    return {"sources": {source["path"]: source["sha256"] for source in index.get("sources", [])}}
