"""The other fields of `transformers.TrainingArguments`, accepted under their own names.

`upstream.json` (name, kinds, optional, default, choices) is written by `measure()` from the pinned
version: `python -m studio.arguments.upstream`. A test compares the two.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal, Optional, Union

from pydantic import Field, create_model

from studio.arguments.base import Arguments, Names, Text
from studio.arguments.refused import is_secret

FILE = Path(__file__).with_name("upstream.json")
_KINDS: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": Text, "dict": dict, "list": Names}


@functools.cache
def upstream_fields() -> dict[str, dict[str, Any]]:
    """Every upstream field by name: kinds, optional, default, choices."""
    fields: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return fields


def upstream_arguments(declared: frozenset[str], refused: frozenset[str]) -> type[Arguments]:
    """The group of fields that are neither declared by the studio nor refused by it."""
    fields: dict[str, Any] = {}
    for name, facts in upstream_fields().items():
        if name in declared or name in refused or is_secret(name):
            continue
        kinds = [_KINDS[kind] for kind in facts["kinds"]]
        annotation: Any = Literal[tuple(facts["choices"])] if facts["choices"] else Union[tuple(kinds)]
        if facts["optional"]:
            annotation = Optional[annotation]
        default = tuple(facts["default"]) if isinstance(facts["default"], list) else facts["default"]
        fields[name] = (annotation, Field(default, description=f"transformers.TrainingArguments.{name}"))
    return create_model("UpstreamArguments", __base__=Arguments, **fields)


def measure() -> dict[str, dict[str, Any]]:
    """The fields of the installed transformers, in the form of `upstream.json`."""
    import dataclasses
    import enum
    import typing

    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    found = {}
    for field in dataclasses.fields(TrainingArguments):
        members = _flat(hints[field.name])
        enums = [kind for kind in members if isinstance(kind, type) and issubclass(kind, enum.Enum)]
        choices = [word.value for kind in enums for word in kind]
        choices = choices or list(field.metadata.get("choices") or [])
        default = field.default
        if default is dataclasses.MISSING:
            default = field.default_factory() if callable(field.default_factory) else None
        kinds = list(dict.fromkeys(_word(kind) for kind in members if kind is not type(None)))
        if "list" in kinds:  # text with commas is read as a list
            kinds = [kind for kind in kinds if kind != "str"]
        if field.name == "debug":  # its enum only lists what its text may hold
            kinds, choices = ["str"], []
        found[field.name] = {
            "kinds": sorted(kinds, key=list(_KINDS).index),
            "optional": type(None) in members or default is None,
            "default": default.value if isinstance(default, enum.Enum) else default,
            "choices": choices,
        }
    return found


def _flat(hint: Any) -> list[Any]:
    import types
    import typing

    if typing.get_origin(hint) in (Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _flat(part)]
    return [typing.get_origin(hint) or hint]


def _word(kind: Any) -> str:
    name = getattr(kind, "__name__", "str")
    return name if name in _KINDS else "str"


if __name__ == "__main__":
    FILE.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
