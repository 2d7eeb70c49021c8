"""Shapes of new models: the number of parameters that is told is the one that transformers counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from studio.errors import ArgumentError
from studio.vocabulary.shapes import SIZES, shape_of, told

UNSET = dict.fromkeys(
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "head_dim"]
)


def asked(size: str = "1M", **values: Any) -> SimpleNamespace:
    return SimpleNamespace(model_size=size, **{**UNSET, **values})


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_parameters_told_are_those_of_the_model(kind: str, size: str, tied: bool) -> None:
    import torch
    import transformers

    from studio.vocabulary.new_model import CLASSES

    shape = shape_of(asked(size))
    config = getattr(transformers, CLASSES[kind])(vocab_size=512, tie_word_embeddings=tied, **vars(shape))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert shape.parameters(kind, 512, tied=tied) == sum(weight.numel() for weight in model.parameters())


def test_a_number_of_ones_own_takes_the_others_along() -> None:
    shape = shape_of(asked("5M", hidden_size=96, num_hidden_layers=2))
    assert (shape.hidden_size, shape.num_hidden_layers, shape.intermediate_size) == (96, 2, 256)
    assert shape.num_attention_heads * shape.head_dim == 96
    assert shape.num_attention_heads % shape.num_key_value_heads == 0


@pytest.mark.parametrize(("values", "says"), [
    ({"hidden_size": 100, "num_attention_heads": 3}, "multiple of the 3 heads"),
    ({"num_attention_heads": 4, "num_key_value_heads": 3}, "must divide the 4 heads"),
    ({"head_dim": 33}, "must be even"),
])  # fmt: skip
def test_numbers_that_do_not_fit_each_other_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        shape_of(asked(**values))


def test_numbers_of_parameters_as_people_say_them() -> None:
    assert [told(n) for n in (12_000, 8_817_920, 1_350_000_000)] == ["12K", "8.8M", "1.35B"]
