"""What a run will cost, before it starts: weights that learn, memory, disk, time. Each with its basis.

The sums come from the headers of the weight files and the lengths of the rendered rows; no weight is
loaded. They are estimates: good to a third or so, and said to be that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.arguments.method import MethodArguments
from studio.errors import ModelError
from studio.model.adapt import layer_count, learns, trained_layers
from studio.model.hardware import Hardware, Precision
from studio.model.weights import Tensor
from studio.registry import did_you_mean

# Embeddings and heads get no adapter, and peft finds no layers in experts, which are one tensor for all.
NOT_ADAPTED = re.compile(r"\.([^.]*embed[^.]*|wte|wpe|lm_head|shared|experts)\.")


@dataclass(frozen=True)
class Figure:
    """A number of the plan, in words, with what it rests on."""

    value: float
    text: str
    basis: str


def adapted(weights: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
    """The weights that get a LoRA adapter. Raises ModelError for a target no weight has."""
    matrices = {
        name: tensor
        for name, tensor in weights.items()
        if name.endswith(".weight") and len(tensor.shape) == 2 and not NOT_ADAPTED.search(f".{name}")
    }
    if tuple(targets) == ("all",):
        return matrices
    every = {n: t for n, t in weights.items() if n.endswith(".weight") and len(t.shape) == 2}
    modules = {name: name.removesuffix(".weight") for name in every}
    for target in targets:
        if not any(module == target or module.endswith(f".{target}") for module in modules.values()):
            last = sorted({module.rpartition(".")[2] for module in modules.values()})
            raise ModelError(
                f"--lora_target {target}: must be all or a linear layer of this model, which has "
                f"{', '.join(last)}.{did_you_mean(target, last)}"
            )
    return {
        name: tensor
        for name, tensor in every.items()
        if any(modules[name] == target or modules[name].endswith(f".{target}") for target in targets)
    }


def trainable(weights: Mapping[str, Tensor], method: MethodArguments) -> int:
    """How many weights learn."""
    if method.finetuning_type == "full":
        return sum(tensor.count for tensor in weights.values())
    if method.finetuning_type == "freeze":
        layers = trained_layers(layer_count(weights), method.freeze_trainable_layers)
        chosen = [
            tensor.count
            for name, tensor in weights.items()
            if learns(name, layers, method.freeze_trainable_modules, method.freeze_extra_modules)
        ]
        return sum(chosen)
    extra = {f".{name}." for name in method.additional_target}
    whole = sum(t.count for name, t in weights.items() if any(part in f".{name}" for part in extra))
    low_rank = 0
    for tensor in adapted(weights, method.lora_target).values():
        low_rank += method.lora_rank * sum(tensor.shape)
        low_rank += max(tensor.shape) if method.use_dora else 0
    return low_rank + whole


def memory(
    weights: Mapping[str, Tensor],
    learning: int,
    config: Mapping[str, Any],
    precision: Precision,
    batch: tuple[int, int],
    *,
    full: bool,
    checkpointing: bool,
    program_bytes: int,
) -> Figure:
    """Bytes at the highest: weights, gradients, AdamW's two moments, activations, logits.

    `batch` are the tokens and the labels of one micro-batch; `program_bytes` is what the libraries take of
    the same memory.
    """
    tokens, labels = batch
    total = sum(tensor.count for tensor in weights.values())
    stored = 4 if precision == "fp32" else 2
    frozen = 0 if full else total * stored
    # float32: the weight, its gradient, two moments of the optimizer
    learned = learning * 16
    hidden, layers, inner, vocabulary = shape_of(config)
    width = 4 if precision == "fp32" else 2
    # Numbers a layer keeps for each token, measured on a 135M Llama; adapters keep inputs of their own.
    kept = 14 * hidden + 4 * inner if full else 22 * hidden + 5.5 * inner
    kept_per_layer = hidden + kept * 2 / max(layers, 1) if checkpointing else kept
    activations = tokens * layers * kept_per_layer * width
    logits = labels * vocabulary * (width + 8)
    value = frozen + learned + activations + logits + program_bytes
    basis = (
        f"the program {gib(program_bytes)}, weights {gib(frozen + (learning * 4 if full else 0))}, gradients and AdamW "
        f"{gib(learning * 12)}, activations of {tokens:,} tokens {gib(activations)}, logits of {labels:,} "
        f"targets {gib(logits)}"
    )
    return Figure(value, gib(value), basis)


def shape_of(config: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Hidden size, layers, inner size and vocabulary, by the names families give them."""
    facts = {**config, **(config.get("text_config") or {})}

    def first(*names: str) -> int:
        return next((int(facts[name]) for name in names if facts.get(name)), 0)

    hidden = first("hidden_size", "n_embd", "d_model")
    inner = first("intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * hidden
    return hidden, first("num_hidden_layers", "n_layer", "num_layers"), inner, first("vocab_size")


def disk(weights: Mapping[str, Tensor], learning: int, *, full: bool, checkpoints: int, only_model: bool) -> Figure:
    """Bytes on disk at the end: the checkpoints kept, one more while it is written, the final weights."""
    total = sum(tensor.count for tensor in weights.values())
    saved = 4 * (total if full else learning)
    each = saved + (0 if only_model else 8 * learning)
    value = (each * (checkpoints + 1 if checkpoints else 0) + saved) * 1.05 + 8 * 2**20
    return Figure(
        value,
        gib(value),
        f"{checkpoints} checkpoints of {gib(each)} kept, one being written, final weights {gib(saved)}",
    )


def duration(
    weights: Mapping[str, Tensor], tokens: int, hardware: Hardware, precision: Precision, *, full: bool
) -> Figure:
    """Seconds of computing for `tokens`, from a measured matrix product.

    FLOP per token and weight: 6 where all weights learn, 4 for an adapter, which needs no gradients
    of the frozen weights (Kaplan et al., arXiv 2001.08361, section 2.1).
    """
    count = sum(t.count for name, t in weights.items() if "embed" not in name)
    rate = matrix_rate(hardware, precision)
    value = tokens * count * (6 if full else 4) / (rate * 0.35)
    return Figure(value, clock(value), f"{tokens:,} tokens at a third of the measured {rate / 1e9:,.0f} GFLOP/s")


def matrix_rate(hardware: Hardware, precision: Precision) -> float:
    """FLOP/s of a matrix product in this precision, measured for a moment."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 8192 if hardware.device == "cuda" else 768
    left = torch.ones(size, size, dtype=dtype, device=hardware.device)
    best_s = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        product = left @ left
        product[0, 0].item()
        best_s = min(best_s, time.perf_counter() - began)
    return 2 * size**3 / best_s


def gib(value: float) -> str:
    """Bytes for people."""
    return f"{value / 2**30:,.2f} GiB" if value >= 2**28 else f"{value / 2**20:,.1f} MiB"


def clock(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    return f"about {seconds / 60:,.0f} min" if seconds < 5400 else f"about {seconds / 3600:,.1f} h"
