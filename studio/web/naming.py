"""Names of models and runs, and the folders that they mean: saves/<model>/<method>/<run>."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.model.checkpoint import NAME as CHECKPOINT
from studio.workspace import Workspace

# Shorter than a file system's limit, so that a date may still be hung on it.
LONGEST = 120
_DEPTH = 10


def output_dir(model_name: str, method: str, run_name: str) -> str:
    """The folder of a run. A run name with a slash is a path of its own.

    Raises StudioError for a name that cannot be one folder's.
    """
    if "/" in run_name:
        return run_name.rstrip("/")
    return "/".join(("saves", checked(model_name, "model name"), method, checked(run_name, "run name")))


def checked(name: str, what: str) -> str:
    """The same name, when it can be that of a folder. Raises StudioError otherwise."""
    good = name == name.strip() and name.isprintable() and not name.startswith((".", "-")) and "/" not in name
    if name and good and "\\" not in name and len(name.encode()) <= LONGEST:
        return name
    raise StudioError(
        f"the {what} must be 1 to {LONGEST} printable bytes without slashes, outer blanks, or a dot or dash in front; "
        f"it is {name[:60]!r}. Write another."
    )


def model_name_of(path: str, place: Workspace) -> str:
    """What a model is called, guessed from its path and the folders it comes from; "" for no path.

    A run in saves/<model>/… and its checkpoints bear the model's name; a run elsewhere and an adapter that of
    their base; any other folder or hub name its own last part.
    """
    for _ in range(_DEPTH):
        if not path.strip("/ "):
            return ""
        parts = Path(path).parts
        folder = _folder(path, place)
        if folder is not None and place.saves in folder.parents:
            inside = folder.relative_to(place.saves).parts
            return inside[0] if len(inside) > 1 else folder.name
        base = base_of(folder) if folder is not None else ""
        if not base or base == path:
            return parts[-2] if CHECKPOINT.match(parts[-1]) and len(parts) > 1 else parts[-1]
        path = base
    return Path(path).name


def _folder(path: str, place: Workspace) -> Path | None:
    try:
        folder = place.path(path)
    except StudioError:
        return None
    return folder if folder.is_dir() else None


def base_of(folder: Path) -> str:
    """The model that a run or an adapter began from, as its record or its config names it; "" for none."""
    run = folder.parent if CHECKPOINT.match(folder.name) else folder
    for path, keys in ((run / "run.json", ("recipe", "model_name_or_path")),
                       (folder / "adapter_config.json", ("base_model_name_or_path",))):  # fmt: skip
        value: Any = read_object(path)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            return value
    return ""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or {} when there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def made_whole(values: Mapping[str, Any], model_name: str, method: str, place: Workspace) -> dict[str, Any]:
    """The same values, with bare names of runs, checkpoints and models as the paths that they mean.

    Raises StudioError for a bare output_dir that cannot be a folder's name.
    """
    whole = dict(values)
    room = place.saves / model_name / method
    if isinstance(whole.get("output_dir"), str) and whole["output_dir"]:
        whole["output_dir"] = output_dir(model_name, method, whole["output_dir"])
    for name in ("adapter_name_or_path", "reward_model_adapters", "ref_model_adapters"):
        if whole.get(name):
            whole[name] = [_found(each, place, (room,)) for each in _names(whole[name])]
    for name in ("reward_model", "ref_model"):
        if isinstance(whole.get(name), str):
            whole[name] = _found(whole[name].strip(), place, _rooms(place, model_name, method))
    if isinstance(whole.get("resume_from_checkpoint"), str) and whole.get("output_dir"):
        run = place.root / str(whole["output_dir"])
        whole["resume_from_checkpoint"] = _found(whole["resume_from_checkpoint"], place, (run,))
    if isinstance(whole.get("model_name_or_path"), str):
        whole["model_name_or_path"] = _found(whole["model_name_or_path"], place, (place.models, room))
    return whole


def _rooms(place: Workspace, model_name: str, method: str) -> tuple[Path, ...]:
    """Where a model that only helps is looked for: beside the run, then with other methods, then among exports."""
    own = place.saves / model_name
    try:
        others = sorted(path for path in own.iterdir() if path.is_dir() and path.name != method)
    except OSError:
        others = []
    return (own / method, *others, place.models)


def _names(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    return [part.strip() for part in map(str, parts) if part.strip()]


def _found(name: str, place: Workspace, rooms: tuple[Path, ...]) -> str:
    """A bare name that is no folder of the workspace, as the path of the first room that has it."""
    if not name or "/" in name or name in (".", "..", "~") or not name.isprintable():
        return name
    try:
        if (place.root / name).exists():
            return name
        return next((place.shown(room / name) for room in rooms if (room / name).is_dir()), name)
    except (OSError, ValueError):
        # Too long for a folder, or half a character: the path says so where it is checked.
        return name
