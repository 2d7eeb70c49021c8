"""What the stages that hold answers against a reference have in common: what must be true before they start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.arguments.preference import PreferenceArguments, ReferenceArguments
from studio.recipe import Recipe, rule

if TYPE_CHECKING:
    from studio.material import Material
    from studio.workspace import Workspace

METRICS = (
    ("loss", False), ("accuracy", True), ("margin", True), ("rewards_chosen", True), ("rewards_rejected", False),
)  # fmt: skip


def check(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """Complaints about the reference: its folder, its tokens, and weights that lie in parts."""
    from studio.loop.ref_model import complaints

    return [*complaints(recipe, material, place), *_divided(recipe, place)]


def _divided(recipe: Recipe, place: Workspace) -> list[str]:
    from studio.loop.zero import read_zero

    zero = read_zero(recipe, place)
    if zero is None or zero.stage != 3 or getattr(recipe.own, "pref_loss", "") in WITHOUT_REFERENCE:
        return []
    return [
        "--deepspeed: with stage 3 no process holds weights whole, and the reference needs them so. Use stage 2, or "
        "--stage dpo --pref_loss simpo or orpo, which need no reference."
    ]


# Losses that hold the answers of a pair against each other alone.
WITHOUT_REFERENCE = ("orpo", "simpo")


@rule("ref_model", "ref_model_adapters", "ref_model_quantization_bit")
def _details_of_a_named_reference(recipe: Recipe) -> str | None:
    own = recipe.own
    if not isinstance(own, ReferenceArguments) or own.ref_model:
        return None
    for name in ("ref_model_adapters", "ref_model_quantization_bit"):
        if getattr(own, name):
            return f"--{name}: says how --ref_model is loaded, and none is named. Name it, or leave this out."
    return None


@rule("ref_model_quantization_bit")
def _bits_of_a_reference(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, ReferenceArguments) and own.ref_model_quantization_bit not in (None, 4, 8):
        return f"--ref_model_quantization_bit {own.ref_model_quantization_bit}: must be 4 or 8."
    return None


@rule("ref_model_adapters", "ref_model_quantization_bit")
def _one_adapter_on_a_rounded_reference(recipe: Recipe) -> str | None:
    own = recipe.own
    if isinstance(own, ReferenceArguments) and own.ref_model_quantization_bit and len(own.ref_model_adapters) > 1:
        return (
            "--ref_model_adapters: all but the last go into --ref_model first, and one in "
            f"{own.ref_model_quantization_bit} bits cannot take them without loss. Name one adapter, or leave "
            "--ref_model_quantization_bit out."
        )
    return None


@rule("label_smoothing_factor")
def _smoothing_of_tokens(recipe: Recipe) -> str | None:
    if isinstance(recipe.own, PreferenceArguments) and recipe.flat()["label_smoothing_factor"]:
        return (
            f"--label_smoothing_factor: smooths the labels of tokens, which --stage {recipe.stage} has none of. For "
            "verdicts that may be wrong use --stage dpo with --dpo_label_smoothing."
        )
    return None
