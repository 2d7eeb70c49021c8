"""What must hold where rows of several datasets are mixed."""

from __future__ import annotations

from typing import Any

import pytest

from studio.errors import ArgumentError
from studio.recipe import make_recipe

TWO = {"stage": "pt", "model_name_or_path": "m", "output_dir": "saves/x", "dataset": "a,b"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"interleave_probs": "0.5,0.5"}, "needs --mix_strategy interleave_under"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "0.5,0.3,0.2"}, "they are 3 for 2"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "1,2", "train_file": "c.csv"}, "they are 2 for 3"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "0.5,-0.5"}, "'-0.5' is none"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "0.5,nan"}, "'nan' is none"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "0.5,0"}, "'0' is none"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "0.5,inf"}, "'inf' is none"),
        ({"mix_strategy": "interleave_over", "interleave_probs": "0.5,half"}, "'half' is none"),
        ({"mix_strategy": "interleave_often"}, "--mix_strategy interleave_often: must be one of concat"),
        ({"sample_policy_file": "shares.json"}, "--dataset beside it would be unclear"),
        ({"sample_policy_file": "s.json", "dataset": "", "max_samples": 3}, "--max_samples beside it"),
        ({"sample_policy_file": "s.json", "dataset": "", "mix_strategy": "interleave_over"}, "interleave_over beside"),
    ],
)  # fmt: skip
def test_what_cannot_be_mixed_is_told(values: dict[str, Any], why: str):
    with pytest.raises(ArgumentError) as told:
        make_recipe({**TWO, **values})
    assert why in str(told.value) and len(told.value.complaints) == 1


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mix_strategy": "interleave_under"},
        {"mix_strategy": "interleave_over", "interleave_probs": "7,3"},
        {"mix_strategy": "interleave_once", "interleave_probs": ("0.7", "0.3")},
        {"sample_policy_file": "shares.json", "dataset": ""},
    ],
)
def test_what_can_be_mixed_is_taken(values: dict[str, Any]):
    made, _ = make_recipe({**TWO, **values})
    assert made.data.mix_strategy == values.get("mix_strategy", "concat")
