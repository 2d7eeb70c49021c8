"""From the name of a model or an adapter to its folder: a local one, else a snapshot from a hub."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from studio.errors import ModelError
from studio.model.adapter import started_from
from studio.model.hub import fetch_model
from studio.model.weights import is_meta, remedy
from studio.workspace import Workspace


def find_model(name: str, place: Workspace, *, revision: str = "main", cache_dir: str = "") -> Path:
    """The folder of a model: a local one, else a snapshot from the hub.

    `x/y` whose first part is a folder of the workspace is always a local path, never a hub id.
    Raises ModelError when it is neither.
    """
    path = place.path(name)
    if path.is_dir():
        if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
            raise ModelError(_no_model(name, path))
        return path
    local = name.startswith((".", "/", "~")) or name.count("/") != 1
    if local or place.path(name.split("/")[0]).is_dir():
        raise ModelError(f"no model folder {name!r} in {place.root}.{_inside(name, place) or _nearby(path)}")
    return fetch_model(name, revision, place.path(cache_dir) if cache_dir else None, _other_case(name, place))


def _no_model(name: str, path: Path) -> str:
    """What is wrong with a folder that is neither a model nor an adapter."""
    entries = _visible(path)
    below = [entry.name for entry in entries if (entry / "config.json").is_file()]
    if is_meta(path):
        return (
            f"{name!r} must hold a model as transformers reads one; it holds one as Meta gives it away. {remedy(path)}"
        )
    if below:
        return f"{name!r} must hold a model; the folder has no config.json. Did you mean {name.rstrip('/')}/{below[0]}?"
    if any((path / room).is_dir() for room in ("snapshots", "blobs")):
        return f"{name!r} is a hub's cache of a model, not its folder. Name the folder below its snapshots."
    held = ", ".join(entry.name for entry in entries[:8])
    return f"{name!r} must hold a model; the folder has no config.json. It holds: {held or 'nothing'}."


def _visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name; hidden entries are nobody's models."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def find_adapters(names: Iterable[str], place: Workspace, *, cache_dir: str = "") -> list[Path]:
    """Folders of adapters in the order they apply, each after those its run merged into the base first.

    Raises ModelError when one of them is not there.
    """
    return _with_earlier(names, place, cache_dir, frozenset())


def _with_earlier(names: Iterable[str], place: Workspace, cache_dir: str, seen: frozenset[Path]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        folder = find_model(name, place, cache_dir=cache_dir)
        named, on_top = ([], False) if folder in seen else started_from(folder)
        before = _with_earlier(named, place, cache_dir, seen | {folder})
        before = before if on_top else before[:-1]
        found += [path for path in (*before, folder) if path not in found]
    return found


def _inside(name: str, place: Workspace) -> str:
    """' Did you mean …?' for a folder of models/ or saves/ that was named without it."""
    for room in (place.models, place.saves):
        if (room / name).is_dir():
            return f" Did you mean {room.name}/{name}?"
    return ""


def _other_case(name: str, place: Workspace) -> str:
    """' Did you mean …?' when only upper and lower case keep `x/y` from being a folder here."""
    first, rest = name.split("/")
    near = [entry.name for entry in _visible(place.root) if entry.name.casefold() == first.casefold()]
    return f" Did you mean {near[0]}/{rest}? Upper and lower case count." if near else ""


def _nearby(path: Path) -> str:
    """' Did you mean …?' for a folder that is spelled nearly the same."""
    for parent in (path.parent, path.parent.parent):
        if parent.is_dir():
            names = [entry.name for entry in _visible(parent) if entry.is_dir()]
            lower = {name.lower(): name for name in names}
            wanted = path.name if parent == path.parent else path.parent.name
            near = difflib.get_close_matches(wanted.lower(), list(lower), n=1, cutoff=0.6)
            if near:
                return f" Did you mean {lower[near[0]]!r} there? Upper and lower case count."
            return f" {parent} holds: {', '.join(names[:8]) or 'no folders'}."
    return " Check the path."
