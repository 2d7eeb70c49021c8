"""Pretraining goes on: every token of every text is learned (stage pt)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.recipe import STAGES, Recipe
from studio.stages.base import TOKEN_METRICS, Learner, NoFields, Stage

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.loop.parts import Parts


def view(recipe: Recipe) -> View:
    """Rows are documents: loss on all of their tokens, long ones go on in further rows."""
    from studio.data.render import View

    return View(cutoff_len=recipe.data.cutoff_len, wants="documents")


def trainer(parts: Parts) -> Learner:
    """Next-token prediction."""
    from studio.loop.causal import causal_trainer

    return causal_trainer(parts)


STAGES.add(
    "pt",
    Stage("pt", "Pre-Training", NoFields, "documents", view, trainer, metrics=TOKEN_METRICS, packs=True, streams=True),
)
