"""RLOO: several answers to a prompt, each held against the mean of the others (arXiv 2402.14740)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from studio.arguments.base import arg
from studio.arguments.rewards import GroupArguments
from studio.recipe import STAGES
from studio.stages.answering import view
from studio.stages.base import Learner, Stage
from studio.stages.groups import METRICS, check, pass_steps, prompts_per_step, weight_of_kl

if TYPE_CHECKING:
    from studio.loop.parts import Parts


class RlooArguments(GroupArguments):
    """What only this stage asks."""

    normalize_advantages: bool = arg(False)
    """Scale how much better answers are to mean 0 and spread 1 over all of a step."""


def trainer(parts: Parts) -> Learner:
    """trl's RLOO in the studio's loop."""
    from studio.loop.groups import rloo_trainer

    own = cast(RlooArguments, parts.recipe.own)
    return rloo_trainer(parts, weight_of_kl(parts.recipe), normalize_advantages=own.normalize_advantages)


STAGES.add(
    "rloo",
    Stage(
        "rloo", "RLOO", RlooArguments, "prompts", view, trainer,
        metrics=METRICS, batch=prompts_per_step, pass_steps=pass_steps, check=check,
    ),
)  # fmt: skip
