"""From raw values to checked groups: every value goes to the group that declares its name.

A wrong value, an unknown name, a refused one and a secret each become a sentence; all are told
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from studio.arguments.base import Argument, Arguments, declared
from studio.arguments.refused import SECRET, is_secret, refusals
from studio.registry import did_you_mean


@dataclass(frozen=True)
class Unreadable:
    """A value that the command line could not read; told together with all other complaints."""

    complaint: str


@dataclass(frozen=True)
class Filled:
    """What became of raw values: the groups, the complaints, the notes for the user."""

    groups: dict[str, Arguments]
    complaints: list[str]
    notes: list[str]
    wrong: set[str]


def arguments_in(groups: Mapping[str, type[Arguments]]) -> dict[str, Argument]:
    """Every argument of some groups, by flat name."""
    return {argument.name: argument for group, kind in groups.items() for argument in declared(group, kind)}


def fill(
    groups: Mapping[str, type[Arguments]],
    raw: Mapping[str, Any],
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> Filled:
    """Sort raw values into groups and check each; a wrong one is told and left at its default.

    `elsewhere` are the arguments of other verbs, name → verb, which are taken with a note, so that one
    file may serve several verbs.
    """
    known = arguments_in(groups)
    sorted_raw: dict[str, dict[str, Any]] = {group: {} for group in groups}
    complaints: list[str] = []
    notes: list[str] = []
    wrong: set[str] = set()
    for name, value in raw.items():
        if name in known:
            sorted_raw[known[name].group][name] = value
            continue
        sentence, refused = _foreign(name, value, list(known), elsewhere)
        (complaints if refused else notes).append(sentence)
    made = {}
    for group, kind in groups.items():
        made[group], told = _validate(kind, sorted_raw[group], known)
        complaints += told.values()
        wrong |= set(told)
    return Filled(made, complaints, notes, wrong)


def _foreign(name: str, value: Any, known: list[str], elsewhere: Mapping[str, str]) -> tuple[str, bool]:
    """The sentence for a name that no group has, and whether it is a refusal."""
    if is_secret(name):
        return f"--{name} {SECRET}.", True
    if isinstance(value, Unreadable):
        return value.complaint, True
    if name in elsewhere:
        return f"--{name} is an argument of {elsewhere[name]} and asks for nothing here.", False
    refusal = refusals().get(name)
    if refusal is None:
        return f"--{shown(name)}: there is no such argument.{did_you_mean(name, [*known, *refusals()])}", True
    if refusal.asks_nothing(value):
        return f"--{name} {shown(value)} asks for nothing here and is left out: {refusal.why}.", False
    return f"--{name} {shown(value)}: not supported: {refusal.why}.", True


def _validate(
    kind: type[Arguments], values: dict[str, Any], known: Mapping[str, Argument]
) -> tuple[Arguments, dict[str, str]]:
    """The group, with each wrong value told by name and left at its default."""
    told: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Unreadable):
            told[name] = value.complaint
        elif isinstance(value, bool) and bool not in known[name].kinds:
            told[name] = _complaint(known[name], value)
    while True:
        try:
            return kind(**{name: value for name, value in values.items() if name not in told}), told
        except ValidationError as error:
            for item in error.errors():
                name = str(item["loc"][0])
                reason = item["msg"].removeprefix("Value error, ") if item["type"] == "value_error" else ""
                told.setdefault(name, _complaint(known[name], values[name], reason))


def _complaint(argument: Argument, value: Any, reason: str = "") -> str:
    why = f" ({reason})" if reason else ""
    hint = did_you_mean(str(value), argument.choices) if argument.choices else ""
    return f"--{argument.name} {shown(value)}: must be {argument.allowed}{why}.{hint}"


def shown(value: Any) -> str:
    """A value as a complaint shows it: one line, printable, not long."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= 80 else text[:77] + "…"
