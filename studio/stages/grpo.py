"""GRPO: several answers to a prompt, each rewarded above or below the others (arXiv 2402.03300)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from studio.arguments.base import arg
from studio.arguments.rewards import GroupArguments
from studio.recipe import STAGES, rule
from studio.stages.answering import view
from studio.stages.base import Learner, Stage
from studio.stages.groups import METRICS, check, pass_steps, prompts_per_step, weight_of_kl

if TYPE_CHECKING:
    from studio.loop.parts import Parts
    from studio.recipe import Recipe


class GrpoArguments(GroupArguments):
    """What only this stage asks."""

    loss_type: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = arg("dapo")
    """How tokens are weighed. dapo: all tokens of a step alike; bnpo: of a micro-batch; grpo: each answer alike,
    however long; dr_grpo: by the longest answer that may be written."""

    scale_rewards: Literal["group", "batch", "none"] = arg("group")
    """Divide how much better an answer is by the spread of the rewards: of its prompt, of all, or not."""

    importance_sampling_level: Literal["token", "sequence"] = arg("token")
    """Whether a change of probability is measured for each token, or for an answer as a whole (GSPO)."""

    use_bias_correction_kl: bool = arg(True)
    """Weigh the KL divergence of a token by how much its probability changed, so that its gradient has no bias
    (arXiv 2512.02556); off, it is that of the first paper."""


def trainer(parts: Parts) -> Learner:
    """trl's GRPO in the studio's loop."""
    from studio.loop.groups import grpo_trainer

    own = cast(GrpoArguments, parts.recipe.own)
    return grpo_trainer(
        parts,
        weight_of_kl(parts.recipe),
        loss_type=own.loss_type,
        scale_rewards=own.scale_rewards,
        importance_sampling_level=own.importance_sampling_level,
        use_bias_correction_kl=own.use_bias_correction_kl,
    )


@rule("importance_sampling_level", "loss_type")
def _whole_answers(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, GrpoArguments) and own.importance_sampling_level == "sequence" and own.loss_type != "grpo":
        return (f"--importance_sampling_level sequence: goes with --loss_type grpo, since {own.loss_type} would weigh "
                "a whole answer by its length. Change one of them.")  # fmt: skip
    return None


@rule("use_bias_correction_kl", "beta")
def _a_divergence_that_counts(recipe: Recipe) -> str | None:
    own = recipe.own
    if not isinstance(own, GrpoArguments) or own.use_bias_correction_kl or weight_of_kl(recipe):
        return None
    return ("--use_bias_correction_kl False: says how the KL divergence is measured, and it costs nothing. Set --beta "
            "above 0, or leave it out.")  # fmt: skip


STAGES.add(
    "grpo",
    Stage(
        "grpo", "GRPO", GrpoArguments, "prompts", view, trainer,
        metrics=METRICS, batch=prompts_per_step, pass_steps=pass_steps, check=check,
    ),
)  # fmt: skip
