"""What makes a folder a reward model: a classifier with one label, or an adapter that is one. Light: no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.errors import ModelError
from studio.model.tokenizer import open_tokenizer
from studio.model.tokenizer_files import TOKENIZER_FILE

ADAPTER_CONFIG = "adapter_config.json"
# What transformers calls the head of a sequence classifier over a decoder, and how its classes end.
HEAD, CLASSIFIER = "score", "ForSequenceClassification"


def is_reward_model(folder: Path) -> bool:
    """Whether a folder holds a reward model: a sequence classifier with one label, or an adapter that is one."""
    try:
        if (folder / ADAPTER_CONFIG).is_file():
            return str(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("task_type")) == "SEQ_CLS"
        return is_classifier(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return False


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a sequence classifier."""
    named = config.get("architectures")
    return isinstance(named, list) and str(next(iter(named), "")).endswith(CLASSIFIER)


def classifier_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of a classifier with one label and the same layers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[str(config.get("model_type"))]
    return {"architectures": [kind], "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}


def padded(config: Mapping[str, Any], adapter: Path) -> dict[str, Any]:
    """A config.json with the padding token of a reward adapter, by the tokenizer beside it; as it is for any other.

    transformers reads a score at the last token that is not the padding token.
    """
    result = dict(config)
    if is_reward_model(adapter) and (adapter / TOKENIZER_FILE).is_file():
        padding = {"pad_token_id": open_tokenizer(adapter, adapter).pad_id}
        result |= padding
        if isinstance(inner := config.get("text_config"), dict):
            result["text_config"] = inner | padding
    return result


def must_score(folder: Path) -> None:
    """Raise ModelError unless the folder holds a reward model."""
    if not is_reward_model(folder):
        raise ModelError(
            f"{folder} must hold a reward model, a sequence classifier with one score; it holds none. "
            "Name the folder of a run of --stage rm."
        )


def must_write(folder: Path, who: str) -> None:
    """Raise ModelError when the folder holds a reward model; `who` needs one that writes."""
    if is_reward_model(folder):
        raise ModelError(
            f"{who} needs a model that writes text; {folder} holds a reward model, which only gives scores. Name "
            "another model; scores are given by studio api (POST /v1/score), and used by the stages that take "
            "--reward_model."
        )


def why_no_classifier(config: Mapping[str, Any], folder: Path) -> str:
    """Why transformers cannot make a sequence classifier of this model; "" when it can."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    kind = str(config.get("model_type"))
    if "auto_map" in config or kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return ""
    return (
        f"--model_name_or_path {folder}: transformers knows no sequence classifier for the model type {kind!r}, and a "
        "reward model is one. Choose another base."
    )


def set_padding(model: Any, pad_id: int) -> None:
    """Name the padding token in the config, by which transformers finds the last token of a row."""
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = pad_id
