"""Supervised fine-tuning: the tokens of the answers are learned, given all that stands before."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from studio.arguments.base import Arguments, arg
from studio.recipe import STAGES, Recipe, rule
from studio.stages.base import TOKEN_METRICS, Learner, Stage

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.loop.parts import Parts


class SftArguments(Arguments):
    """What only this stage asks."""

    train_on_prompt: bool = arg(False)
    """Learn the questions too, not only the answers."""

    mask_history: bool = arg(False)
    """Learn only the last answer of a conversation."""


def view(recipe: Recipe) -> View:
    """Rows are conversations: loss on the answers."""
    own = cast(SftArguments, recipe.own)
    from studio.data.render import View

    return View(recipe.data.cutoff_len, own.train_on_prompt, own.mask_history)


def trainer(parts: Parts) -> Learner:
    """Next-token prediction on the answers."""
    from studio.loop.causal import causal_trainer

    return causal_trainer(parts)


@rule("train_on_prompt", "mask_history")
def _one_way_to_mask(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, SftArguments) and own.train_on_prompt and own.mask_history:
        return "--train_on_prompt True and --mask_history True contradict each other: keep one."
    return None


STAGES.add(
    "sft",
    Stage(
        "sft",
        "Supervised Fine-Tuning",
        SftArguments,
        "answers",
        view,
        trainer,
        metrics=TOKEN_METRICS,
        packs=True,
        streams=True,
    ),
)
