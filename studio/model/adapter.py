"""An adapter folder: what it holds, and whether its merge is known here.

The names are those that peft saves. LoRA in its common forms (rsLoRA, DoRA, patterns of rank and
alpha, biases, embeddings, modules_to_save, trainable tokens) is merged by `fit` and `merge`. For
everything else `Adapter.detour` says why it must go through peft itself. Light: no torch.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import ModelError
from studio.model.weights import ADAPTER, Tensor, tensors_in

CONFIG = "adapter_config.json"

# Forms of LoRA whose merge is more than adding a product; peft knows them.
SPECIAL = (
    "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config",
    "monteclora_config", "layer_replication", "target_parameters",
)  # fmt: skip
# Starts that leave the base as it is; the others take something out of its weights.
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
# What peft calls the heads of a classifier, of which a reward adapter has one.
HEADS = ("score", "classifier")


@dataclass(frozen=True)
class Adapter:
    """One adapter folder. `detour` is empty when its merge is known here, else the reason."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    detour: str


def open_adapter(folder: Path) -> Adapter:
    """Read the config and the headers of an adapter. Raises ModelError when it is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(
            f"an adapter folder must hold {CONFIG}; {folder} does not. Name the output folder of a LoRA run."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = str(config["peft_type"]).upper()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} must be the JSON that peft writes, with peft_type; it is not ({error}).") from None
    if not (folder / ADAPTER).is_file():
        words = shlex.join(["--model_name_or_path", str(folder), "--convert_pickle", "True"])
        raise ModelError(
            f"{folder} must hold {ADAPTER}; it does not. An adapter_model.bin is a pickle and is not read; "
            f"convert it once, apart: studio export {words} --export_dir "
            f"{shlex.quote(str(folder) + '-safetensors')}"
        )
    if any(word in kind for word in ("PROMPT", "PREFIX", "P_TUNING")):
        raise ModelError(
            f"only adapters that change weights can be merged; {folder} is {kind}, which adds virtual "
            "tokens. Use it as an adapter on its base."
        )
    return Adapter(folder, config, tensors_in(folder / ADAPTER), _detour(kind, config, folder))


def must_take(model: Any, opened: Adapter) -> None:
    """Raise ModelError where the layers of a loaded model cannot bear this adapter."""
    whole = getattr(model, "is_loaded_in_8bit", False) is not True or next(model.parameters()).device.type != "cpu"
    if opened.config.get("use_dora") and not whole:
        # Its length is measured over the whole weights, which bitsandbytes frees of their scales here.
        raise ModelError(
            f"{opened.folder} is a DoRA, which does not work on int8 layers on the CPU. Use 4 bits, or full precision."
        )


def lay_on(model: Any, folder: Path, **more: Any) -> Any:
    """A PeftModel: a loaded model with the adapter of a folder on it. Raises ModelError where the two do not fit."""
    from peft import PeftModel

    must_take(model, open_adapter(folder))
    try:
        return PeftModel.from_pretrained(model, str(folder), **more)
    except (ValueError, RuntimeError, TypeError) as error:
        # torch tells every weight that does not fit, one a line behind the first; one of them is enough.
        _, _, told = str(error).strip().partition("\n")
        reason = " ".join((told.strip().partition("\n")[0] or str(error)).split())[:300].rstrip(".")
        raise ModelError(
            f"the adapter {folder} must have been trained on this model; it does not fit: {reason}. "
            "Name the base it was trained on."
        ) from error


def learned_aside(opened: Adapter) -> list[str]:
    """What an adapter holds besides what lies on its layers and a head that scores: modules whole, rows of tokens."""
    aside = [name for name in opened.config.get("modules_to_save") or () if name not in HEADS]
    return aside + (["trainable_token_indices"] if opened.config.get("trainable_token_indices") else [])


def started_from(folder: Path) -> tuple[list[str], bool]:
    """The adapters a run began with, as its record names them, and whether a new one was learned on top.

    With a new one all of them went into its base, else all but the last, which went on learning.
    """
    run = folder.parent if folder.name.startswith("checkpoint-") else folder
    try:
        recipe = json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"]
        named, on_top = recipe["adapter_name_or_path"], recipe.get("create_new_adapter")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [], False
    return str(named).split(","), str(on_top).lower() == "true"


def _detour(kind: str, config: Mapping[str, Any], folder: Path) -> str:
    if kind not in ("LORA", "TRAINABLE_TOKENS"):
        return f"it is of the kind {kind}"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and "niter" in start:
        raise ModelError(
            f"{folder} was started with {start}, a random split of the base that cannot be made again. "
            "Save it as a plain LoRA (path_initial_model_for_weight_conversion) and merge that."
        )
    if start not in PLAIN_STARTS:
        return f"it was started with init_lora_weights={start}, which changes the base"
    for key in SPECIAL:
        if config.get(key):
            return f"it uses {key}"
    return ""
