"""What may not be asked together of dpo and kto is refused before the start."""

from typing import Any

import pytest

from studio.errors import ArgumentError
from studio.recipe import STAGES, make_recipe

NAMED = {"model_name_or_path": "m", "dataset": "d", "output_dir": "saves/x"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dpo_label_smoothing": 0.1, "pref_loss": "hinge"}, "--pref_loss sigmoid, not for hinge"),
        ({"dpo_label_smoothing": 0.5}, "at least 0 and below 0.5"),
        ({"simpo_gamma": 1, "pref_loss": "sigmoid"}, "--simpo_gamma 1: is the margin of --pref_loss simpo"),
        ({"pref_loss": "orpo", "ref_model": "m"}, "--ref_model: --pref_loss orpo needs no reference"),
        ({"pref_loss": "simpo", "precompute_ref_log_probs": True}, "--precompute_ref_log_probs: --pref_loss simpo"),
        ({"ref_model_adapters": "a"}, "--ref_model_adapters: says how --ref_model is loaded"),
        ({"ref_model_quantization_bit": 8}, "--ref_model_quantization_bit: says how"),
        ({"ref_model": "m", "ref_model_quantization_bit": "5"}, "must be 4 or 8"),
        ({"ref_model": "m", "ref_model_adapters": "a,b", "ref_model_quantization_bit": 4}, "cannot take them without"),
        ({"label_smoothing_factor": 0.1}, "--dpo_label_smoothing"),
        ({"pref_beta": 0}, "--pref_beta 0: must be a number, above 0"),
        ({"packing": True}, "--packing"),
        ({"stage": "kto", "pref_loss": "ipo"}, "not used by --stage kto, only by dpo"),
        ({"stage": "kto", "label_smoothing_factor": 0.1}, "--label_smoothing_factor"),
        ({"stage": "kto", "kto_chosen_weight": 0, "kto_rejected_weight": 0}, "nothing is learned"),
        ({"stage": "sft", "pref_beta": 0.3}, "not used by --stage sft"),
    ],
)
def test_contradictions_are_refused_with_the_reason(values: dict[str, Any], words: str):
    with pytest.raises(ArgumentError) as told:
        make_recipe({**NAMED, "stage": "dpo", **values})
    assert words in str(told.value)


@pytest.mark.parametrize(
    "values",
    [
        {"stage": "dpo", "dpo_label_smoothing": 0.3},
        {"stage": "dpo", "pref_loss": "simpo", "simpo_gamma": 1.2, "pref_beta": 2},
        {"stage": "dpo", "ref_model": "m", "ref_model_adapters": "a,b"},
        {"stage": "kto", "pref_beta": 0.3, "pref_ftx": 0.1, "precompute_ref_log_probs": True},
    ],
)
def test_what_goes_together_is_taken(values: dict[str, Any]):
    recipe, notes = make_recipe({**NAMED, **values})
    assert notes == []
    assert recipe.way.wants == {"dpo": "pairs", "kto": "judged"}[recipe.stage]


def test_what_both_stages_ask_is_one_declaration():
    shared = STAGES["dpo"].fields.model_fields.keys() & STAGES["kto"].fields.model_fields.keys()
    assert {"pref_beta", "pref_ftx", "ref_model", "precompute_ref_log_probs"} <= shared
