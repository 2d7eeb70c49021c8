"""Settings files, YAML or JSON: flat names and plain values, read as text and nothing cleverer.

Plain scalars stay text, so that `1e-4`, `no` and `010` mean what the argument's type says, not what
YAML 1.1 guesses. Tags, anchors, aliases, duplicate keys and several documents are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from studio.errors import ArgumentError, StudioError

LIMIT_BYTES = 1 << 20


def read_settings(path: Path) -> dict[str, Any]:
    """Raw values by name from a YAML or JSON file. Raises StudioError with file and line."""
    if not path.is_file():
        raise StudioError(f"the settings file {str(path)!r} does not exist. Check the path.")
    if path.stat().st_size > LIMIT_BYTES:
        raise StudioError(f"{path}: a settings file is at most 1 MiB; this one is not a settings file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise StudioError(f"{path}: must be UTF-8; byte {error.start} is not. Save it as UTF-8.") from None
    values = _read_json(path, text) if path.suffix.lower() == ".json" else _read_yaml(path, text)
    if not isinstance(values, dict):
        raise StudioError(f"{path}: must hold `name: value` lines; it holds {type(values).__name__}.")
    return {str(name): value for name, value in values.items()}


def _read_json(path: Path, text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise StudioError(f"{path}: {', '.join(twice)} stands twice. Keep one.")
        return {name: value for name, value in pairs if value is not None}

    try:
        # Numbers stay text: the argument's own type reads them, as in YAML.
        return json.loads(text, object_pairs_hook=once, parse_float=str, parse_int=str)
    except json.JSONDecodeError as error:
        raise StudioError(
            f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}. "
            "A comma after the last entry is the usual cause."
        ) from None
    except RecursionError:
        raise StudioError(f"{path}: is nested too deeply to be a settings file.") from None


def _read_yaml(path: Path, text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            _refuse_clever(path, event)
        node = loader.get_single_node()
        return {} if node is None else _plain(path, node, top=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise StudioError(f"{place}: not YAML: {error.problem}. Write `name: value` lines.") from None
    except yaml.YAMLError as error:
        raise StudioError(f"{path}: not YAML: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise StudioError(f"{path}: is nested too deeply to be a settings file.") from None
    finally:
        loader.dispose()


def _refuse_clever(path: Path, event: yaml.Event) -> None:
    line = event.start_mark.line + 1
    if getattr(event, "tag", None):
        raise StudioError(f"{path}:{line}: YAML tags are not allowed. Write a plain value.")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise StudioError(f"{path}:{line}: YAML anchors and aliases are not allowed. Write the value out.")


def _plain(path: Path, node: yaml.Node, *, top: bool = False) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if node.style is None and node.tag == "tag:yaml.org,2002:null":
            return None
        return node.value if top or node.style is not None else _typed(node.value)
    if isinstance(node, yaml.SequenceNode):
        return tuple(_text(path, item) for item in node.value)
    found: dict[str, Any] = {}
    for key, value in node.value:
        name, line = key.value, key.start_mark.line + 1
        if not isinstance(name, str):
            raise StudioError(f"{path}:{line}: a name must be plain text.")
        if name in found or name == "<<":
            raise StudioError(f"{path}:{line}: {name} stands twice. Keep one.")
        inner = _plain(path, value, top=top and isinstance(value, yaml.ScalarNode))
        found[name] = inner
    return {name: value for name, value in found.items() if value is not None} if top else found


def _text(path: Path, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ArgumentError([f"{path}:{node.start_mark.line + 1}: a list holds plain words only."])
    return str(node.value)


def _typed(text: str) -> Any:
    """A scalar inside a nested object, which goes to an upstream argument as JSON would."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)
