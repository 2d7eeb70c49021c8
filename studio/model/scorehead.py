"""The head of a reward model: one number for a whole row, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from studio.errors import ModelError
from studio.model.classifier import HEAD
from studio.model.weights import ADAPTER

# Output layers of a language model, which a classifier does not have.
OUTPUTS = ("lm_head", "embed_out")


class ScoreHead(torch.nn.Linear):
    """A linear head that computes in float32, whatever the precision of the model and of autocast."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores in float32, shape (..., 1), of hidden states (..., E)."""
        with torch.autocast(hidden.device.type, enabled=False):
            return torch.nn.functional.linear(hidden.float(), self.weight.float())


def loaded_classifier(kind: Any, folder: Path, **how: Any) -> Any:
    """A classifier of `kind` from a folder, with a head that computes in float32; a new one where there is none.

    Raises ModelError when other weights than the head's are missing, or the head is no plain layer.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # that the head is new and the one of tokens is left is as it should be
    try:
        model, found = kind.from_pretrained(folder, output_loading_info=True, **how)
    finally:
        logging.set_verbosity(before)
    if missing := sorted(name for name in found["missing_keys"] if name.split(".")[0] != HEAD):
        raise ModelError(f"{folder} must hold every weight of a {type(model).__name__}; it lacks {missing[0]}.")
    head: Any = getattr(model, HEAD, None)
    if not isinstance(head, torch.nn.Linear) or getattr(head, "bias", None) is not None:
        raise ModelError(
            f"a reward model needs a plain linear layer named {HEAD}; {type(model).__name__} has none. "
            "Choose another base."
        )
    head.__class__ = ScoreHead
    return model


def head_of(model: Any) -> torch.nn.Module:
    """The module whose output are the scores, also under adapters: the outermost of its name."""
    head: torch.nn.Module = next(one for name, one in model.named_modules() if name.rpartition(".")[2] == HEAD)
    return head


def at_ends(values: torch.Tensor, sizes: torch.Tensor, *, flat: bool) -> torch.Tensor:
    """The values (D, ...) at the last token of each of D documents of `sizes` (D,) tokens.

    `flat`: the values are (1, T, ...), documents end to end; else (D, T, ...), filled up on the right.
    """
    if flat:
        return values[0, sizes.cumsum(0) - 1]
    return values[torch.arange(len(sizes), device=values.device), sizes - 1]


def merging_config(folder: Path) -> Any:
    """The peft config of an adapter that goes into the base of a classifier, whatever it was trained on."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(str(folder))
    if config.task_type != "SEQ_CLS":
        config.task_type = None
    return config


def continued(model: Any, folder: Path) -> Any:
    """A classifier on which the adapter of a language model goes on, with a head of its own beside it.

    Raises ModelError when the adapter learned the layer of tokens, which a classifier does not have.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(str(folder / ADAPTER))
    lost = [name for name in weights if any(f".{output}." in name for output in OUTPUTS)]
    if lost:
        raise ModelError(
            f"a reward model has no layer of tokens; the adapter {folder} learned one ({lost[0]}). Merge it first with "
            "studio export, and train on the export."
        )
    config = PeftConfig.from_pretrained(str(folder))
    config.task_type, config.inference_mode = "SEQ_CLS", False
    weights[f"base_model.model.{HEAD}.weight"] = getattr(model, HEAD).weight.detach().clone()
    learner = get_peft_model(model, config)
    found: Any = set_peft_model_state_dict(learner, weights)
    if found.unexpected_keys:
        raise ModelError(
            f"the adapter {folder} must have been trained on this model; it does not fit: there is no place for "
            f"{found.unexpected_keys[0]}. Name the base it was trained on."
        )
    return learner
