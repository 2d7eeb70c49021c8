"""Direct preference optimisation: of two answers the chosen one becomes likelier, without a reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from studio.arguments.base import arg
from studio.arguments.preference import PreferenceArguments
from studio.recipe import STAGES, Recipe, rule
from studio.stages.base import Learner, Stage, copies_start
from studio.stages.preferences import METRICS, WITHOUT_REFERENCE, check

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.loop.parts import Parts


class DpoArguments(PreferenceArguments):
    """What only this stage asks."""

    pref_loss: Literal["sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo"] = arg("sigmoid", level="basic")
    """How the two answers are held against each other: sigmoid is DPO; hinge stops where the margin is reached; ipo
    aims at a fixed margin; kto_pair is KTO on pairs; orpo and simpo need no reference."""

    dpo_label_smoothing: float = arg(0.0, ge=0, lt=0.5)
    """With sigmoid: the share of verdicts that are taken to be the wrong way round (conservative DPO)."""

    simpo_gamma: float = arg(0.5, ge=0)
    """With simpo: the margin by which the chosen answer's reward shall be above the rejected one's."""


def view(recipe: Recipe) -> View:
    """Rows are pairs: loss on the last answer of both."""
    from studio.data.render import View

    return View(recipe.data.cutoff_len, wants="pairs")


def trainer(parts: Parts) -> Learner:
    """Pairs against a reference."""
    from studio.loop.preference import pair_trainer

    return pair_trainer(parts)


@rule("pref_loss", "dpo_label_smoothing")
def _smoothing_is_for_sigmoid(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, DpoArguments) and own.dpo_label_smoothing and own.pref_loss != "sigmoid":
        return (
            f"--dpo_label_smoothing {own.dpo_label_smoothing:g}: is defined for --pref_loss sigmoid, not for "
            f"{own.pref_loss}. Use sigmoid, or leave it out."
        )
    return None


@rule("pref_loss", "simpo_gamma")
def _gamma_is_for_simpo(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, DpoArguments) and own.pref_loss != "simpo":
        default = DpoArguments.model_fields["simpo_gamma"].default
        if own.simpo_gamma != default:
            return (
                f"--simpo_gamma {own.simpo_gamma:g}: is the margin of --pref_loss simpo; {own.pref_loss} has none. "
                "Use simpo, or leave it out."
            )
    return None


@rule("pref_loss", "ref_model", "precompute_ref_log_probs")
def _no_reference_is_asked(recipe: Recipe) -> str | None:
    own = recipe.own
    if not isinstance(own, DpoArguments) or own.pref_loss not in WITHOUT_REFERENCE:
        return None
    for name in ("ref_model", "precompute_ref_log_probs"):
        if getattr(own, name):
            return f"--{name}: --pref_loss {own.pref_loss} needs no reference. Leave it out, or use another loss."
    return None


def copies(recipe: Recipe) -> bool:
    """Whether the reference is a copy; some losses need no reference."""
    return cast(DpoArguments, recipe.own).pref_loss not in WITHOUT_REFERENCE and copies_start(recipe)


STAGES.add(
    "dpo",
    Stage("dpo", "DPO", DpoArguments, "pairs", view, trainer, metrics=METRICS, check=check, copies=copies),
)
