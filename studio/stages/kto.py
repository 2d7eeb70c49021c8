"""KTO: single answers, each wanted or not, without pairs and without a reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.arguments.base import arg
from studio.arguments.preference import PreferenceArguments
from studio.recipe import STAGES, Recipe, rule
from studio.stages.base import Learner, Stage, copies_start
from studio.stages.preferences import METRICS, check

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.loop.parts import Parts


class KtoArguments(PreferenceArguments):
    """What only this stage asks."""

    kto_chosen_weight: float = arg(1.0, ge=0)
    """Weight of the loss on wanted answers; raise it where they are few."""

    kto_rejected_weight: float = arg(1.0, ge=0)
    """Weight of the loss on unwanted answers; raise it where they are few."""


def view(recipe: Recipe) -> View:
    """Rows are answers with a verdict: loss on the last answer."""
    from studio.data.render import View

    return View(recipe.data.cutoff_len, wants="judged")


def trainer(parts: Parts) -> Learner:
    """Judged answers against a reference."""
    from studio.loop.kto import kto_trainer

    return kto_trainer(parts)


@rule("kto_chosen_weight", "kto_rejected_weight")
def _something_weighs(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, KtoArguments) and not own.kto_chosen_weight and not own.kto_rejected_weight:
        return "--kto_chosen_weight 0 and --kto_rejected_weight 0: with both nothing is learned. Raise one."
    return None


STAGES.add(
    "kto", Stage("kto", "KTO", KtoArguments, "judged", view, trainer, metrics=METRICS, check=check, copies=copies_start)
)
