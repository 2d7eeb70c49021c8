"""Settings files, YAML or JSON: flat names and plain values, read as text and nothing cleverer.

Plain scalars stay text, so that `1e-4`, `no` and `010` mean what the argument's type says, not what
YAML 1.1 guesses. Tags, anchors, aliases, duplicate keys and several documents are refused. A value
that is null is left out, as if it were not written.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError

if TYPE_CHECKING:
    import yaml

LIMIT_BYTES = 1 << 20
LIMIT_DEPTH = 20


class _Number(str):
    """The text of a JSON number."""


def read_settings(path: Path) -> dict[str, Any]:
    """Raw values by name from a YAML or JSON file. Raises StudioError with file and line."""
    return parse_settings(_read_text(path), path)


def parse_settings(text: str, path: Path) -> dict[str, Any]:
    """Raw values by name from the text of such a file; `path` is what complaints call it, and tells JSON by its end."""
    values = _read_json(path, text) if path.suffix.lower() == ".json" else _read_yaml(path, text)
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list | tuple) else "a single value"
        raise StudioError(f"{path}:1: must hold `name: value` lines; it holds {kind}.")
    return values


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise StudioError(f"the settings file {str(path)!r} is a folder. Name a file in it.")
    if not path.exists():
        raise StudioError(f"the settings file {str(path)!r} does not exist. Check the path.")
    if not path.is_file():
        raise StudioError(f"{path} is not a plain file. Name a YAML or JSON file.")
    if path.stat().st_size > LIMIT_BYTES:
        raise StudioError(f"{path}: a settings file is at most 1 MiB; this one is not a settings file.")
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except PermissionError:
        raise StudioError(f"{path} may not be read by this user. Change its permissions.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StudioError(f"{path}:{line}: must be UTF-8; byte {error.start} is not. Save it as UTF-8.") from None


# -- JSON


def _read_json(path: Path, text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise StudioError(f"{path}:{_last_line(text, twice[0])}: {twice[0]} stands twice. Keep one.")
        return dict(pairs)

    try:
        # Numbers stay text: the argument's own type reads them, as in YAML.
        values = json.loads(text, object_pairs_hook=once, parse_float=_Number, parse_int=_Number, parse_constant=str)
    except json.JSONDecodeError as error:
        raise StudioError(
            f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}. "
            "A comma after the last entry is the usual cause."
        ) from None
    except RecursionError:
        raise StudioError(f"{path}: is nested too deeply to be a settings file.") from None
    if not isinstance(values, dict):
        return values
    return {name: _json_value(value) for name, value in values.items() if value is not None}


def _last_line(text: str, name: str) -> int:
    places = [found.start() for found in re.finditer(re.escape(json.dumps(name)) + r"\s*:", text)]
    return text.count("\n", 0, places[-1] if places else 0) + 1


def _json_value(value: Any) -> Any:
    """A value at the top: numbers as text, alone or in a list; below a name of its own they are numbers."""
    if isinstance(value, list):
        return tuple(str(item) if isinstance(item, _Number) else item for item in value)
    return _numbers(value) if isinstance(value, dict) else value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return json.loads(value) if isinstance(value, _Number) else value


# -- YAML


def _read_yaml(path: Path, text: str) -> Any:
    import yaml

    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _refuse_clever(path, event, depth)
        node = loader.get_single_node()
        return {} if node is None else _top(path, node)
    except yaml.MarkedYAMLError as error:
        raise StudioError(_complaint(path, error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StudioError(
            f"{path}:{line}: the character {chr(error.character)!r} may not stand in YAML. Remove it."
        ) from None
    finally:
        loader.dispose()


def _complaint(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    if error.problem == "but found another document":
        return f"{place}: a settings file is one document; a second one begins here. Remove it."
    if "'\\t'" in str(error.problem):
        return f"{place}: YAML allows no tab here. Use blanks."
    return f"{place}: not YAML: {error.problem}. Write `name: value` lines."


def _refuse_clever(path: Path, event: yaml.Event, depth: int) -> None:
    import yaml

    line = event.start_mark.line + 1
    if depth > LIMIT_DEPTH:
        raise StudioError(f"{path}:{line}: is nested too deeply to be a settings file.")
    if getattr(event, "tag", None):
        raise StudioError(f"{path}:{line}: YAML tags are not allowed. Write a plain value.")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise StudioError(f"{path}:{line}: YAML anchors and aliases are not allowed. Write the value out.")


def _top(path: Path, node: yaml.Node) -> Any:
    """Names and values; the text of a scalar as it is written."""
    if node.id != "mapping":
        return () if node.id == "sequence" else ""
    found: dict[str, Any] = {}
    for name, value in _pairs(path, node):
        if value.id == "scalar":
            found[name] = None if _is_null(value) else str(value.value)
        elif value.id == "sequence":
            found[name] = tuple(_word(path, item) for item in value.value)
        else:
            found[name] = _nested(path, value)
    return {name: value for name, value in found.items() if value is not None}


def _pairs(path: Path, node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        place = f"{path}:{key.start_mark.line + 1}"
        if key.id != "scalar" or _is_null(key):
            raise StudioError(f"{place}: a name must be plain text.")
        if key.tag == "tag:yaml.org,2002:merge":
            raise StudioError(f"{place}: YAML merge keys are not allowed. Write the values out.")
        if key.value in found:
            raise StudioError(f"{place}: {key.value} stands twice. Keep one.")
        found[str(key.value)] = value
    return list(found.items())


def _word(path: Path, node: yaml.Node) -> str:
    if node.id != "scalar":
        raise StudioError(f"{path}:{node.start_mark.line + 1}: a list holds plain words only.")
    return str(node.value)


def _nested(path: Path, node: yaml.Node) -> Any:
    """What stands below a name of its own goes to an argument that takes an object, as JSON would."""
    if node.id == "mapping":
        return {name: _nested(path, value) for name, value in _pairs(path, node)}
    if node.id == "sequence":
        return [_nested(path, item) for item in node.value]
    if node.style is not None:
        return str(node.value)
    return None if _is_null(node) else _typed(str(node.value))


def _is_null(node: yaml.Node) -> bool:
    return node.style is None and node.tag == "tag:yaml.org,2002:null"


def _typed(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text
