"""Proximal policy optimisation: the model answers prompts, and learns from the rewards of its answers (stage ppo)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from studio.arguments.base import arg
from studio.arguments.preference import ReferenceArguments
from studio.arguments.rewards import RolloutArguments
from studio.recipe import STAGES, Recipe, rule
from studio.rules.optimizers import WITHIN_BACKWARD
from studio.stages.answering import no_room, unused, view
from studio.stages.base import Learner, Stage, copies_start, rows_per_step

if TYPE_CHECKING:
    from studio.loop.parts import Parts
    from studio.material import Material
    from studio.workspace import Workspace


class PpoArguments(RolloutArguments, ReferenceArguments):
    """What only this stage asks: how answers are gathered, judged and learned from (arXiv 1707.06347, 2203.02155)."""

    ppo_buffer_size: int = arg(1, level="basic", ge=1, le=4096)
    """Minibatches of answers that are written before the model learns from them."""

    ppo_epochs: int = arg(4, level="basic", ge=1, le=100)
    """How often each answer is learned from before new ones are written."""

    ppo_kl_control: Literal["adaptive", "fixed"] = arg("adaptive")
    """adaptive moves the weight of the KL penalty towards ppo_target; fixed leaves it at ppo_kl_coef."""

    ppo_target: float = arg(6.0, level="basic", gt=0)
    """Mean KL of a whole answer from the reference, in nats, that the adaptive penalty keeps to; alarms use it too."""

    ppo_kl_coef: float = arg(0.2, level="basic", ge=0)
    """Weight of the KL penalty at the start."""

    ppo_kl_horizon: float = arg(10_000, gt=0)
    """Answers over which the adaptive penalty makes up for a KL that is off its target."""

    ppo_target_kl: float | None = arg(None, gt=0)
    """End the epochs of a step once the policy is this far from the one that wrote the answers, in nats a token."""

    ppo_score_norm: bool = arg(False)
    """Scale rewards by the mean and spread of all so far."""

    ppo_whiten_rewards: bool = arg(False)
    """Scale the rewards of the tokens of a step, penalty included, to a spread of 1."""

    ppo_missing_end_penalty: float | None = arg(None, gt=0)
    """Taken from the reward of an answer that was broken off at max_new_tokens."""

    ppo_gamma: float = arg(1.0, gt=0, le=1)
    """How much a reward one token later still counts."""

    ppo_lambda: float = arg(0.95, ge=0, le=1)
    """Advantages: 0 trusts the value head, 1 the rewards that came."""

    ppo_clip_range: float = arg(0.2, gt=0, lt=1)
    """How far the probability of a token may move in a step, as a share of it, before its gradient is cut."""

    ppo_clip_range_value: float = arg(0.2, gt=0)
    """How far the value of a token may move in a step."""

    ppo_value_weight: float = arg(0.1, ge=0)
    """Weight of the loss of the value head."""

    ppo_value_learning_rate: float | None = arg(None, gt=0, le=10)
    """Highest learning rate of the value head; unset: learning_rate."""

    ppo_entropy_weight: float = arg(0.0, ge=0)
    """Reward for keeping several tokens likely."""

    ppo_engine: Literal["own", "vllm"] = arg("own")
    """What writes the answers: own, the model that learns itself; vllm, an engine beside it, on a GPU with room for
    both."""


_NO_LOADER = "prompts are drawn a step at a time, without loaders of batches"
# What the other stages use and this one does not, with the reason.
_UNUSED = {
    "lora_dropout": "the same policy is compared before and after each update, and dropout would make two of it",
    "ignore_data_skip": "the prompts of a step are found without going through those before it",
    "dataloader_drop_last": "the last step of a pass is filled up with prompts from its beginning",
    "dataloader_num_workers": _NO_LOADER,
    "dataloader_pin_memory": _NO_LOADER,
    "dataloader_in_order": _NO_LOADER,
}


def trainer(parts: Parts) -> Learner:
    """Rollouts, rewards, updates."""
    from studio.loop.ppo import ppo_trainer

    return ppo_trainer(parts)


def answers_per_step(recipe: Recipe) -> int:
    """Prompts that are answered in one step in one process."""
    return rows_per_step(recipe) * cast(PpoArguments, recipe.own).ppo_buffer_size


def check(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """What the sources of rewards, the reference and the model's context forbid."""
    from studio.loop.ref_model import complaints as of_reference
    from studio.rewards.choose import complaints as of_rewards

    told = [*of_rewards(recipe, material, place), *of_reference(recipe, material, place)]
    if cast(PpoArguments, recipe.own).ppo_engine == "vllm":
        from studio.loop.rollout_vllm import complaints as of_vllm

        told += of_vllm(recipe, material)
    return [*told, *filter(None, [no_room(recipe, material)])]


@rule("stage", *_UNUSED)
def _what_has_no_place_here(recipe: Recipe) -> str | None:
    return unused(recipe, _UNUSED) if recipe.stage == "ppo" else None


@rule("stage", "lr_scheduler_type")
def _no_loss_to_follow(recipe: Recipe) -> str | None:
    asked = recipe.training.lr_scheduler_type
    if recipe.stage != "ppo" or asked not in ("reduce_lr_on_plateau", "greedy"):
        return None
    return f"--lr_scheduler_type {asked}: follows a held-out loss, and PPO has none. Use linear, cosine or constant."


@rule("stage", "optim")
def _an_optimizer_of_its_own_steps(recipe: Recipe) -> str | None:
    optim = recipe.training.optim
    if recipe.stage != "ppo" or not optim.startswith(WITHIN_BACKWARD):
        return None
    return (
        f"--optim {optim}: is driven from within the loop of the other stages, and --stage ppo has one of its own. Use "
        "another optimizer, such as adamw_torch."
    )


@rule("stage", "ppo_kl_control", "ppo_kl_coef")
def _something_to_adapt(recipe: Recipe) -> str | None:
    own = recipe.own
    if not isinstance(own, PpoArguments) or own.ppo_kl_control == "fixed" or own.ppo_kl_coef > 0:
        return None
    return ("--ppo_kl_coef 0: the adaptive penalty multiplies its weight, and 0 stays 0. Give it a positive one, or "
            "--ppo_kl_control fixed to learn without a penalty.")  # fmt: skip


@rule("stage", "ppo_kl_control", "ppo_kl_horizon")
def _something_that_moves(recipe: Recipe) -> str | None:
    own = recipe.own
    if (
        not isinstance(own, PpoArguments)
        or own.ppo_kl_control == "adaptive"
        or "ppo_kl_horizon" not in recipe.changes()
    ):
        return None
    return (
        "--ppo_kl_horizon: says how fast the weight of the penalty moves, and --ppo_kl_control fixed leaves it. "
        "Leave one of them out."
    )


METRICS = (("reward", True), ("kl", False), ("response_length", False))
STAGES.add(
    "ppo",
    Stage(
        "ppo",
        "PPO",
        PpoArguments,
        "prompts",
        view,
        trainer,
        metrics=METRICS,
        batch=answers_per_step,
        check=check,
        copies=copies_start,
    ),
)
