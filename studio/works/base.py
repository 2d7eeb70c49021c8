"""What a work is: a command besides training that takes long, with a form of its own and a job that does it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from studio.arguments.base import Arguments, Names, Text, arg
from studio.recipe import ArgumentSet
from studio.registry import Registry
from studio.workspace import Workspace


class SourceOfRows(Arguments):
    """Which rows a work reads: datasets of the registry, or files without an entry."""

    dataset: Names = arg((), level="basic")
    """Names of the datasets in `dataset_info.json` to read."""

    train_file: Names = arg((), level="basic")
    """Files to read without an entry in `dataset_info.json`; form and columns are recognised."""

    dataset_dir: Text = arg("data")
    """Folder with the data files; a `dataset_info.json` inside it is read too."""


class WorkSet(ArgumentSet):
    """The arguments of a work; its groups are its fields."""

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read; each begins with `--name`."""
        return []


class Ear(Protocol):
    """Who hears of a work while it is done."""

    def say(self, sentence: str) -> None:
        """A sentence for the log."""

    def tell(self, done: float, total: float, text: str) -> None:
        """So much of so much, and what is being done; often is fine. Raises StoppedError when a stop was asked for."""


class Doer(Protocol):
    """The module that does a work; it may import anything, and is imported only to do it."""

    def run(self, asked: Any, place: Workspace, ear: Ear) -> dict[str, Any]:
        """Do it and return what came of it, as plain values. Raises StudioError children."""

    def as_text(self, found: dict[str, Any]) -> str:
        """What came of it, for a terminal."""


def _no_facts(_asked: Any, _place: Workspace) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Work:
    """One work. `words` are those after `studio`; `does` is the module with `run` and `as_text`.

    `kind` is that of its job: "data" goes on beside everything, "eval" has its device alone. `output` names the
    argument with the folder or file that is written, "" for none. `about` stands on top of its help.
    `facts` is a quick look for the page before the start, without a heavy import (sizes, what would be written); what
    stands in the way is raised, or told under "complaints" where the rest is of use all the same.
    A job that the machine ended starts again by itself, from its beginning: what it writes must appear whole.
    """

    name: str
    words: tuple[str, ...]
    asked: type[WorkSet]
    kind: Literal["data", "eval"]
    does: str
    about: str
    output: str = ""
    facts: Callable[[Any, Workspace], dict[str, Any]] = _no_facts

    def doer(self) -> Doer:
        """What does it."""
        return cast(Doer, importlib.import_module(self.does))

    def target(self, asked: WorkSet, place: Workspace) -> Path | None:
        """Where it writes; None when nothing is named. Raises StudioError for a place outside."""
        named = str(asked.flat().get(self.output) or "") if self.output else ""
        return place.target(named) if named else None


def _load() -> None:
    package = importlib.import_module("studio.works")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"studio.works.{module.name}")


# A file in studio/works adds itself here.
WORKS: Registry[Work] = Registry("work", _load)


def of_verb(verb: str) -> dict[str, Work]:
    """The works below a verb, by their second word: of_verb("data")["clean"]."""
    return {work.words[1]: work for work in (WORKS[name] for name in WORKS) if work.words[0] == verb}
