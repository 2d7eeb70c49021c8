"""From a model's folder to weights in memory, and what is checked before."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.model import ModelArguments
from studio.errors import MemoryFullError, ModelError
from studio.model.asking import tell
from studio.model.changed import resize
from studio.model.code import check_code, own_code
from studio.model.quantise import quantization, rounding_for, rounding_in, settle
from studio.model.weights import tensors

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
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}. Get the file anew.") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold an object; it holds {type(config).__name__}.")
    return config


def check_type(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a model that transformers has no class for, before a run is started with it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if "auto_map" in config or str(kind) in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    known = "which continues no text" if str(kind) in CONFIG_MAPPING_NAMES else "which this transformers does not know"
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


def load_model(
    folder: Path,
    arguments: ModelArguments,
    dtype: torch.dtype,
    *,
    device: torch.device | str | None = None,
    learns: bool = False,
    head: str = "tokens",
    changes: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """A model with its weights in `dtype`, or rounded to the bits that were asked for.

    `head` "tokens": a causal language model; "score": one number for a whole row, from a head that is new (at
    random) where the folder has none. `changes` are those of its config that a run makes, or made before an
    adapter learned (`studio.model.changed`).

    A model in full precision lies on the CPU. A rounded one is made on `device` and stays there; None is
    this process's GPU, else the CPU. One that `learns` is computed while evaluating as while training.
    Raises ModelError, and MemoryFullError when the device is too small.
    """
    import torch

    keep_upstream_quiet()
    config = read_config(folder)
    check_code(folder, trust=arguments.trust_remote_code)
    if own := own_code(folder):
        tell(f"note: Python code of {folder} runs, as --trust_remote_code True says: {', '.join(p.name for p in own)}")
    tensors(folder)  # says which file is missing, damaged or pickled
    more = _rounded(arguments, config, dtype, device)
    more |= {name: value for name, value in (changes or {}).items() if name != "vocab_size"}
    try:
        model: PreTrainedModel = _loader(head)(
            folder,
            dtype=dtype,
            attn_implementation=ATTENTION.get(arguments.flash_attn),
            # A model that transformers knows is never loaded with the code its folder brings.
            trust_remote_code=bool(own),
            use_safetensors=True,
            local_files_only=True,
            **more,
        )
    except torch.OutOfMemoryError as error:
        raise MemoryFullError(f"memory ran out while loading {folder}. Free the device, or use fewer bits.") from error
    except (ValueError, ImportError, KeyError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the model in {folder} cannot be loaded: {reason}") from error
    if changes and "vocab_size" in changes:
        resize(model, changes["vocab_size"])
    settle(model, dtype, learns=learns)
    model.config.use_cache = False
    return model


def _loader(head: str) -> Any:
    """What makes a model with this head from a folder."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from studio.model.scorehead import loaded_classifier

    if head == "score":
        return partial(loaded_classifier, AutoModelForSequenceClassification, num_labels=1)
    return AutoModelForCausalLM.from_pretrained


def _rounded(
    arguments: ModelArguments, config: Mapping[str, Any], dtype: torch.dtype, device: torch.device | str | None
) -> dict[str, Any]:
    """What transformers must be told of a base that is rounded, or held so in its folder."""
    import torch

    if not rounding_for(arguments, config):
        return {}
    here = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    more: dict[str, Any] = {"device_map": {"": device or here}}
    return more | ({} if rounding_in(config) else {"quantization_config": quantization(arguments, dtype)})
