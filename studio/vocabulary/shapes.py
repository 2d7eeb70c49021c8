"""Shapes of new models by size, and how many parameters come of one; light, so that the page may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from studio.errors import ArgumentError


@dataclass(frozen=True)
class Shape:
    """The numbers of a config.json that decide how many weights there are; V is the rows of the embeddings."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    head_dim: int

    def layers(self, kind: str) -> int:
        """Parameters of all layers and the last norm, for a llama, qwen2 or qwen3."""
        width, heads, keys = self.hidden_size, self.num_attention_heads, self.num_key_value_heads
        attention = 2 * width * heads * self.head_dim + 2 * width * keys * self.head_dim
        biases = (heads + 2 * keys) * self.head_dim if kind == "qwen2" else 0
        norms = 2 * width + (2 * self.head_dim if kind == "qwen3" else 0)
        return self.num_hidden_layers * (attention + biases + norms + 3 * width * self.intermediate_size) + width

    def parameters(self, kind: str, rows: int, *, tied: bool) -> int:
        """All parameters, with embeddings of so many rows."""
        return self.layers(kind) + rows * self.hidden_size * (1 if tied else 2)


# Narrow and deep as the small models of today are (SmolLM2 has the shape of 135M, Qwen2.5 that of 0.5B).
SIZES: Mapping[str, Shape] = {
    "1M": Shape(128, 4, 4, 2, 448, 32),
    "5M": Shape(256, 6, 4, 2, 768, 64),
    "15M": Shape(384, 8, 6, 2, 1088, 64),
    "60M": Shape(512, 20, 8, 4, 1408, 64),
    "135M": Shape(576, 30, 9, 3, 1536, 64),
    "0.5B": Shape(896, 24, 14, 2, 4864, 64),
}


def shape_of(asked: Any) -> Shape:
    """The shape that `--model_size` and the numbers beside it say.

    Raises ArgumentError with all that do not fit together.
    """
    usual = SIZES[asked.model_size]
    width = asked.hidden_size or usual.hidden_size
    heads = asked.num_attention_heads or _heads(usual, width)
    # Keys and values of a fewer heads must go up in the others.
    keys = asked.num_key_value_heads or next(
        n for n in range(min(usual.num_key_value_heads, heads), 0, -1) if heads % n == 0
    )
    inner = asked.intermediate_size or (usual.intermediate_size if width == usual.hidden_size else _inner(width))
    head = asked.head_dim or (usual.head_dim if asked.hidden_size is None and asked.num_attention_heads is None else 0)
    wrong = []
    if not head:
        head = width // heads
        if width % heads:
            wrong.append(f"--hidden_size {width}: must be a multiple of the {heads} heads, or set --head_dim.")
    if heads % keys:
        wrong.append(f"--num_key_value_heads {keys}: must divide the {heads} heads of --num_attention_heads.")
    if head % 2 or head < 2:
        wrong.append(f"--head_dim {head}: must be even, as rotary positions turn pairs of numbers.")
    if wrong:
        raise ArgumentError(wrong)
    made = replace(usual, hidden_size=width, num_attention_heads=heads, num_key_value_heads=keys)
    layers = asked.num_hidden_layers or usual.num_hidden_layers
    return replace(made, intermediate_size=inner, head_dim=head, num_hidden_layers=layers)


def _heads(usual: Shape, width: int) -> int:
    if width == usual.hidden_size:
        return usual.num_attention_heads
    return next((width // size for size in (usual.head_dim, 64, 32, 16, 8) if width % size == 0), 1)


def _inner(width: int) -> int:
    """8/3 of the width, up to the next multiple of 32: a gated layer then costs as much as a plain one of 4."""
    return -(-width * 8 // 3 // 32) * 32


def told(count: int) -> str:
    """A number of parameters as people say it: 4.2M, 1.35B."""
    if count < 1_000_000:
        return f"{count / 1e3:.0f}K"
    return f"{count / 1e6:.1f}M" if count < 1_000_000_000 else f"{count / 1e9:.2f}B"
