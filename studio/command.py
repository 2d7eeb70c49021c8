"""Recipe ⇄ argument list, file and shell line: the inverse functions, in one place.

Reading: `[file.yaml|json] key=value … --flag value --flag=value --flag`. What the line says wins
over what the file says. Everything is read as text first; the declared type decides what it means.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.arguments.aliases import Alias, aliases
from studio.arguments.base import Argument
from studio.arguments.check import Unreadable, arguments_in, shown
from studio.arguments.refused import refusals
from studio.errors import UsageError
from studio.recipe import (
    STAGES,
    ArgumentSet,
    Recipe,
    Set,
    arguments_of_all,
    groups_of,
    make_recipe,
    make_set,
)
from studio.registry import did_you_mean
from studio.settings_file import read_settings
from studio.workspace import resolve

FILE_ENDINGS = (".yaml", ".yml", ".json")
UNSET = ("none", "null", "")


def said(recipe: ArgumentSet) -> dict[str, Any]:
    """What must be said to get this set: the stage, and what differs from the defaults."""
    changes = recipe.changes()
    return {"stage": recipe.stage, **changes} if isinstance(recipe, Recipe) else changes


def to_argv(recipe: ArgumentSet) -> list[str]:
    """The arguments of the command that says this recipe, shortest form."""
    words: list[str] = []
    for name, value in said(recipe).items():
        text = to_text(value)
        # A value that is empty or looks like a flag must hang on its name to be read as a value.
        words += [f"--{name}={text}"] if text == "" or text.startswith("-") else [f"--{name}", text]
    return words


def to_shell(recipe: Recipe) -> str:
    """One line to paste into a shell."""
    return shlex.join(["studio", "train", *to_argv(recipe)])


def to_yaml(recipe: ArgumentSet) -> str:
    """A file for `studio train FILE`."""
    import yaml

    class Quoted(str):
        """Text in double quotes, where every odd character is escaped."""

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml is not typed
        """With a way to write such text."""

    def quote(value: Any, *, inside: bool = False) -> Any:
        if isinstance(value, dict):
            return {quote(name, inside=True): quote(item, inside=True) for name, item in value.items()}
        if isinstance(value, tuple | list):
            return [quote(item, inside=inside) for item in value]
        # Inside an object plain text might be read as a number.
        return Quoted(value) if isinstance(value, str) and (inside or not value.isprintable()) else value

    Dumper.add_representer(Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, '"'))
    # The same object twice would be written once, with a mark, which is refused when read.
    Dumper.ignore_aliases = lambda _dumper, _value: True
    values = {name: quote(value) for name, value in said(recipe).items()}
    text: str = yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return text


def to_text(value: Any) -> str:
    """A value as a command writes it."""
    if isinstance(value, tuple | list):
        return ",".join(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def read_recipe(words: Sequence[str], root: Path | None = None) -> tuple[Recipe, list[str]]:
    """The recipe that a training command's arguments say, and notes for the user.

    A settings file lies in the workspace `root`, or where the command is typed.

    Raises UsageError when the words are no flags and values, ArgumentError with all other complaints.
    """
    return make_recipe(read_raw(words, arguments_of_all(), root))


def read_set(kind: type[Set], words: Sequence[str], root: Path | None = None) -> tuple[Set, list[str]]:
    """The arguments of another verb, and notes for the user. Raises ArgumentError with all complaints."""
    known = {**arguments_of_all(), **arguments_in(groups_of(kind))}
    return make_set(kind, read_raw(words, known, root))


def read_raw(words: Sequence[str], known: Mapping[str, Argument], root: Path | None = None) -> dict[str, Any]:
    """Raw values by flat name, from an optional file, `key=value` words and flags.

    `known` are the arguments that the words may name; they decide how many words a flag takes.
    """
    rest = list(words)
    from_file: dict[str, Any] = {}
    if rest and rest[0].lower().endswith(FILE_ENDINGS) and not rest[0].startswith("-"):
        name = rest.pop(0)
        places = [resolve(folder, name) for folder in (root, Path.cwd()) if folder is not None]
        from_file = read_settings(next((path for path in places if path.exists()), places[0]))
    pairs: list[tuple[str, str]] = []
    while rest and not rest[0].startswith("-") and "=" in rest[0]:
        name, _, text = rest.pop(0).partition("=")
        pairs.append((name.strip(), text))
    hanging, rest = _hanging(rest)
    pairs += hanging
    flags = _read_flags(rest, known)
    values = typed(from_file | dict(pairs), known)
    counts = Counter([name for name, _ in pairs] + [word[2:] for word in rest if word.startswith("--")])
    # One argument, one value: which of two would count must not be left to guessing.
    doubled = {
        name: Unreadable(f"--{shown(name)}: stands more than once. Keep one.") for name, n in counts.items() if n > 1
    }
    return {**values, **flags, **doubled}


def typed(raw: Mapping[str, Any], known: Mapping[str, Argument]) -> dict[str, Any]:
    """Values by name as their declared types want them, where they came as text: from a file or a form."""
    return {name: _value(_meant(name, known), value) for name, value in raw.items()}


def _hanging(words: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Values that hang on their flag, and the other words; `--a-b` is read as `--a_b`.

    `--name=value` is one; so is a value after its flag that begins with a dash, as in `--name -1e-3`.
    """
    hanging: list[tuple[str, str]] = []
    rest: list[str] = []
    for word in words:
        if word.startswith("--") and word != "--":
            name, equals, text = word[2:].partition("=")
            name = name.replace("-", "_")
            if equals:
                hanging.append((name, text))
            else:
                rest.append(f"--{name}")
        elif word.startswith("-") and word != "--" and rest and rest[-1].startswith("--"):
            hanging.append((rest.pop()[2:], word))
        else:
            rest.append(word)
    return hanging, rest


def _meant(name: str, known: Mapping[str, Argument]) -> Argument | None:
    """The argument that a name stands for, under whose type its value is read; None is plain text."""
    alias = aliases().get(name)
    if alias is None or name in known:
        return known.get(name)
    return None if alias.is_flag else known.get(alias.ours)


@functools.lru_cache(maxsize=8)
def _parser(names: tuple[str, ...]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name in names:
        parser.add_argument(f"--{name}", nargs="*", dest=name)
    return parser


def _read_flags(words: list[str], known: Mapping[str, Argument]) -> dict[str, Any]:
    """Flags by name; argparse splits the words, the declared type reads the value."""
    parser = _parser(tuple(dict.fromkeys([*known, *aliases(), *refusals()])))
    found, foreign = parser.parse_known_args(words)
    given = {**_foreign(foreign), **{name: list(parts) for name, parts in vars(found).items()}}
    return {name: _joined(_meant(name, known), name, parts) for name, parts in given.items()}


def _foreign(words: list[str]) -> dict[str, list[str]]:
    """Flags that nobody declared, with what follows them; a word before any flag is an error."""
    found: dict[str, list[str]] = {}
    name = None
    for word in words:
        if word.startswith("--") and word != "--":
            name = word[2:]
            found[name] = []
        elif name is not None and not word.startswith("-"):
            found[name].append(word)
        elif word.startswith("-"):
            raise UsageError(
                f"{shown(word)!r} stands where a flag must stand: flags begin with two dashes and a name. A value "
                f"that begins with a dash hangs on its flag: --name={shown(word)}"
            )
        else:
            raise UsageError(
                f"{shown(word)!r} stands where a flag must stand. Write --name value, or key=value after a "
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
            f"--{name} {shown(' '.join(parts))}: takes one value, {argument.allowed}. Quote text with blanks."
        )
    return _value(argument, parts[0])


def _value(argument: Argument | None, value: Any) -> Any:
    """Text as the declared type wants it; what is not text is left to the type's own check."""
    if argument is None or not isinstance(value, str):
        return value
    if argument.optional and value.strip().lower() in UNSET:
        return None
    if dict not in argument.kinds:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        why = f"{error}" if isinstance(error, ValueError) else "it is nested too deeply"
        return Unreadable(f"--{argument.name} {shown(value)}: must be {argument.allowed}; {why}.")


def help_text(verb: str, known: Iterable[Argument], word: str = "") -> str:
    """The help page of a verb, by group; `word` narrows it to arguments that mention it.

    Raises UsageError when none does.
    """
    known = list(known)
    alias = _other_name(word)
    chosen = [argument for argument in known if _mentions(argument, word) or (alias and argument.name == alias.ours)]
    if word and not chosen:
        if refusal := refusals().get(word.removeprefix("--").replace("-", "_")):
            raise UsageError(f"--{refusal.name}: not supported: {refusal.why}.")
        names = [*(argument.name for argument in known), *aliases(), *refusals()]
        raise UsageError(f"no argument of studio {verb} mentions {word!r}.{did_you_mean(word, names)}")
    rule = f": {alias.rule}" if alias and alias.rule else ""
    lines = [f"\n--{alias.name} is another name for --{alias.ours}{rule}."] if alias else []
    group = ""
    for argument in chosen:
        if argument.group != group:
            group = argument.group
            lines.append(f"\n{_title(group)}:")
        lines += _lines(argument)
    return "\n".join([*lines, "\n* basic: what most runs set"])


def _other_name(word: str) -> Alias | None:
    alias = aliases().get(word.removeprefix("--").replace("-", "_"))
    return alias if alias and alias.name != alias.ours else None


def _title(group: str) -> str:
    if group == "own":
        stage = STAGES["sft"]
        return f"stage {stage.name}: {stage.title}"
    return "of transformers.TrainingArguments" if group == "upstream" else group


def _lines(argument: Argument) -> list[str]:
    default = "" if argument.default in (None, "", ()) else f" [{to_text(argument.default)}]"
    choices = " {" + ",".join(argument.choices) + "}" if argument.choices else ""
    mark = "*" if argument.level == "basic" else " "
    only = f" (finetuning_type {', '.join(argument.methods)})" if argument.methods else ""
    return [
        f"{mark} --{argument.name}{choices if len(choices) <= 90 else ' {…}'}{default}",
        f"      {argument.help}{only}",
    ]


def _mentions(argument: Argument, word: str) -> bool:
    if word == "all":
        return True
    if not word:
        return argument.group != "upstream"
    plain = word.lower().removeprefix("--")
    return plain in f"{argument.name} {argument.help} {' '.join(argument.methods)}".lower()
