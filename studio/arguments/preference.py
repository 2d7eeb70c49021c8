"""Arguments of the stages that learn from preferences: what the model is held against, and how firmly."""

from __future__ import annotations

from studio.arguments.base import Arguments, Names, Text, arg


class ReferenceArguments(Arguments):
    """Which policy the one that learns is compared with."""

    ref_model: Text = arg("")
    """Folder of a whole model to compare with, with the same tokens; empty: the model as it is at the start."""

    ref_model_adapters: Names = arg(())
    """Folders of trained adapters on --ref_model, in the order they are applied."""

    ref_model_quantization_bit: int | None = arg(None)
    """Hold --ref_model in 8 or 4 bits; unset: in the precision of the run."""


class PreferenceArguments(ReferenceArguments):
    """What dpo and kto share."""

    pref_beta: float = arg(0.1, level="basic", gt=0)
    """How firmly the model is held at the reference: small lets it move far, large hardly at all."""

    pref_ftx: float = arg(0.0, ge=0)
    """Weight of an ordinary loss on the wanted answers, added so that they also become likely by themselves."""

    precompute_ref_log_probs: bool = arg(False)
    """Ask the reference once for all rows before the first step and keep its answers on disk, so that steps are
    cheaper and a later run with the same rows and reference skips the pass."""
