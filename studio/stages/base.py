"""What a stage is: its name, its own arguments, how it sees rows, and how its trainer is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from studio.arguments.base import Arguments
from studio.recipe import STAGES, Recipe

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.loop.parts import Parts
    from studio.loop.trainer import StudioTrainer


class NoFields(Arguments):
    """A stage without arguments of its own."""


@dataclass(frozen=True)
class Stage:
    """A way of learning. `view` says how rows are rendered, `trainer` makes what trains on them."""

    name: str
    title: str
    fields: type[Arguments]
    view: Callable[[Recipe], View]
    trainer: Callable[[Parts], StudioTrainer]


def stage_of(recipe: Recipe) -> Stage:
    """The stage that a recipe names."""
    return cast(Stage, STAGES[recipe.stage])
