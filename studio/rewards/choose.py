"""From what a recipe asks to the one source of rewards, and what stands in its way before a run starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from studio.arguments.rewards import RewardArguments
from studio.errors import RewardError, StudioError
from studio.material import Material
from studio.model.adapter import CONFIG
from studio.model.find import find_model
from studio.recipe import Recipe
from studio.rewards.base import Reward, Sample
from studio.rewards.function import FunctionReward, find_function
from studio.rewards.service import ServiceReward, probe, url_complaint
from studio.workspace import Workspace

Kind = Literal["lora", "full", "api", "function"]
# Arguments that only a service has a use for.
OF_A_SERVICE = ("reward_api_timeout_s", "reward_api_retries")


def reward_for(recipe: Recipe, material: Material, place: Workspace, *, base: Any = None, device: Any = None) -> Reward:
    """The source of rewards that a recipe names, ready to be called.

    `base` is the model that learns, with its adapter or without: a reward adapter on the same base is laid beside
    its adapter, so that the base's weights are held once. Raises StudioError.
    """
    own = cast(RewardArguments, recipe.own)
    kind = kind_of(own, place)
    if kind == "function":
        return FunctionReward(find_function(own.reward_function, place))
    if kind == "api":
        return ServiceReward(
            own.reward_model, reader(material), timeout_s=own.reward_api_timeout_s, retries=own.reward_api_retries
        )
    from studio.rewards.model import model_reward

    return model_reward(recipe, material, place, base=base)


def complaints(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """What must be mended before a run can be rewarded: nothing is loaded, a service is asked once."""
    own = cast(RewardArguments, recipe.own)
    if told := _not_one_source(own):
        return [told]
    try:
        kind = kind_of(own, place)
        if told := _not_its_kind(own, kind):
            return [told]
        if kind == "function":
            find_function(own.reward_function, place)
        elif kind == "api":
            told = url_complaint(own.reward_model) or probe(own.reward_model, own.reward_api_timeout_s)
            return [told] if told else []
        else:
            from studio.rewards.model import find_scorer

            find_scorer(recipe, material, place)
    except StudioError as error:
        return [str(error)]
    return []


def kind_of(own: RewardArguments, place: Workspace) -> Kind:
    """What the source is: as asked, else told from what is named. Raises ModelError for a model that is not there."""
    if own.reward_model_type is not None:
        return own.reward_model_type
    if own.reward_function:
        return "function"
    if "://" in own.reward_model:
        return "api"
    return "lora" if (find_reward_model(own.reward_model, place) / CONFIG).is_file() else "full"


def find_reward_model(name: str, place: Workspace) -> Path:
    """The folder of a reward model. Raises RewardError, which says that it was the reward model."""
    try:
        return find_model(name, place)
    except StudioError as error:
        raise RewardError(f"--reward_model: {error}") from error


def reader(material: Material) -> Callable[[Sample], str]:
    """What makes the text of a sample as the model that learns reads and writes it, special tokens included."""
    fast = material.tokenizer.fast

    def read(sample: Sample) -> str:
        text: str = fast.decode([*sample.prompt_ids, *sample.answer_ids], skip_special_tokens=False)
        return text

    return read


def _not_one_source(own: RewardArguments) -> str:
    if bool(own.reward_model) != bool(own.reward_function):
        return ""
    if own.reward_model:
        return ("--reward_function and --reward_model both say where rewards come from. Keep one; a function may ask a "
                "model itself.")  # fmt: skip
    return ("--reward_model: where do rewards come from? Name a reward model (a run of --stage rm), the address of a "
            "service, or with --reward_function path/to/file.py:name a function.")  # fmt: skip


def _not_its_kind(own: RewardArguments, kind: Kind) -> str:
    """Why what is named cannot be of the kind that is asked."""
    if (kind == "function") != bool(own.reward_function):
        needs = "--reward_function" if kind == "function" else "--reward_model"
        return f"--reward_model_type {kind}: needs {needs}. Name it, or leave the type out."
    if kind != "api" and "://" in own.reward_model:
        return f"--reward_model_type {kind}: {own.reward_model} is the address of a service. Use api, or leave it out."
    if own.reward_model_adapters and kind != "full":
        return (f"--reward_model_adapters: goes with a full reward model, and this is {kind}. Name the adapter itself "
                "with --reward_model.")  # fmt: skip
    if kind != "api" and (asked := [f"--{name}" for name in OF_A_SERVICE if getattr(own, name) != _default(name)]):
        return f"{' and '.join(asked)}: only used where a service rewards, and this is {kind}. Leave it out."
    return ""


def _default(name: str) -> Any:
    return RewardArguments.model_fields[name].default
