"""`eval_methods`: works of `studio eval` that are done on the model in memory while it learns.

A method is a work whose module has `while_training(asked, place, template)`: it reads what is needed once, and gives
what measures a loaded model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from studio.arguments.check import fill
from studio.errors import StudioError
from studio.evaluate.kept import Result
from studio.evaluate.opening import Subject
from studio.recipe import groups_of
from studio.registry import did_you_mean
from studio.works.base import WORKS, WorkSet, of_verb
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.model.generate import Speaker
    from studio.model.templates import Template

ARGUMENT = "eval_methods"
# A name stands in keys of the curve and in names of files.
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# The run says these itself: its model, its batch size, where numbers go.
_OWN = ("model", "measured")


class Measurer(Protocol):
    """What measures a loaded model, the same each time."""

    def __call__(self, speaker: Speaker, subject: Subject, name: str) -> Result:
        """The numbers of the model as it is now. Raises StudioError."""


@dataclass(frozen=True)
class Chosen:
    """One entry of eval_methods: its name, its work, and what is asked."""

    name: str
    work: str
    asked: WorkSet


def known_methods() -> dict[str, str]:
    """Method → work, of those that can measure a model in memory."""
    works = of_verb("eval")
    return {word: work.name for word, work in works.items() if hasattr(work.doer(), "while_training")}


def chosen(methods: Mapping[str, Any], batch_size: int) -> tuple[list[Chosen], list[str]]:
    """What eval_methods asks for, and its complaints; each begins with the argument and the name."""
    found, told = [], []
    known = known_methods()
    for name, options in methods.items():
        place = f"--{ARGUMENT} {name}"
        if not NAME.fullmatch(name):
            told.append(f"--{ARGUMENT}: a name must be small letters, digits and _, at most 40, a letter first; "
                        f"got {name!r}. Choose another.")  # fmt: skip
        elif not isinstance(options, Mapping):
            told.append(f'{place}: must be arguments of its method, such as {{"method": "choice", "task_dir": '
                        f'"data/ceval"}}; got {options!r}.')  # fmt: skip
        else:
            method = str(options.get("method", name))
            if method not in known:
                told.append(f"{place}: method must be one of {', '.join(known)}; got {method!r}."
                            f"{did_you_mean(method, known)}")  # fmt: skip
                continue
            asked, complaints = _asked(known[method], options, batch_size)
            told += [f"{place}: {complaint}" for complaint in complaints]
            if asked is not None:
                found.append(Chosen(name, known[method], asked))
    return found, told


def _asked(work: str, options: Mapping[str, Any], batch_size: int) -> tuple[WorkSet | None, list[str]]:
    groups = groups_of(WORKS[work].asked)
    theirs = [name for group in _OWN for name in groups[group].model_fields]
    raw = {name: value for name, value in options.items() if name != "method"}
    if twice := [f"--{name}" for name in raw if name in theirs]:
        return None, [f"{', '.join(twice)}: the run itself says what is measured, and where it goes. Leave it out."]
    filled = fill({group: kind for group, kind in groups.items() if group not in _OWN}, raw)
    if filled.complaints:
        return None, filled.complaints
    measured = groups["measured"].model_validate({"per_device_eval_batch_size": batch_size})
    # Its own rules want a model too, which here is the one that learns.
    model = groups["model"].model_validate({"model_name_or_path": "the model that learns"})
    asked = WORKS[work].asked.model_validate({**filled.groups, "model": model, "measured": measured})
    return asked, asked.complaints()


def ready(each: Chosen, place: Workspace, template: Template | None) -> Measurer:
    """Read what a method needs, once for the run. Raises StudioError that begins with the argument and the name."""
    doer: Any = WORKS[each.work].doer()
    try:
        measurer: Measurer = doer.while_training(each.asked, place, template)
    except StudioError as error:
        raise type(error)(*_with_place(error, f"--{ARGUMENT} {each.name}: ")) from error
    return measurer


def _with_place(error: StudioError, place: str) -> tuple[Any, ...]:
    complaints = getattr(error, "complaints", None)
    return ([place + each for each in complaints],) if complaints else (place + str(error),)
