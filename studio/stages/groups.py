"""What grpo and rloo share: prompts as rows, how many a step draws, and what must hold before a start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from studio.arguments.rewards import GroupArguments
from studio.errors import counted
from studio.jobs.launch import processes
from studio.recipe import Recipe, rule
from studio.stages.answering import no_room
from studio.stages.base import rows_per_step

if TYPE_CHECKING:
    from studio.material import Material
    from studio.workspace import Workspace

# What a checkpoint can be best in would need an evaluation, and there is none.
METRICS = (("loss", False),)
# The weight of the KL divergence, as trl has it by itself.
BETA = {"grpo": 0.0, "rloo": 0.05}


def prompts_per_step(recipe: Recipe) -> int:
    """Prompts of one step in one process: each is answered num_generations times."""
    own = cast(GroupArguments, recipe.own)
    return max(rows_per_step(recipe) // own.num_generations, 1)


def pass_steps(recipe: Recipe, prompts: int, world: int) -> int:
    """Steps of one pass over the prompts: those that fill no whole round are left for the next pass."""
    own = cast(GroupArguments, recipe.own)
    round_prompts = max(rows_per_step(recipe) * world // own.num_generations, 1)
    return max(prompts // round_prompts, 1) * own.num_iterations


def weight_of_kl(recipe: Recipe) -> float:
    """How much a step away from the reference costs: as asked, else as trl has it by itself."""
    own = cast(GroupArguments, recipe.own)
    return own.beta if own.beta is not None else BETA[recipe.stage]


def check(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """Complaints about rewards, prompts and the model, before anything is loaded."""
    from studio.loop.ref_model import complaints as of_reference
    from studio.rewards.choose import complaints as of_rewards

    told = [*filter(None, (_enough(recipe, material), no_room(recipe, material)))]
    return [*told, *of_rewards(recipe, material, place), *of_reference(recipe, material, place)]


def _enough(recipe: Recipe, material: Material) -> str:
    own = cast(GroupArguments, recipe.own)
    world = int(os.environ.get("WORLD_SIZE") or processes(os.environ, use_cpu=recipe.training.use_cpu))
    answers = rows_per_step(recipe) * world
    if answers % own.num_generations:
        many = f" in each of {world} processes" if world > 1 else ""
        return (f"--num_generations {own.num_generations}: a step draws {counted(answers, 'answer')} "
                f"(--per_device_train_batch_size times --gradient_accumulation_steps{many}), which must be a multiple "
                "of it. Change one of them.")  # fmt: skip
    prompts = answers // own.num_generations
    if len(material.rows) < prompts:
        return (f"--per_device_train_batch_size: a step draws {prompts} prompts, but there are {len(material.rows)}. "
                "Lower it, or --gradient_accumulation_steps, or raise --num_generations.")  # fmt: skip
    return ""


@rule("val_size", "eval_dataset", "validation_file")
def _no_evaluation(recipe: Recipe) -> str | None:
    if isinstance(recipe.own, GroupArguments) and recipe.evaluates:
        return (f"--val_size, --eval_dataset, --validation_file: --stage {recipe.stage} measures its rewards on the "
                "prompts it learns from and does not evaluate. Leave them out.")  # fmt: skip
    return None


@rule("lora_target")
def _head_stays(recipe: Recipe) -> str | None:
    if isinstance(recipe.own, GroupArguments) and "lm_head" in (
        *recipe.method.lora_target, *recipe.method.additional_target
    ):  # fmt: skip
        return (f"--lora_target: --stage {recipe.stage} reads the weights of lm_head themselves, past an adapter. "
                "Leave lm_head out.")  # fmt: skip
    return None


@rule("ref_model", "beta")
def _reference_is_asked(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, GroupArguments) and own.ref_model and not weight_of_kl(recipe):
        return "--ref_model: is not asked where the KL divergence costs nothing. Set --beta above 0, or leave it out."
    return None
