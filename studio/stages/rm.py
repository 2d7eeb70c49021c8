"""A reward model learns which of two answers is better (stage rm)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from studio.arguments.base import Arguments, Object, arg
from studio.recipe import STAGES, Recipe, rule
from studio.stages.base import Learner, Stage

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.loop.parts import Parts
    from studio.material import Material
    from studio.workspace import Workspace


class RmArguments(Arguments):
    """What only this stage asks."""

    test_reward_model_acc_files: Object = arg({})
    """Files of pairs to measure the accuracy on at the end, each by a name: {"harmless": "data/harmless.json"}."""


def view(recipe: Recipe) -> View:
    """Rows are pairs of conversations, the chosen one first."""
    from studio.data.render import View

    return View(recipe.data.cutoff_len, wants="pairs")


def trainer(parts: Parts) -> Learner:
    """The chosen answer shall get the higher score."""
    from studio.loop.ranked import reward_trainer

    return reward_trainer(parts)


def check(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """Complaints about a base that cannot be a classifier, and about each of the test files."""
    from studio.loop.testsets import complaints
    from studio.model.classifier import why_no_classifier

    own = cast(RmArguments, recipe.own)
    told = [why_no_classifier(material.config, material.folder)]
    return [*filter(None, told), *complaints(own.test_reward_model_acc_files, recipe, material, place)]


@rule("stage", "label_smoothing_factor")
def _hard_verdicts(recipe: Recipe) -> str | None:
    if recipe.stage != "rm" or not recipe.flat()["label_smoothing_factor"]:
        return None
    return "--label_smoothing_factor: a reward model learns from verdicts as they are. Leave it out with --stage rm."


METRICS = (("loss", False), ("accuracy", True), ("margin", True))

STAGES.add("rm", Stage("rm", "Reward Modeling", RmArguments, "pairs", view, trainer, "score", METRICS, check=check))
