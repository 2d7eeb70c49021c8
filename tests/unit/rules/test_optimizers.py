"""Optimizers and courses of the rate that do not fit what is asked beside them are told so."""

from __future__ import annotations

import pytest

from studio.command import read_recipe
from studio.errors import ArgumentError

GALORE = "--optim galore_adamw --finetuning_type full --optim_target_modules attn"
BASE = ["--model_name_or_path=m", "--dataset=d", "--output_dir=o"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--optim galore_adamw", "--optim galore_adamw: projects the gradients of whole matrices"),
        ("--optim apollo_adamw --finetuning_type full", "works on. Add --optim_target_modules all-linear"),
        ("--optim galore_adamw_layerwise --finetuning_type full", "Use --optim galore_adamw."),
        ("--optim galore_adamw_layerwise --finetuning_type full --gradient_accumulation_steps 2", "Use --optim galore"),
        ("--optim galore_adamw_8bit --finetuning_type full --optim_target_modules attn", "Use --optim galore_adamw."),
        (f"{GALORE} --optim_args rnak=16", "galore reads rank, update_proj_gap, scale, proj_type, written as name=value"
         ". Did you mean rank?"),
        (f"{GALORE} --optim_args proj=svd", "galore reads rank"),
        (f"{GALORE} --optim_args rank=0", "rank must be a number above 0, whole."),
        (f"{GALORE} --optim_args proj_type=diagonal", "must be one of std, reverse_std, right, left, full."),
        (f"{GALORE} --weight_decay 0.1 --adam_beta2 0.95", "--weight_decay and --adam_beta2: not handed to"),
        (f"{GALORE} --deepspeed z.json",
         "needs whole gradients, which --deepspeed divides"),
        ("--optim schedule_free_adamw", "learns with other weights than it means to be measured and saved with"),
        ("--optim lomo --loraplus_lr_ratio 4", "has one rate for all weights"),
        ("--lr_scheduler_type warmup_stable_decay", """--lr_scheduler_kwargs '{"num_decay_steps": 100}'"""),
        ("--lr_scheduler_type cosine_with_min_lr", "needs min_lr_rate or min_lr."),
        ("--lr_scheduler_type constant --warmup_steps 10", "or use constant_with_warmup."),
        ("""--lr_scheduler_type constant --lr_scheduler_kwargs {"min_lr":1}""", "constant has no settings."),
    ],
)  # fmt: skip
def test_it_is_told(words: str, told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_recipe([*BASE, *words.split()])
    assert told in "\n".join(caught.value.complaints)
    assert len(caught.value.complaints) == 1


@pytest.mark.parametrize(
    "words",
    [
        "--optim galore_adamw --finetuning_type full --optim_target_modules all-linear --optim_args rank=16",
        "--optim apollo_adamw --finetuning_type freeze --optim_target_modules mlp --optim_args proj=svd,scale=0.5",
        f"{GALORE} --weight_decay 0",
        """--lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs {"min_lr":1e-6} --warmup_steps 10""",
        "--lr_scheduler_type constant_with_warmup --warmup_steps 0.1",
    ],
)
def test_it_is_taken(words: str) -> None:
    assert read_recipe([*BASE, *words.split()])[1] == []
