"""What an argument is: one declared field, from which everything else is derived.

The command line, YAML, form, preview, help page and checks all read the same field: its name,
type, range, default, the help in the docstring below it, and the facts given to `arg`.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

Level = Literal["basic", "expert"]


def arg(
    default: Any,
    *,
    level: Level = "expert",
    stages: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    **constraints: Any,
) -> Any:
    """Declare one argument; its docstring stands below the field.

    `level` says where the form shows it. `stages` and `methods` name those that use it (empty:
    all). `constraints` are pydantic's: ge, gt, le, lt, min_length and so on.
    """
    facts: JsonDict = {"level": level, "stages": list(stages), "methods": list(methods)}
    return Field(default, json_schema_extra={"studio": facts}, **constraints)


def _plain_text(value: str) -> str:
    for mark in value:
        if (mark < " " and mark not in "\n\t") or "\ud800" <= mark <= "\udfff" or mark == "\x7f":
            raise ValueError(f"holds the control character {mark!r}; text must be printable")
    return value


def _split(value: Any) -> Any:
    """A list may come as one text with commas, as the ecosystem writes it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _no_commas(value: tuple[str, ...]) -> tuple[str, ...]:
    for part in value:
        if "," in part or part != part.strip() or not part:
            raise ValueError(f"{part!r} must not be empty or hold commas or outer spaces")
        _plain_text(part)
    return value


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"must be what JSON can hold: {error}") from None
    _plain_text(text)
    plain: dict[str, Any] = json.loads(text)
    return plain


Text = Annotated[str, AfterValidator(_plain_text)]
"""Text is never None; empty means none."""

Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_no_commas)]
"""A list of names; written `a,b` or `a b`."""


Object = Annotated[dict[str, Any], AfterValidator(_finite)]
"""A JSON object; written `'{"name": value}'`, or nested below its name in a file."""


class Arguments(BaseModel):
    """A group of arguments: frozen, unknown keys refused, numbers finite."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        # The help page needs no checks; they are built when the first value comes.
        defer_build=True,
    )


@dataclass(frozen=True)
class Argument:
    """One declared argument, as the command line, the form and the help see it."""

    name: str
    group: str
    info: FieldInfo
    level: Level
    stages: tuple[str, ...]
    methods: tuple[str, ...]

    @property
    def help(self) -> str:
        """The docstring below the field, on one line."""
        return " ".join((self.info.description or "").split())

    @property
    def default(self) -> Any:
        """The value when nothing is asked."""
        return self.info.default

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The plain types it takes, None left out: (bool,), (int,), (float,), (str,), (tuple,)."""
        return tuple(kind for kind in _members(self.info.annotation) if kind is not type(None))

    @property
    def optional(self) -> bool:
        """Whether unset (None) is a value of its own, as in "decided from the hardware"."""
        return type(None) in _members(self.info.annotation)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words, or () when there is no fixed list."""
        return tuple(str(word) for word in _choices(self.info.annotation))

    @property
    def is_flag(self) -> bool:
        """Whether the bare `--name` means true."""
        return bool in self.kinds

    @property
    def allowed(self) -> str:
        """What may be written, in words, with the range."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = " or ".join(_WORDS.get(kind, "text") for kind in self.kinds)
        bounds = " and ".join(filter(None, map(_bound, self.info.metadata)))
        return f"{words}, {bounds}" if bounds else words


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "names with commas between",
    dict: "a JSON object",
    list: "a JSON list",
}


def _bound(rule: Any) -> str:
    for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if (limit := getattr(rule, name, None)) is not None:
            return f"{words} {limit:,}" if isinstance(limit, int) else f"{words} {limit:g}"
    return ""


def _members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _members(part)]
    if origin is Literal:
        return [str]
    return [origin or annotation]


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(word for part in get_args(annotation) for word in _choices(part))


def declared(group: str, kind: type[BaseModel]) -> Iterator[Argument]:
    """The arguments of one group, in the order they are written."""
    for name, info in kind.model_fields.items():
        extra = info.json_schema_extra
        facts = typing.cast(dict[str, Any], extra.get("studio", {}) if isinstance(extra, dict) else {})
        yield Argument(
            name,
            group,
            info,
            facts.get("level", "expert"),
            tuple(facts.get("stages", ())),
            tuple(facts.get("methods", ())),
        )
