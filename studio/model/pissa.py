"""PiSSA: an adapter that starts as the largest singular values and vectors of the weights (arXiv 2404.02948).

The paper takes the start B0 A0 out of each weight W and trains B A beside what is left. Here W stays as it is, and the
start is subtracted from what the layer gives, which is the same sum: W + s (B A - B0 A0). So the base with the
adapter switched off is the untouched base, nothing is rounded away in 16 bits, and the plain LoRA of twice the rank
that is saved, [B, -B0] [A; A0], is exactly what was trained.

Letters in shapes: O outputs, I inputs, R rank.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from studio.errors import ModelError
from studio.model.adapter import CONFIG
from studio.model.weights import ADAPTER
from studio.workspace import write_json

NAME = "default"


def begin(model: Any, iterations: int) -> None:
    """Start the adapter of a PeftModel from its weights; `iterations` of the quick search, -1: all singular values.

    Raises ModelError for a layer that is no matrix of linear weights.
    """
    for name, layer in _adapted(model):
        if NAME not in layer.lora_A:
            raise ModelError(
                f"--pissa_init True: must be on linear layers, but {name} is an embedding. "
                "Leave it out of --lora_target; --additional_target trains it whole."
            )
        down_RI, up_OR = _principal(layer, iterations)
        layer.lora_A[NAME].weight.data = down_RI.clone()
        layer.lora_B[NAME].weight.data = up_OR.clone()
        # Not persistent: checkpoints hold the start inside of the adapter.
        layer.register_buffer("pissa_A", down_RI, persistent=False)
        layer.register_buffer("pissa_B", up_OR, persistent=False)
        layer.register_forward_hook(_without_start)
    # What trainers take a checkpoint's adapter up with; peft's own would find twice the rank.
    model.load_adapter = functools.partial(_take_up, model, model.load_adapter)


def is_started(model: Any) -> bool:
    """Whether the adapter of this model started so."""
    return any(True for _ in _started(model))


def write_plain(model: Any, folder: Path) -> None:
    """Make the adapter that was saved into `folder` a plain LoRA of twice the rank on the untouched base."""
    saved = load_file(folder / ADAPTER)
    rank = 0
    for name, layer in _started(model):
        down, up = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        rank = saved[down].shape[0]
        saved[down] = torch.cat([saved[down], layer.pissa_A.to(saved[down])])
        saved[up] = torch.cat([saved[up], -layer.pissa_B.to(saved[up])], dim=1)
    save_file(saved, str(folder / ADAPTER), metadata={"format": "pt"})
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / (math.sqrt(rank) if config["use_rslora"] else rank)
    alpha = scale * 2 * rank
    plain = {"r": 2 * rank, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha, "use_rslora": False}
    write_json(folder / CONFIG, config | plain)


def restore(model: Any, folder: Path) -> None:
    """Take up the adapter that `write_plain` wrote, bit by bit."""
    state = load_file(folder / ADAPTER, device="cpu")
    for name, layer in _started(model):
        down, up = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        rank = layer.r[NAME]
        layer.pissa_A.copy_(state[down][rank:])
        layer.pissa_B.copy_(-state[up][:, rank:])
        state[down], state[up] = state[down][:rank].contiguous(), state[up][:, :rank].contiguous()
    set_peft_model_state_dict(model, state, adapter_name=NAME)


def _take_up(model: Any, others: Callable[..., Any], folder: str | Path, adapter_name: str, **more: Any) -> Any:
    """Load an adapter from a folder; those of another name did not start so."""
    return restore(model, Path(folder)) if adapter_name == NAME else others(folder, adapter_name, **more)


def _adapted(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer))


def _started(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, layer) for name, layer in _adapted(model) if hasattr(layer, "pissa_A"))


def _principal(layer: Any, iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A (R, I) and B (O, R) with s B A the part of the weight that its R largest singular values make."""
    weight = layer.get_base_layer().weight.detach().float()
    weight_OI = weight.T if layer.fan_in_fan_out else weight
    rank = layer.r[NAME]
    if rank > min(weight_OI.shape):
        raise ModelError(
            f"--pissa_init True: --lora_rank {rank} must be at most {min(weight_OI.shape)}, the smaller side of the "
            "smallest adapted layer. Lower it, or leave that layer out of --lora_target."
        )
    if iterations < 0:
        left_OR, values, right_RI = torch.linalg.svd(weight_OI, full_matrices=False)
        left_OR, values_R, right_RI = left_OR[:, :rank], values[:rank], right_RI[:rank]
    else:
        left_OR, values_R, right_IR = torch.svd_lowrank(weight_OI, rank, niter=iterations)
        right_RI = right_IR.T
    root_R = (values_R / layer.scaling[NAME]).sqrt()
    return (root_R[:, None] * right_RI).contiguous(), (left_OR * root_R).contiguous()


def _without_start(layer: Any, args: Any, given: torch.Tensor) -> torch.Tensor:
    """What the layer gives, less the start, while this adapter is switched on."""
    if layer.disable_adapters or NAME not in layer.active_adapters:
        return given
    inputs = args[0].to(layer.pissa_A.dtype)
    start = torch.nn.functional.linear(torch.nn.functional.linear(inputs, layer.pissa_A), layer.pissa_B)
    left: torch.Tensor = given - start * layer.scaling[NAME]
    return left.to(given.dtype)
