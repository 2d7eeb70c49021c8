"""Longer positions: rotary frequencies that are stretched, by the ways that transformers computes.

linear divides every position (arXiv 2306.15595), dynamic changes the base with the length of a text, yarn stretches
low frequencies only (arXiv 2309.00071), llama3 does so with the borders of Llama 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.arguments.model import LearnerArguments
from studio.errors import ModelError
from studio.model.prompting import context_of

# The borders between high and low frequencies, as Llama 3.1 has them.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


def stretched(
    asked: LearnerArguments, folder: Path, config: Mapping[str, Any], longest: int
) -> tuple[dict[str, Any], str]:
    """What the config becomes with --rope_scaling for rows of `longest` tokens, and a sentence about it.

    The factor is the one that was asked for, else as many times the model's positions as the rows need, at least 2.
    Raises ModelError for a model without rotary positions, or with stretched ones.
    """
    kind, before = asked.rope_scaling, context_of(config)
    rope = _rope_of(folder, trust=asked.trust_remote_code)
    if rope is None or not before:
        raise ModelError(
            f"--rope_scaling {kind}: the model must have one set of rotary positions for all its layers; "
            f"{folder} ({config.get('model_type')}) has not. Choose another model, or lower --cutoff_len."
        )
    rope |= config.get("rope_parameters") or {}
    there = rope.get("rope_type", "default")
    if there == kind and before >= longest and asked.rope_factor in (None, rope.get("factor")):
        return {}, f"rope_scaling: positions are stretched to {before:,} by {kind} already"
    if there != "default":
        raise ModelError(
            f"--rope_scaling {kind}: the positions of {folder} are stretched by {there} already, to {before:,}. Leave "
            "it out, or start from the model before that."
        )
    factor = asked.rope_factor or max(2.0, float(math.ceil(longest / before)))
    rope |= {"rope_type": kind, "factor": factor}
    if kind in ("yarn", "llama3"):
        rope["original_max_position_embeddings"] = before
    if kind == "llama3":
        rope |= LLAMA3
    positions = int(before * factor)
    changes = {"rope_parameters": rope} | ({} if kind == "dynamic" else {"max_position_embeddings": positions})
    return changes, f"rope_scaling: {kind} by {factor:g}, from {before:,} to {positions:,} positions"


def _rope_of(folder: Path, *, trust: bool) -> dict[str, Any] | None:
    """The rotary parameters of a model as transformers reads them; None when it has none, or several sets."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust)
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        return None
    return dict(rope)
