"""Merging through peft itself, for the kinds of adapter whose merge is not known here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.errors import ModelError
from studio.model.classifier import is_reward_model


def merged_by_peft(base: Path, adapters: Sequence[Path], folder: Path) -> None:
    """Write the merged model to `folder` as float32 safetensors; holds the whole model in memory.

    Raises ModelError when peft cannot merge, or leaves weights of an adapter unused.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    scores = any(map(is_reward_model, (base, *adapters)))
    kind: Any = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    labels = {"num_labels": 1} if scores else {}
    model: Any = kind.from_pretrained(
        str(base), dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False, **labels
    )
    for adapter in adapters:
        model = _merged(model, adapter)
    model.save_pretrained(folder)


def _merged(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    # peft tells of unused weights only by a warning.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected).*keys.*")
        try:
            wrapped = PeftModel.from_pretrained(model, str(adapter), use_safetensors=True)
            return wrapped.merge_and_unload(safe_merge=True)
        except (Warning, ValueError, RuntimeError, KeyError, NotImplementedError, AttributeError) as error:
            raise ModelError(
                f"{adapter} cannot be merged into this base; peft says: {error}. Use it unmerged, as an adapter."
            ) from None
