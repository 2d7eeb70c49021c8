"""From a model's folder to weights in memory, and what is checked before."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.model import ModelArguments
from studio.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json. Raises ModelError when it is absent or broken."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} has no config.json. Name the folder of a whole model.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not JSON: {error}. Get the file anew.") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold an object; it holds {type(config).__name__}.")
    return config


def check_code(folder: Path, config: dict[str, Any], *, trust: bool) -> None:
    """Refuse a model that wants to run its own Python code, unless that was asked for."""
    if "auto_map" in config and not trust:
        code = ", ".join(sorted(file.name for file in folder.glob("*.py"))) or "on the hub"
        raise ModelError(
            f"{folder.name} runs Python code of its own ({code}), which may do anything with this "
            "machine. Read it; then start with --trust_remote_code True."
        )


def check_type(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a model that transformers has no class for, before a run is started with it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if "auto_map" in config or kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    known = "which continues no text" if kind in CONFIG_MAPPING_NAMES else "which this transformers does not know"
    found = f"it names {kind!r}, {known}" if kind else "it names none"
    raise ModelError(
        f"{folder / 'config.json'} must name the model_type of a causal language model; {found}. "
        "Choose another model, or install a transformers that knows it."
    )


def keep_upstream_quiet() -> None:
    """Keep upstream's progress bars out of logs and pipes, and what peft is to mend from everybody."""
    from transformers.utils import logging

    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

    if not sys.stderr.isatty():
        logging.disable_progress_bar()


ATTENTION = {"disabled": "eager", "sdpa": "sdpa", "fa2": "flash_attention_2", "fa3": "flash_attention_3"}


def load_model(folder: Path, arguments: ModelArguments, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model with every weight in `dtype`. Raises ModelError."""
    from transformers import AutoModelForCausalLM

    keep_upstream_quiet()
    config = read_config(folder)
    check_code(folder, config, trust=arguments.trust_remote_code)
    asked = ATTENTION.get(arguments.flash_attn)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=asked,
            trust_remote_code=arguments.trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
        )
    except (ValueError, ImportError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the model in {folder} cannot be loaded: {reason}") from error
    model.config.use_cache = False
    return model
