"""What the stages share in which the model writes the answers itself: its rows, its room, what has no use there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from studio.arguments.rewards import RolloutArguments
from studio.recipe import Recipe, rule

if TYPE_CHECKING:
    from studio.data.render import View
    from studio.material import Material

_LENGTHS = "answers grow by a token at a time, and each length would be compiled anew"
# What stages over given rows use and these do not, with the reason.
_UNUSED = {
    "deepspeed": "answers are written with the whole model, which it divides. For a larger model use "
    "--finetuning_type lora and --quantization_bit 4",
    "neftune_noise_alpha": "the same policy is compared before and after an update, and noise would make two of it",
    "repetition_penalty": "what is learned are the probabilities that tokens were drawn with, and a penalty changes "
    "them. Let the reward say what is unwanted",
    "label_smoothing_factor": "there are rewards and no labels to smooth",
    "torch_compile": _LENGTHS,
    "torch_compile_backend": _LENGTHS,
    "torch_compile_mode": _LENGTHS,
    "average_tokens_across_devices": "tokens of all processes count alike in any case",
}


def view(recipe: Recipe) -> View:
    """Rows are prompts, as at inference; the answers that datasets give are for rewards to look at."""
    from studio.data.render import View

    return View(recipe.data.cutoff_len, wants="prompts")


def no_room(recipe: Recipe, material: Material) -> str:
    """The complaint where the model has too few positions for its longest prompt with its longest answer, else ""."""
    from studio.model.prompting import context_of

    own = cast(RolloutArguments, recipe.own)
    asked = [rows for rows in (material.rows, material.held_out_rows) if rows is not None and len(rows)]
    longest = max((int(rows.lengths.max()) for rows in asked), default=0)
    context = context_of(material.config)
    if not context or longest + own.max_new_tokens <= context:
        return ""
    return (f"--max_new_tokens {own.max_new_tokens}: with the longest prompt of {longest:,} tokens that is more than "
            f"the {context:,} positions of the model. Lower it to {max(context - longest, 1):,}, or lower "
            "--cutoff_len.")  # fmt: skip


def unused(recipe: Recipe, reasons: Mapping[str, str]) -> str | None:
    """The complaints about arguments that were given and that a stage does not use."""
    changed = recipe.changes()
    told = [f"--{name}: not used by --stage {recipe.stage}: {why}. Leave it out."
            for name, why in reasons.items() if name in changed]  # fmt: skip
    return "\n".join(told) or None


@rule("stage", *_UNUSED)
def _what_has_no_use(recipe: Recipe) -> str | None:
    return unused(recipe, _UNUSED) if isinstance(recipe.own, RolloutArguments) else None
