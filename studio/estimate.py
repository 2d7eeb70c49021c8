"""What a run will cost, before it starts: weights that learn, memory, disk, time. Each with its basis.

The sums come from the headers of the weight files and the lengths of the rendered rows; no weight is
loaded. They are estimates: good to a third or so, and said to be that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.arguments.method import MethodArguments
from studio.errors import ModelError, counted
from studio.model.adapt import layer_count, learns, linear_weights, trained_layers
from studio.model.hardware import Hardware, Precision
from studio.model.quantise import Rounding
from studio.model.token_rows import ends_of, ids_of
from studio.model.weights import Tensor
from studio.registry import did_you_mean

# Numbers of state that an optimizer keeps for each weight that learns, by a part of its name; the others
# keep two, as AdamW does.
STATE = {"adafactor": 0, "lomo": 0, "ademamix": 3, "lion": 1, "rmsprop": 1, "adagrad": 1}

# Activations come and go in many sizes and leave gaps in what an allocator holds: measured with rows of 50 to 290
# tokens on a CPU (sft, dpo, ppo, grpo), up to a third of them.
GAPS = 1.35


@dataclass(frozen=True)
class Figure:
    """A number of the plan, in words, with what it rests on."""

    value: float
    text: str
    basis: str


@dataclass(frozen=True)
class Load:
    """Something beside the model that learns: bytes held all the time, and those it takes in passing.

    What is taken in passing is gone before gradients are computed; `passing` says in words what it is.
    """

    name: str
    held_bytes: float
    passing: str = ""
    passing_bytes: float = 0.0


@dataclass(frozen=True)
class Held:
    """The weights of a run: bytes of those that stay, number of those that learn, bytes of state for each of these.

    `unrolled_bytes` is the largest rounded matrix in full, as it is while it is used, and the embeddings where rows of
    them learn alone. A weight that learns and its
    gradient take `weight_bytes` and `gradient_bytes` here; `processes` divide among them the optimizer's state and
    the `copy_bytes` of its own copy of such a weight. `reference_bytes` are those of a frozen copy of all that learn.
    """

    frozen_bytes: float
    learning: int
    state_bytes: float
    unrolled_bytes: float = 0.0
    weight_bytes: float = 4.0
    gradient_bytes: float = 4.0
    copy_bytes: float = 0.0
    processes: int = 1
    reference_bytes: float = 0.0

    @property
    def least_bytes(self) -> float:
        """What the weights alone take, those that learn in float32 where they are not divided."""
        return self.frozen_bytes + self.weight_bytes * self.learning

    @property
    def learning_bytes(self) -> float:
        """What a weight that learns takes with its gradient and the optimizer's share here."""
        return self.weight_bytes + self.gradient_bytes + (self.state_bytes + self.copy_bytes) / self.processes


def hold(
    weights: Mapping[str, Tensor], method: MethodArguments, optim: str, precision: Precision, rounding: Rounding | None
) -> Held:
    """What the weights of a run take, with the frozen linear layers rounded as asked."""
    learning = trainable(weights, method)
    if method.finetuning_type == "full":
        return Held(0, learning, state_bytes(optim))
    width = 4 if precision == "fp32" else 2
    largest = max((tensor.count for tensor in linear_weights(weights).values()), default=0) if rounding else 0
    if method.trainable_token_indices:
        # The head with those rows put into it, and the gradient of all of it, from which theirs is taken.
        largest += 2 * max((tensor.count for tensor in ends_of(weights).values()), default=0)
    return Held(frozen_bytes(weights, width, rounding), learning, state_bytes(optim), largest * width)


def frozen_bytes(weights: Mapping[str, Tensor], width: int, rounding: Rounding | None) -> float:
    """What weights take that do not learn: `width` bytes each, or the linear layers rounded."""
    rounded = linear_weights(weights) if rounding else {}
    kept = sum(tensor.count for name, tensor in weights.items() if name not in rounded)
    return kept * width + (sum(rounding.nbytes(tensor.shape) for tensor in rounded.values()) if rounding else 0)


def divided(held: Held, stage: int, world: int, precision: Precision) -> Held:
    """What one of `world` processes takes when ZeRO of this stage divides the work (arXiv 1910.02054, section 5)."""
    width = 4 if precision == "fp32" else 2
    return replace(
        held,
        frozen_bytes=held.frozen_bytes / (world if stage == 3 else 1),
        weight_bytes=width / (world if stage == 3 else 1),
        gradient_bytes=width / (world if stage >= 2 else 1),
        copy_bytes=4,
        processes=world,
    )


def state_bytes(optim: str) -> float:
    """Bytes that an optimizer, by its name upstream, keeps for each weight that learns."""
    numbers = 0 if optim == "sgd" else next((count for part, count in STATE.items() if part in optim), 2)
    # 8-bit states have a scale of 4 bytes for 256 numbers.
    return numbers * (1 + 4 / 256 if "8bit" in optim else 4)


def adapted(weights: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
    """The weights that get a LoRA adapter. Raises ModelError for a target no weight has."""
    if tuple(targets) == ("all",):
        return linear_weights(weights)
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
    for name, tensor in adapted(weights, method.lora_target).items():
        if name.removesuffix(".weight").endswith(tuple(f".{left}" for left in method.exclude_modules)):
            continue
        low_rank += method.lora_rank * sum(tensor.shape)
        low_rank += max(tensor.shape) if method.use_dora else 0
    rows = len(ids_of(method.trainable_token_indices))
    return low_rank + whole + sum(rows * tensor.shape[1] for tensor in ends_of(weights).values() if rows)


def memory(
    held: Held,
    config: Mapping[str, Any],
    precision: Precision,
    batch: tuple[int, int],
    *,
    full: bool,
    checkpointing: bool,
    program_bytes: int,
    beside: Sequence[Load] = (),
) -> Figure:
    """Bytes at the highest: weights, gradients, the optimizer's state, activations, logits, and what lies beside.

    `batch` are the tokens and the labels of one micro-batch; `program_bytes` is what the libraries take of
    the same memory. Of what is taken in passing the most counts, as far as it is beyond activations and logits.
    """
    tokens, labels = batch
    learned = held.learning * held.learning_bytes
    hidden, layers, inner, vocabulary = shape_of(config)
    width = 4 if precision == "fp32" else 2
    # Numbers a layer keeps for each token, measured on a 135M Llama; adapters keep inputs of their own.
    kept = 14 * hidden + 4 * inner if full else 22 * hidden + 5.5 * inner
    kept_per_layer = hidden + kept * 2 / max(layers, 1) if checkpointing else kept
    activations = tokens * layers * kept_per_layer * width * GAPS
    logits = labels * vocabulary * (width + 8)
    weights = held.frozen_bytes + held.unrolled_bytes
    most = max(beside, key=lambda load: load.passing_bytes, default=Load("", 0))
    more = max(most.passing_bytes - activations - logits, 0)
    extra = sum(load.held_bytes for load in beside) + more
    value = weights + learned + held.reference_bytes + activations + logits + program_bytes + extra
    shown = held.learning * held.weight_bytes if full else 0
    copy = f"a copy of them as the reference {gib(held.reference_bytes)}, " if held.reference_bytes else ""
    others = "".join(f"{load.name} {gib(load.held_bytes)}, " for load in beside if load.held_bytes)
    basis = (
        f"the program {gib(program_bytes)}, weights {gib(weights + shown)}, gradients and optimizer "
        f"{gib(learned - shown)}, {copy}{others}"
        f"activations of {tokens:,} tokens {gib(activations)}, logits of {labels:,} "
        f"targets {gib(logits)}" + (f", beyond these {most.passing} {gib(more)}" if more else "")
    )
    return Figure(value, gib(value), basis)


def pass_bytes(config: Mapping[str, Any], tokens: int, labels: int, width: int) -> float:
    """Bytes of a pass without gradients: the numbers of one layer at a time, and the logits of `labels` targets."""
    hidden, _, inner, vocabulary = shape_of(config)
    return tokens * (8 * hidden + 4 * inner) * width + labels * vocabulary * (width + 8)


def writing_bytes(
    config: Mapping[str, Any], answers: int, prompt: int, written: int, width: int, *, cut: bool
) -> float:
    """Bytes while so many answers are written together: keys and values, the first pass, the choice of a token.

    A layer's keys and values are joined with the next token's into new ones beside the old. Chances are computed
    in 8 bytes; `cut`: the unlikely tokens are sorted out, which needs them in order (`studio.loop.rollout.choose`).
    """
    layers, vocabulary = shape_of(config)[1], shape_of(config)[3]
    kept = (layers + 1) * _keys_and_values(config) * answers * (prompt + written) * width
    choice = answers * vocabulary * (width + 4 + 8 * (8 if cut else 4))
    return kept + choice + pass_bytes(config, answers * prompt, 0, width)


def _keys_and_values(config: Mapping[str, Any]) -> int:
    """Numbers that a layer keeps of each token: as many heads as it has for keys, else for queries, twice."""
    facts = {**config, **(config.get("text_config") or {})}
    heads = int(facts.get("num_attention_heads") or facts.get("n_head") or 1)
    size = int(facts.get("head_dim") or shape_of(config)[0] // heads)
    return 2 * int(facts.get("num_key_value_heads") or heads) * size


def shape_of(config: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Hidden size, layers, inner size and vocabulary, by the names families give them."""
    facts = {**config, **(config.get("text_config") or {})}

    def first(*names: str) -> int:
        return next((int(facts[name]) for name in names if facts.get(name)), 0)

    hidden = first("hidden_size", "n_embd", "d_model")
    inner = first("intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * hidden
    return hidden, first("num_hidden_layers", "n_layer", "num_layers"), inner, first("vocab_size")


def disk(weights: Mapping[str, Tensor], held: Held, *, full: bool, checkpoints: int, only_model: bool) -> Figure:
    """Bytes on disk at the end: the checkpoints kept, one more while it is written, the final weights."""
    total = sum(tensor.count for tensor in weights.values())
    saved = 4 * (total if full else held.learning)
    each = saved + (0 if only_model else (held.state_bytes + held.copy_bytes) * held.learning)
    value = (each * (checkpoints + 1 if checkpoints else 0) + saved) * 1.05 + 8 * 2**20
    return Figure(
        value,
        gib(value),
        f"{counted(checkpoints, 'checkpoint')} of {gib(each)} kept, one being written, final weights {gib(saved)}",
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
