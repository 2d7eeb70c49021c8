"""The model folders of a workspace: bases, runs, adapters, exports, checkpoints, each with what it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from studio.errors import StudioError
from studio.model.checkpoint import steps
from studio.model.classifier import is_reward_model
from studio.web.naming import base_of, model_name_of, read_object
from studio.workspace import Workspace

Kind = Literal["base", "full", "adapter", "export", "checkpoint"]
# Folders below models/ and saves/ that are looked into, and how deep.
_DEEP = {"models": 3, "saves": 5}
_MOST = 2000


@dataclass(frozen=True)
class Model:
    """One folder that a model can be loaded from. `path` is as a person types it."""

    path: str
    kind: Kind
    title: str
    base: str = ""
    run: str = ""
    step: int | None = None
    adapter: bool = False
    head: Literal["tokens", "score"] = "tokens"
    """ "score": a reward model, which gives a number for a conversation and writes nothing."""
    metrics: dict[str, float] = field(default_factory=dict)
    changed: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """As the page hears it."""
        return asdict(self)


def listed(place: Workspace) -> list[Model]:
    """Every model folder of models/ and saves/, those changed last first; checkpoints after their run."""
    found: list[Model] = []
    for room in (place.models, place.saves):
        for folder in _folders(room, _DEEP[room.name]):
            model = described(folder, place)
            marks = [described(path, place) for _, path in reversed(steps(folder))]
            found += [each for each in (model, *marks) if each is not None]
            if len(found) >= _MOST:
                return found
    newest: dict[str, float] = {}
    for each in found:
        newest[each.run or each.path] = max(newest.get(each.run or each.path, 0), each.changed)
    return sorted(found, key=lambda each: -newest[each.run or each.path])


def _folders(room: Path, depth: int) -> Iterator[Path]:
    """The folders below a room that may hold a model; what lies in a model folder is not looked into."""
    if not room.is_dir() or depth == 0:
        return
    with os.scandir(room) as entries:
        inner = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    for name in inner:
        folder = room / name
        if _is_model(folder) or (folder / "run.json").is_file():
            yield folder
        else:
            yield from _folders(folder, depth - 1)


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def described(folder: Path, place: Workspace) -> Model | None:
    """What a folder is, or None when no model can be loaded from it."""
    if not _is_model(folder):
        return None
    run = folder.parent if folder.name.startswith("checkpoint-") else folder
    is_run, adapter = (run / "run.json").is_file(), (folder / "adapter_config.json").is_file()
    base, step, judges = base_of(folder), None, is_reward_model(folder)
    if run != folder:
        kind: Kind = "checkpoint"
        step = int(folder.name.removeprefix("checkpoint-"))
    elif adapter:
        kind = "adapter"
    elif is_run:
        kind = "full"
    else:
        kind = "export" if (folder / "export.json").is_file() else "base"
    return Model(
        path=place.shown(folder), kind=kind,
        title=("reward model, " if judges else "") + _title(kind, folder, base, adapter), base=base,
        run=place.shown(run) if is_run else "", step=step, adapter=adapter, head="score" if judges else "tokens",
        metrics=_metrics(folder, step), changed=folder.stat().st_mtime,
    )  # fmt: skip


def _title(kind: Kind, folder: Path, base: str, adapter: bool) -> str:
    of = f" of {base}" if base else ""
    if kind == "checkpoint":
        what = "adapter" if adapter else "weights"
        return f"checkpoint at step {folder.name.removeprefix('checkpoint-')}: {what}{of}"
    return {
        "adapter": f"adapter{of}", "full": f"trained in full{f', from {base}' if base else ''}",
        "export": "export", "base": "base model",
    }[kind]  # fmt: skip


def _metrics(folder: Path, step: int | None) -> dict[str, float]:
    """The held-out loss that was measured last before this checkpoint, and its step's loss."""
    if step is None:
        return {}
    found: dict[str, float] = {}
    points = read_object(folder / "trainer_state.json").get("log_history")
    for point in points if isinstance(points, list) else []:
        for name in ("loss", "eval_loss"):
            if isinstance(point, dict) and isinstance(point.get(name), int | float):
                found[name] = float(point[name])
    return found


def about(path: str, place: Workspace) -> dict[str, Any]:
    """What a path is: {kind, sentence, name, base, adapter, head, step, ok}.

    The sentence is for the person who typed it.
    """
    told = {"kind": "", "sentence": "", "name": "", "base": "", "adapter": False, "head": "tokens",
            "step": None, "ok": False}  # fmt: skip
    if not path.strip():
        return told
    try:
        folder = place.path(path.strip())
    except StudioError as error:
        return told | {"sentence": str(error)}
    if not folder.is_dir() and "/" not in path and (place.models / path).is_dir():
        folder = place.models / path
    name = model_name_of(place.shown(folder) if folder.is_dir() else path, place)
    model = described(folder, place) if folder.is_dir() else None
    if model is not None:
        return told | {"kind": model.kind, "sentence": model.title, "name": name, "base": model.base,
                       "adapter": model.adapter, "head": model.head, "step": model.step, "ok": True}  # fmt: skip
    if folder.is_dir():
        return told | {"kind": "other", "sentence": "a folder without a model: it has no config.json"}
    first = path.split("/")[0]
    if path.count("/") == 1 and not path.startswith((".", "/", "~")) and not (place.root / first).is_dir():
        return told | {"kind": "hub", "sentence": "a name on the hub, fetched when the run starts", "name": name,
                       "ok": True}  # fmt: skip
    return told | {"kind": "missing", "sentence": "there is no such folder"}
