"""Which of the weights learn: all of them, some layers, or a small adapter beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from studio.arguments.base import Arguments, Names, arg

LORA = ("lora",)
FREEZE = ("freeze",)
# The word for the rows that a model's vocabulary.json names as added.
NEW = "new"
# No model has as many tokens as nine digits can name.
ROWS = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?")


def token_ranges(words: Sequence[str]) -> list[range]:
    """Ids as they are asked for, `7` or `49152-49999`, as ranges; `new` gives none. Raises ValueError."""
    found = []
    for word in words:
        first, _, last = word.partition("-")
        if word == NEW:
            continue
        if not ROWS.fullmatch(word):
            raise ValueError(f"{word!r} must be new, an id such as 7, or a range such as 49152-49999")
        if int(first) > int(last or first):
            raise ValueError(f"{word!r} must run from a smaller id to a larger one")
        found.append(range(int(first), int(last or first) + 1))
    return found


def _as_words(value: Any) -> Any:
    """A file may give ids as numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return tuple(str(each) if type(each) is int else each for each in value)
    return value


def _rows(value: tuple[str, ...]) -> tuple[str, ...]:
    token_ranges(value)
    return value


TokenRows = Annotated[Names, BeforeValidator(_as_words), AfterValidator(_rows)]
"""Ids of tokens: `7`, `49152-49999`, or `new`."""


class MethodArguments(Arguments):
    """The method of learning."""

    finetuning_type: Literal["lora", "full", "freeze"] = arg("lora", level="basic")
    """lora trains a small adapter, full every weight, freeze only some layers."""

    lora_rank: int = arg(8, level="basic", methods=LORA, ge=1, le=4096)
    """Width of the adapter: more learns more and costs more memory."""

    lora_alpha: int | None = arg(None, methods=LORA, ge=1, le=65536)
    """Strength of the adapter, divided by its rank; unset means twice the rank."""

    lora_dropout: float = arg(0.0, methods=LORA, ge=0, lt=1)
    """Share of the adapter's inputs dropped at random while training."""

    lora_target: Names = arg(("all",), methods=LORA)
    """Names of the modules that get an adapter; all means every linear layer but the head."""

    exclude_modules: Names = arg((), methods=LORA)
    """Modules that get no adapter though lora_target names them, such as down_proj."""

    additional_target: Names = arg((), methods=LORA)
    """Modules trained whole and saved beside the adapter, such as embed_tokens."""

    trainable_token_indices: TokenRows = arg((), methods=LORA)
    """Tokens whose own rows of the embeddings learn beside the adapter, and no others: new (those that studio
    tokenizer extend added), or ids and ranges such as 49152-49999."""

    use_rslora: bool = arg(False, methods=LORA)
    """Scale the adapter by alpha / sqrt(rank), which keeps large ranks stable (rsLoRA)."""

    use_dora: bool = arg(False, methods=LORA)
    """Learn direction and magnitude apart (DoRA): somewhat better, several times slower."""

    lora_bias: bool = arg(False, methods=LORA)
    """Let the adapter learn a bias too; only on layers that have one, such as q_proj of Qwen2."""

    pissa_init: bool = arg(False, methods=LORA)
    """Start from the largest singular values of the weights (PiSSA), which learns faster at first."""

    pissa_iter: int = arg(16, methods=LORA, ge=-1, le=1000)
    """Steps of the quick search for these; -1 takes the whole decomposition, exact and slow."""

    create_new_adapter: bool = arg(False, methods=LORA)
    """Merge the adapters that are named into the base and learn a new one on top, instead of going on."""

    loraplus_lr_ratio: float | None = arg(None, methods=LORA, gt=0, le=10_000)
    """Learning rate of the adapter's B matrices over that of A (LoRA+); 16 is usual."""

    loraplus_lr_embedding: float = arg(1e-6, methods=LORA, gt=0, le=10)
    """Learning rate of embeddings under LoRA+."""

    freeze_trainable_layers: int = arg(2, methods=FREEZE, ge=-10_000, le=10_000)
    """How many layers learn: positive counts from the last, negative from the first."""

    freeze_trainable_modules: Names = arg(("all",), methods=FREEZE)
    """Parts of these layers that learn, such as mlp or self_attn; all means the whole layer."""

    freeze_extra_modules: Names = arg((), methods=FREEZE)
    """Modules outside the layers that learn too, such as embed_tokens or norm."""
