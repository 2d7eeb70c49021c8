"""From raw values to checked groups: every value goes to the group that declares its name.

An other name is read as ours, with a note. A wrong value, an unknown name, a refused one and a secret
each become a sentence; all are told together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from studio.arguments.aliases import Alias, aliases
from studio.arguments.base import Argument, Arguments, declared
from studio.arguments.refused import SECRET, is_secret, plain, refusals
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


@dataclass(frozen=True)
class Respelled:
    """Raw values under our names, what to tell about that, and the other names by ours."""

    raw: dict[str, Any]
    notes: list[str]
    written: dict[str, list[str]]

    def explain(self, complaints: list[str]) -> list[str]:
        """The same complaints; one about a name that stood otherwise in the command says so."""
        return [complaint + "".join(self._origins(complaint)) for complaint in complaints]

    def _origins(self, complaint: str) -> Iterator[str]:
        # What is wrong stands before the colon; behind it may stand what to write instead.
        told = set(re.findall(r"--(\w+)", complaint.partition(": ")[0]))
        for ours, names in self.written.items():
            if ours in told and not told & set(names):
                yield f" (--{ours} was written {' and '.join(f'--{name}' for name in names)}.)"


def respell(raw: Mapping[str, Any]) -> Respelled:
    """Other names as ours. Two names for one argument may stand together only with the same value."""
    values: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for name, value in raw.items():
        alias = aliases().get(name)
        if alias is None or isinstance(value, Unreadable):
            values.setdefault(alias.ours if alias else name, {})[name] = value
        elif alias.name != alias.ours and alias.asks_nothing(value):
            notes.append(f"--{name} {shown(value)} asks for nothing here and is left out.")
        else:
            value, note = _read(alias, value)
            values.setdefault(alias.ours, {})[name] = value
            notes += note
    written = {ours: [name for name in said if name != ours] for ours, said in values.items() if list(said) != [ours]}
    return Respelled({ours: _agreed(ours, said, raw) for ours, said in values.items()}, notes, written)


def _read(alias: Alias, value: Any) -> tuple[Any, list[str]]:
    """A value under our name, with its note."""
    if complaint := alias.complaint(value):
        return Unreadable(f"--{alias.name} {shown(value)}: {complaint}."), []
    read = alias.read(value)
    if alias.name == alias.ours:
        return read, [] if read is value else [f"--{alias.name} {shown(value)} is read as {read}."]
    remark = f" ({alias.remark})" if alias.remark else ""
    return read, [f"--{alias.name} {shown(value)} is read as --{alias.ours} {shown(read)}{remark}."]


def _agreed(ours: str, said: Mapping[str, Any], raw: Mapping[str, Any]) -> Any:
    """The one value of an argument that may stand under several names."""
    own = said.get(ours, Unreadable(""))
    others = {name: value for name, value in said.items() if name != ours}
    weak = own is None or (plain(own) == "off" and any(aliases()[name].share for name in others))
    chosen = others if others and (ours not in said or weak) else dict(said)
    for value in chosen.values():
        if isinstance(value, Unreadable):
            return value
    if len({plain(shown(value)) for value in chosen.values()}) == 1:
        return next(iter(chosen.values()))
    words = " and ".join(f"--{name} {shown(raw[name])}" for name in chosen)
    return Unreadable(f"{words} contradict each other: all of them say --{ours}. Keep one.")


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
    spelled = respell(raw)
    sorted_raw: dict[str, dict[str, Any]] = {group: {} for group in groups}
    complaints: list[str] = []
    notes = list(spelled.notes)
    wrong: set[str] = set()
    for name, value in spelled.raw.items():
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
    return Filled(made, spelled.explain(complaints), notes, wrong)


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
        near = did_you_mean(name, [*known, *aliases(), *refusals()])
        return f"--{shown(name)}: there is no such argument.{near}", True
    if refusal.asks_nothing(value):
        return f"--{name} {shown(value)} asks for nothing here and is left out: {refusal.fact}.", False
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
