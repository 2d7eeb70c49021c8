"""What has no use where the model writes the answers itself is refused, never ignored."""

from typing import Any

import pytest

from studio.errors import ArgumentError
from studio.recipe import make_recipe

NAMED = {"model_name_or_path": "m", "dataset": "d", "output_dir": "saves/x", "reward_function": "r.py:f"}
EVERYWHERE: list[dict[str, Any]] = [
    {"deepspeed": "ds.json"}, {"neftune_noise_alpha": 5}, {"label_smoothing_factor": 0.1}, {"torch_compile": True},
    {"torch_compile_backend": "eager"}, {"torch_compile_mode": "default"}, {"average_tokens_across_devices": False},
]  # fmt: skip
IN_PPO: list[dict[str, Any]] = [
    {"dataloader_num_workers": 2}, {"dataloader_drop_last": True}, {"dataloader_pin_memory": False},
    {"dataloader_in_order": False}, {"ignore_data_skip": True}, {"lora_dropout": 0.1},
]  # fmt: skip


def refusals(stage: str, values: dict[str, Any]) -> str:
    with pytest.raises(ArgumentError) as told:
        make_recipe({**NAMED, "stage": stage, **values})
    return str(told.value)


@pytest.mark.parametrize("stage", ["ppo", "grpo", "rloo"])
@pytest.mark.parametrize("values", EVERYWHERE, ids=lambda values: next(iter(values)))
def test_what_none_of_the_three_uses_is_refused(stage: str, values: dict[str, Any]):
    assert f"--{next(iter(values))}: not used by --stage {stage}: " in refusals(stage, values)


@pytest.mark.parametrize("values", IN_PPO, ids=lambda values: next(iter(values)))
def test_what_ppo_has_no_use_for_is_refused_there_only(values: dict[str, Any]):
    assert f"--{next(iter(values))}: not used by --stage ppo: " in refusals("ppo", values)
    make_recipe({**NAMED, "stage": "grpo", **values})


def test_details_of_what_is_switched_off_are_refused():
    told = refusals("ppo", {"ppo_kl_control": "fixed", "ppo_kl_horizon": 50})
    assert "--ppo_kl_horizon: says how fast" in told
    make_recipe({**NAMED, "stage": "ppo", "ppo_kl_control": "fixed"})
    assert "--use_bias_correction_kl False" in refusals("grpo", {"use_bias_correction_kl": False})
    make_recipe({**NAMED, "stage": "grpo", "use_bias_correction_kl": False, "beta": 0.1})


@pytest.mark.parametrize("optim", ["lomo", "adalomo"])
def test_ppo_refuses_an_optimizer_that_its_loop_cannot_drive(optim: str):
    values = {"finetuning_type": "full", "optim": optim}
    assert f"--optim {optim}: is driven from within the loop" in refusals("ppo", values)
    make_recipe({**NAMED, "stage": "grpo", **values})
