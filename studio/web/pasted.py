"""Text that a person pastes → values for the form: a command as it stands in a script or a guide, YAML or JSON.

In front of the arguments may stand what other programs are started with (python, torchrun, deepspeed, accelerate,
llamafactory-cli), settings of the environment, and lines of comments; lines may end with a backslash or not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.arguments.check import Unreadable, respell, shown
from studio.command import FILE_ENDINGS, read_raw, typed
from studio.errors import ArgumentError, StudioError
from studio.recipe import Recipe, arguments_of_all, make_recipe
from studio.settings_file import parse_settings
from studio.web.form import by_field
from studio.workspace import Workspace

LONGEST = 200_000
_ASSIGNED = re.compile(r"^([A-Za-z_]\w*)=(.*)$", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ENDS = re.compile(r"^(\d?>>?.*|\d?>&\d|&>.*|<.*|\||\|\||&&?|;)$")
_CLIS = ("studio", "llamafactory-cli", "lmf")
_MODULES = ("studio", "llamafactory.cli", "llamafactory.launcher")
# Modules that start others.
_STARTERS = (
    "torch.distributed.run",
    "torch.distributed.launch",
    "deepspeed.launcher.runner",
    "accelerate.commands.launch",
)
# What may stand in front of a command and says nothing of it.
_BEFORE = ("export", "env", "nohup", "set", "time", "$", "%", "!")
_COUNTS = ("--num_gpus", "--nproc_per_node", "--nproc-per-node", "--num_processes", "--nnodes", "--num_nodes")


@dataclass
class Pasted:
    """What a text says: values by our names, what the person should know, and what cannot be taken."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def read_pasted(text: str, place: Workspace) -> Pasted:
    """Values of a command or a settings file. Nothing is raised: what is wrong stands in `complaints`."""
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = Pasted()
    if len(text) > LONGEST:
        found.complaints.append(f"the text must be at most {LONGEST:,} characters; it has {len(text):,}.")
        return found
    try:
        if _is_settings(text):
            name = Path("pasted text.json" if text.lstrip().startswith("{") else "pasted text")
            raw = typed(parse_settings(text, name), arguments_of_all())
        else:
            raw = _command(text, place, found)
    except StudioError as error:
        found.complaints.append(str(error))
        return found
    _check(raw, found)
    return found


def _is_settings(text: str) -> bool:
    """Whether the first line that says something is that of a settings file."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith(("#", "---"))), "")
    return first.startswith("{") or bool(re.match(r"""^["']?[\w.-]+["']?\s*:(\s|$)""", first))


def _check(raw: Mapping[str, Any], found: Pasted) -> None:
    """Fill in the values; one that is wrong stays as it was written, so that the form shows it."""
    try:
        # The form names the folder of a run by itself.
        recipe, notes = make_recipe({"output_dir": "saves/pasted", **raw})
        found.notes += notes
        found.values = _said(recipe, raw)
    except ArgumentError as error:
        spelled, known = respell(raw), arguments_of_all()
        found.notes += spelled.notes
        written = {name: value for name, value in spelled.raw.items() if not isinstance(value, Unreadable)}
        found.values = {name: _plain(value) for name, value in written.items() if name in known}
        told = [line for complaint in error.complaints for line in complaint.split("\n")]
        # What is not said at all is asked for by the form, not here.
        found.complaints += [
            each for each in told if not by_field([each]) or {*by_field([each])} & {*raw, *spelled.raw}
        ]


def _said(recipe: Recipe, raw: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: _plain(value) for name, value in recipe.changes().items()}
    if "output_dir" not in respell(raw).raw:
        values.pop("output_dir", None)
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# -- commands


def _command(text: str, place: Workspace, found: Pasted) -> dict[str, Any]:
    """The raw values of the training command in a text."""
    try:
        words = _cut(shlex.split(_one_line(text)), found)
    except ValueError:
        raise StudioError("a quotation mark in the text is not closed. Copy the whole command.") from None
    words, settings = _without_settings(words, found)
    words = [_filled(word, settings, found) for word in words]
    words = _arguments(words, found)
    if not words:
        raise StudioError("the text holds no arguments: they look like --learning_rate 1e-4, or like name: value.")
    if not words[0].startswith("-") and "=" not in words[0] and not words[0].lower().endswith(FILE_ENDINGS):
        raise StudioError(f"{shown(words[0])!r} stands where the first argument must stand, such as --stage sft.")
    return read_raw(words, arguments_of_all(), place.root)


def _one_line(text: str) -> str:
    """The text without comments, on one line; a line may end with a backslash, a caret or a backtick, or with none."""
    text = re.sub(r"[ \t]*[\\`^][ \t]*\n", "\n", text)
    kept: list[str] = []
    quote, at = "", 0
    while at < len(text):
        mark = text[at]
        if mark == "\\" and quote != "'" and at + 1 < len(text):
            kept.append(text[at : at + 2])
            at += 2
            continue
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        elif mark == "#" and (at == 0 or text[at - 1].isspace()):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        elif mark == "\n":
            mark = " "
        kept.append(mark)
        at += 1
    return "".join(kept)


def _cut(words: list[str], found: Pasted) -> list[str]:
    """The words up to a pipe or a redirection behind the arguments; commands in front of the last one are left out."""
    flag = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    for place, word in enumerate(words):
        if _ENDS.match(word) or (word.endswith(";") and len(word) > 1):
            if place > flag:
                found.notes.append(f"what begins with {shown(word)!r} is for the shell and left out.")
                return words[:place] + ([word.rstrip(";")] if word.endswith(";") and word != ";" else [])
            if word in ("&&", ";", "||") or word.endswith(";"):
                return _assigned(words[:place]) + _cut(words[place + 1 :], found)
    return words


def _assigned(words: list[str]) -> list[str]:
    return [word.rstrip(";") for word in words if _ASSIGNED.match(word) and not word.startswith("-")]


def _without_settings(words: list[str], found: Pasted) -> tuple[list[str], dict[str, str]]:
    """The words without what is set for the environment in front of them, and what was set."""
    settings: dict[str, str] = {}
    rest = list(words)
    while rest and ((match := _ASSIGNED.match(rest[0])) or rest[0] in _BEFORE):
        if match:
            if not settings and match[1] in arguments_of_all():
                break
            settings[match[1]] = match[2]
        rest.pop(0)
    text = " ".join(rest)
    # Values are never shown: a token may be among them.
    told = [name for name in settings if f"${name}" not in text and f"${{{name}}}" not in text]
    if told:
        found.notes.append(
            f"{', '.join(told)} stood in front of the command and is left out. Devices are chosen in the form; other "
            "settings belong into the environment that the studio is started with."
        )
    return rest, settings


def _filled(word: str, settings: Mapping[str, str], found: Pasted) -> str:
    """A word with the shell's variables filled in where the text says what they are."""

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in settings:
            return settings[name]
        found.complaints.append(
            f"{shown(word)}: holds the shell variable ${name}, and the text does not say what it is."
        )
        return match[0]

    return _VARIABLE.sub(fill, word)


def _arguments(words: list[str], found: Pasted) -> list[str]:
    """The words behind what starts the program."""
    for place, word in enumerate(words):
        name = word.rsplit("/", 1)[-1]
        module = words[place - 1] == "-m" if place else False
        if name in _CLIS or (module and word in _MODULES):
            return _after_verb(words[place + 1 :], found)
        if (module and word not in _STARTERS) or (name.endswith(".py") and not word.startswith("-")):
            _tell_start(words[:place], found)
            rest = words[place + 1 :]
            return _after_verb(rest, found) if rest[:1] == ["train"] else rest
        if word.startswith("--") and not _starts(words[:place]):
            break
    return words[1:] if words[:1] == ["train"] else words


def _starts(words: list[str]) -> bool:
    names = {word.rsplit("/", 1)[-1] for word in words}
    return bool(names & {"torchrun", "deepspeed", "accelerate", "srun", "ray", *_STARTERS})


def _after_verb(words: list[str], found: Pasted) -> list[str]:
    verb = words[0] if words and not words[0].startswith("-") else "train"
    if verb == "train" or verb.lower().endswith(FILE_ENDINGS):
        return words[1:] if words[:1] == ["train"] else words
    raise StudioError(
        f"this is a command to {shown(verb)}, not to train. The form takes training commands; look at the other tabs."
    )


def _tell_start(words: list[str], found: Pasted) -> None:
    """Say what of the start is chosen in the form."""
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        value = value or (words[place + 1] if place + 1 < len(words) else "")
        if name in _COUNTS and value not in ("", "1"):
            found.notes.append(f"{name} {shown(value)} says how many processes start: here each chosen GPU gets one.")
        elif name in ("--include", "--gpu_ids"):
            found.notes.append(f"{name} {shown(value)} names devices: choose them in the form.")
