"""An export before it starts: the command, where it writes, what it costs, and what stands in its way."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.command import to_argv, to_yaml
from studio.errors import ArgumentError, StudioError
from studio.jobs.job import shell_line
from studio.model.adapter import CONFIG
from studio.model.outlay import Outlay, outlay
from studio.model.staging import refuse_nested
from studio.model.weights import ADAPTER, INDEX, SINGLE, pickled
from studio.recipe import ExportSet, make_set
from studio.web.site import Site
from studio.workspace import Workspace

PATHS = ("model_name_or_path", "export_dir", "cache_dir")


@dataclass
class Draft:
    """What a form asks for; `complaints` is empty when it may start."""

    asked: ExportSet | None = None
    target: Path | None = None
    outlay: Outlay | None = None
    free: int | None = None
    aside: str = ""
    complaints: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    suggestion: str = ""
    convertible: bool = False

    @property
    def argv(self) -> list[str]:
        """The words after `studio`."""
        return ["export", *to_argv(self.asked)] if self.asked else []

    def told(self, place: Workspace) -> dict[str, Any]:
        """As the page reads it."""
        cost = self.outlay
        return {
            "ok": self.asked is not None and not self.complaints,
            "argv": self.argv,
            "shell": shell_line(self.argv, (), place) if self.asked else "",
            "yaml": to_yaml(self.asked) if self.asked else "",
            "target": place.shown(self.target) if self.target else "",
            "full": str(self.target) if self.target else "",
            "aside": self.aside,
            "free": self.free,
            "cost": cost and {
                "base": place.shown(cost.base), "adapters": [place.shown(path) for path in cost.adapters],
                "weights": cost.weights, "tensors": cost.tensors, "dtype": cost.dtype, "bytes": cost.nbytes,
                "files": cost.files, "needed": cost.needed, "detour": cost.detour,
            },
            "complaints": self.complaints, "by_field": by_field(self.complaints), "notes": self.notes,
            "suggestion": self.suggestion, "convertible": self.convertible,
        }  # fmt: skip


def draft(site: Site, values: Mapping[str, Any]) -> Draft:
    """Check what a form says; never asks a hub and never opens weights."""
    place = site.workspace
    values = {**values, "export_dir": in_models(str(values.get("export_dir") or ""))}
    made = Draft(suggestion=suggestion(str(values.get("model_name_or_path") or ""), place))
    try:
        made.asked, made.notes = make_set(ExportSet, values)
    except ArgumentError as error:
        made.complaints = error.complaints
        return made
    asked = made.asked
    made.complaints = asked.complaints()
    if asked.model.trust_remote_code and not site.trusts_code:
        made.complaints.append(
            "--trust_remote_code: this studio was started without it. Start it with studio webui --trust_remote_code "
            "when you have read the model's code."
        )
    named = [*(str(asked.flat()[name]) for name in PATHS), *asked.model.adapter_name_or_path]
    for name in filter(None, named):
        _try(made, lambda name=name: place.path(name))  # bound now, called now
    if asked.export.export_dir:
        made.target = _try(made, lambda: place.target(asked.export.export_dir), "export_dir")
    if asked.model.model_name_or_path and not made.complaints:
        _weigh(made, asked, place)
    return made


def _weigh(made: Draft, asked: ExportSet, place: Workspace) -> None:
    """What is there, what it costs, whether it fits."""
    folder = place.path(asked.model.model_name_or_path)
    made.convertible = not asked.export.convert_pickle and _only_pickled(folder)
    made.outlay = _try(made, lambda: outlay(asked, place), "model_name_or_path")
    target = made.target
    if target is None:
        return
    _look_at_target(made, target, asked)
    if made.outlay is None:
        return
    sources = [made.outlay.base, *made.outlay.adapters]
    _try(made, lambda: refuse_nested(target, sources), "export_dir")
    there = next(folder for folder in target.parents if folder.exists())
    made.free = shutil.disk_usage(there).free
    if made.free < made.outlay.needed:
        made.complaints.append(
            f"--export_dir: the export needs {made.outlay.needed / 1e9:.2f} GB, and the disk of {there} has "
            f"{made.free / 1e9:.2f} GB free. Free some space, or choose a target on another disk."
        )


def _look_at_target(made: Draft, target: Path, asked: ExportSet) -> None:
    if not target.exists():
        return
    if target.is_dir() and asked.export.overwrite_export_dir:
        made.aside = f"{target.name}.old-{time.strftime('%Y%m%d')}-…"
    elif target.is_dir():
        made.complaints.append(
            f"--export_dir {asked.export.export_dir}: this folder exists already. Choose another name, or set "
            "overwrite_export_dir to move the old one aside."
        )
    else:
        made.complaints.append(f"--export_dir {asked.export.export_dir}: a file has this name. Choose another one.")


def _only_pickled(folder: Path) -> bool:
    if not folder.is_dir() or any((folder / name).is_file() for name in (INDEX, SINGLE, ADAPTER)):
        return False
    return bool(pickled(folder)) or (folder / "adapter_model.bin").is_file()


def _try(made: Draft, ask: Any, name: str = "") -> Any:
    """What `ask` gives; what it refuses becomes a complaint."""
    try:
        return ask()
    except StudioError as error:
        told = f"--{name}: {error}" if name else str(error)
        if told not in made.complaints:
            made.complaints.append(told)
    except OSError as error:
        made.complaints.append(f"--{name or 'export_dir'}: {error.strerror or error}: {error.filename}.")
    return None


def in_models(name: str) -> str:
    """A bare name is a folder of models/; anything else is a path as it is."""
    name = name.strip()
    return f"models/{name}" if name and "/" not in name and not name.startswith(("~", ".")) else name


def suggestion(model: str, place: Workspace) -> str:
    """A free name for the export of a model, a run or a checkpoint."""
    parts = [part for part in Path(model).parts if part not in ("/", "..", ".", "~")]
    if not parts:
        return ""
    if parts[0] == place.saves.name and len(parts) >= 4:
        # saves/<model>/<method>/<run>[/checkpoint-<step>]
        stem = "-".join([parts[1], *parts[3:]])
    else:
        stem = parts[-1] if (place.root / model / CONFIG).is_file() else f"{parts[-1]}-export"
    stem = re.sub(r"[^\w.+-]+", "-", stem)[:120].strip(".-")
    taken = {path.name for path in place.models.glob("*")} if place.models.is_dir() else set()
    names = [stem, *(f"{stem}-{n}" for n in range(2, 1000))]
    return next((name for name in names if name not in taken), "")


def by_field(complaints: Sequence[str]) -> dict[str, str]:
    """Complaints by the argument that they begin with."""
    found: dict[str, str] = {}
    for complaint in complaints:
        if match := re.match(r"--(\w+)", complaint):
            found.setdefault(match[1], complaint)
    return found
