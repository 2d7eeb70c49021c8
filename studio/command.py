"""Recipe ⇄ argument list, file and shell line: the inverse functions, in one place.

Reading: `[file.yaml|json] key=value … --flag value --flag=value --flag`. What the line says wins
over what the file says. Everything is read as text first; the declared type decides what it means.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from studio.arguments.base import Argument
from studio.arguments.refused import refusals
from studio.errors import UsageError
from studio.recipe import (
    ArgumentSet,
    Recipe,
    Set,
    Unreadable,
    arguments_in,
    arguments_of,
    groups_of,
    make_recipe,
    make_set,
)
from studio.registry import did_you_mean
from studio.settings_file import read_settings

FILE_ENDINGS = (".yaml", ".yml", ".json")


def to_argv(recipe: ArgumentSet) -> list[str]:
    """The arguments of the command that says this recipe, shortest form."""
    words: list[str] = []
    changes = recipe.changes()
    if isinstance(recipe, Recipe):
        changes = {"stage": recipe.stage, **changes}
    for name, value in changes.items():
        text = to_text(value)
        # A value that is empty or looks like a flag must hang on its name to be read as a value.
        words += [f"--{name}={text}"] if text == "" or text.startswith("-") else [f"--{name}", text]
    return words


def to_shell(recipe: Recipe) -> str:
    """One line to paste into a shell."""
    return shlex.join(["studio", "train", *to_argv(recipe)])


def to_yaml(recipe: ArgumentSet) -> str:
    """A file for `studio train FILE`."""
    changes = {name: list(v) if isinstance(v, tuple) else v for name, v in recipe.changes().items()}
    if isinstance(recipe, Recipe):
        changes = {"stage": recipe.stage, **changes}
    return yaml.safe_dump(changes, sort_keys=False, allow_unicode=True, width=10_000)


def to_text(value: Any) -> str:
    """A value as a command writes it."""
    if isinstance(value, tuple | list):
        return ",".join(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def read_recipe(words: Sequence[str]) -> tuple[Recipe, list[str]]:
    """The recipe that a training command's arguments say, and notes for the user.

    Raises ArgumentError with all complaints.
    """
    raw = read_raw(words, None)
    return make_recipe(raw)


def read_set(kind: type[Set], words: Sequence[str]) -> tuple[Set, list[str]]:
    """The arguments of another verb, and notes for the user. Raises ArgumentError with all complaints."""
    known = {**arguments_of("sft"), **arguments_in(groups_of(kind))}
    return make_set(kind, read_raw(words, known))


def read_raw(words: Sequence[str], known: Mapping[str, Argument] | None) -> dict[str, Any]:
    """Raw values by flat name, from an optional file, `key=value` words and flags.

    `known` are the arguments of the verb; None means those of a training command, whose stage is
    itself one of the arguments.
    """
    words = list(words)
    raw: dict[str, Any] = {}
    if words and words[0].lower().endswith(FILE_ENDINGS) and not words[0].startswith("-"):
        raw.update(read_settings(Path(words.pop(0))))
    while words and not words[0].startswith("-") and "=" in words[0]:
        name, _, text = words.pop(0).partition("=")
        raw[name.strip()] = text
    if known is None:
        known = arguments_of(_stage_of(words, raw))
    given = _read_flags(words, known)
    return {**{name: _value(known.get(name), text) for name, text in raw.items()}, **given}


def _stage_of(words: list[str], raw: Mapping[str, Any]) -> str:
    for index, word in enumerate(words):
        if word.startswith("--stage="):
            return word.partition("=")[2]
        if word == "--stage" and index + 1 < len(words):
            return words[index + 1]
    return str(raw.get("stage", "sft"))


def _read_flags(words: Sequence[str], known: Mapping[str, Argument]) -> dict[str, Any]:
    """Flags by name; argparse splits the words, the declared type reads the value."""
    hanging: dict[str, Any] = {}
    rest: list[str] = []
    for word in words:
        name, equals, text = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals:
            hanging[name] = text
        else:
            rest.append(word)
    names = [word.partition("=")[0] for word in words if word.startswith("--")]
    twice = {name.removeprefix("--") for name in names if names.count(name) > 1}
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name in dict.fromkeys([*known, *refusals()]):
        parser.add_argument(f"--{name}", nargs="*", dest=name)
    found, foreign = parser.parse_known_args(rest)
    given = {**_foreign(foreign), **{name: list(parts) for name, parts in vars(found).items()}}
    values = {name: _joined(known.get(name), name, parts) for name, parts in given.items()}
    hanging = {name: _value(known.get(name), text) for name, text in hanging.items()}
    # One flag, one value: which of two would count must not be left to guessing.
    doubled = {name: Unreadable(f"--{name}: stands more than once. Keep one.") for name in twice}
    return {**values, **hanging, **doubled}


def _foreign(words: list[str]) -> dict[str, list[str]]:
    """Flags that nobody declared, with what follows them; a word before any flag is an error."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("-"):
            name = word.lstrip("-")
            found[name] = []
        elif name:
            found[name].append(word)
        else:
            raise UsageError(
                f"{word!r} stands where a flag must stand. Write --name value, or key=value after a "
                "settings file."
            )
    return found


def _joined(argument: Argument | None, name: str, parts: list[str]) -> Any:
    if argument is None:
        return " ".join(parts) if parts else True
    if not parts:
        if argument.is_flag:
            return True
        return Unreadable(f"--{name}: needs a value, {argument.allowed}.")
    if tuple in argument.kinds:
        return ",".join(parts)
    if len(parts) > 1:
        return Unreadable(
            f"--{name} {' '.join(parts)}: takes one value, {argument.allowed}. Quote text with blanks."
        )
    return _value(argument, parts[0])


def _value(argument: Argument | None, value: Any) -> Any:
    """Text as the declared type wants it; what is not text is left to the type's own check."""
    if argument is None or not isinstance(value, str):
        return value
    if argument.optional and value.lower() in ("none", "null", ""):
        return None
    if dict in argument.kinds and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError as error:
            return Unreadable(f"--{argument.name}: must be a JSON object; {error}.")
    return value


def help_text(verb: str, known: Iterable[Argument], word: str = "") -> str:
    """The help page of a verb, by group; `word` narrows it to arguments that mention it."""
    chosen = [argument for argument in known if _mentions(argument, word)]
    if word and not chosen:
        raise UsageError(f"no argument of studio {verb} mentions {word!r}.{did_you_mean(word, refusals())}")
    lines = []
    group = ""
    for argument in chosen:
        if argument.group != group:
            group = argument.group
            lines.append(f"\n{group}:")
        default = "" if argument.default in (None, "", ()) else f" [{to_text(argument.default)}]"
        about = (argument.choices and " {" + ",".join(argument.choices) + "}") or ""
        if len(about) > 90:
            about = " {…}"
        lines.append(f"  --{argument.name}{about}{default}")
        lines.append(f"      {argument.help}")
    return "\n".join(lines)


def _mentions(argument: Argument, word: str) -> bool:
    if word == "all":
        return True
    if not word:
        return argument.group != "upstream"
    return word.lower() in f"{argument.name} {argument.help}".lower()
