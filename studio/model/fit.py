"""Where each tensor of an adapter belongs: the steps it takes on which weights of its base."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from studio.errors import ModelError
from studio.model.adapter import CONFIG, Adapter
from studio.model.classifier import HEAD
from studio.model.merge import Add, LowRank, Replace, Rows, Step
from studio.model.weights import Tensor

PREFIX = "base_model.model."

# These model types keep most weights as (inputs, outputs), the other way round.
CONV1D_TYPES = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp")

PARTS = re.compile(
    r"^(?P<module>.+?)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|"
    r"lora_embedding_B|lora_magnitude_vector(?:\.weight)?|base_layer\.weight|base_layer\.bias|"
    r"(?:token_adapter\.)?trainable_tokens_delta)$"
)


def steps(adapter: Adapter, base: Mapping[str, Tensor], model_type: str) -> dict[str, list[Step]]:
    """The steps on each weight, by the weight's name in the base.

    The output layer of a tied model is not in the base; it comes back under its own name, and so does the head
    of a reward model.
    Raises ModelError naming every tensor of the adapter that finds no place in the base.
    """
    modules: dict[str, dict[str, Tensor]] = {}
    found: dict[str, list[Step]] = {}
    unused = []
    for name, tensor in adapter.tensors.items():
        inner = name.removeprefix(PREFIX)
        if parts := PARTS.match(inner):
            part = parts["part"].removesuffix(".weight") if "magnitude" in inner else parts["part"]
            modules.setdefault(parts["module"], {})[part.removeprefix("token_adapter.")] = tensor
        elif (target := _in_base(inner, base)) is not None:
            found[target] = [Replace(tensor)]
        else:
            unused.append(name)
    for module, parts_of in modules.items():
        weight, bias = (_in_base(f"{module}.{leaf}", base) for leaf in ("weight", "bias"))
        if weight is None or (bias is None and any(part.endswith("bias") for part in parts_of)):
            unused += [tensor.name for tensor in parts_of.values()]
            continue
        found.setdefault(weight, []).extend(_weight_steps(adapter, module, parts_of, model_type))
        if bias is not None:
            found.setdefault(bias, []).extend(_bias_steps(adapter, module, parts_of))
    if unused:
        raise ModelError(
            f"every tensor of an adapter must fit its base; {len(unused)} of {len(adapter.tensors)} in "
            f"{adapter.folder} do not, such as {', '.join(sorted(unused)[:3])}. Name the base it was "
            "trained on."
        )
    return {name: list_of for name, list_of in found.items() if list_of}


def _in_base(name: str, base: Mapping[str, Tensor]) -> str | None:
    """The name in the base's files: the same, or without or with the model's own prefix."""
    if name in base:
        return name
    _, _, inner = name.partition(".")
    if name.split(".")[0] in ("model", "transformer") and inner in base:
        return inner
    for prefix in ("model.", "transformer."):
        if prefix + name in base:
            return prefix + name
    return name if name in ("lm_head.weight", "embed_out.weight", f"{HEAD}.weight") else None


def _weight_steps(adapter: Adapter, module: str, parts: Mapping[str, Tensor], model_type: str) -> list[Step]:
    made: list[Step] = []
    if "base_layer.weight" in parts:
        made.append(Replace(parts["base_layer.weight"]))
    if "trainable_tokens_delta" in parts:
        made.append(_rows(adapter, module, parts["trainable_tokens_delta"]))
    down = parts.get("lora_A.weight") or parts.get("lora_embedding_A")
    up = parts.get("lora_B.weight") or parts.get("lora_embedding_B")
    if down is None and up is None:
        return made
    if down is None or up is None:
        raise ModelError(f"{adapter.folder} holds only one half of the LoRA of {module}. Save the adapter again.")
    transposed = "lora_embedding_A" in parts or _is_conv1d(module, model_type)
    scale = _scale(adapter, module, down.shape[0])
    made.append(LowRank(down, up, scale, transposed, parts.get("lora_magnitude_vector")))
    return made


def _is_conv1d(module: str, model_type: str) -> bool:
    return model_type in CONV1D_TYPES and not module.endswith(("lm_head", "score"))


def _bias_steps(adapter: Adapter, module: str, parts: Mapping[str, Tensor]) -> list[Step]:
    made: list[Step] = []
    if "base_layer.bias" in parts:
        made.append(Replace(parts["base_layer.bias"]))
    if "lora_B.bias" in parts:
        made.append(Add(parts["lora_B.bias"], _scale(adapter, module, parts["lora_B.weight"].shape[1])))
    return made


def _scale(adapter: Adapter, module: str, stored_rank: int) -> float:
    config = adapter.config
    rank = _by_pattern(config.get("rank_pattern"), module, config["r"])
    alpha = _by_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
    if rank != stored_rank:
        raise ModelError(
            f"{adapter.folder / CONFIG} gives {module} the rank {rank}, but its weights have {stored_rank}. "
            "Take config and weights of the same run."
        )
    return float(alpha / math.sqrt(rank)) if config.get("use_rslora") else float(alpha / rank)


def _by_pattern(patterns: Mapping[str, int] | None, module: str, default: float) -> float:
    """The value of the first pattern that matches the end of the module's path, as peft does."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _rows(adapter: Adapter, module: str, value: Tensor) -> Rows:
    config = adapter.config
    listed = config.get("trainable_token_indices") or config.get("token_indices") or []
    if isinstance(listed, dict):
        listed = next((rows for name, rows in listed.items() if f".{module}".endswith(f".{name}")), [])
    if len(listed) != value.shape[0]:
        raise ModelError(
            f"{adapter.folder / CONFIG} lists {len(listed)} trainable tokens for {module}, but its weights "
            f"have {value.shape[0]} rows. Take config and weights of the same run."
        )
    return Rows(tuple(int(row) for row in listed), value)
