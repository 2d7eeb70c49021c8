"""Methods, bases and starts that exclude each other are told so, with the way out."""

from __future__ import annotations

import pytest

from studio.command import read_recipe
from studio.errors import ArgumentError

BASE = ["--model_name_or_path=m", "--dataset=d", "--output_dir=o"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--pissa_init --use_dora", "--pissa_init True: --use_dora True measures the length of the weights"),
        ("--pissa_init --adapter_name_or_path a", "Leave it out, or add --create_new_adapter True."),
        ("--pissa_init --quantization_bit 8", "--quantization_bit 8 holds them rounded"),
        ("--pissa_init --deepspeed z.json", "--pissa_init True: --deepspeed divides the weights"),
        ("--pissa_iter 4", "--pissa_iter: only used with --pissa_init True."),
        ("--pissa_init --finetuning_type full", "--pissa_init: only used by --finetuning_type lora"),
        ("--create_new_adapter", "--create_new_adapter True: needs the adapters that go into the base first."),
        ("--resize_vocab --adapter_name_or_path a", "know the vocabulary they learned with"),
        ("--resize_vocab --quantization_bit 4", "the embeddings of a base in 4 bits cannot grow"),
        ("--resize_vocab --deepspeed z.json", "--deepspeed divides the embeddings"),
        ("--rope_factor 2", "--rope_factor: only used with --rope_scaling."),
        ("--use_dora --lora_bias", "exclude each other"),
        ("--llm_int8_threshold 4 --quantization_bit 4", "--llm_int8_threshold: only used with --quantization_bit 8"),
        ("--quantization_type fp4 --quantization_bit 8", "only used with --quantization_bit 4"),
        ("--quantization_bit 4 --finetuning_type freeze", "--quantization_bit: only used by --finetuning_type lora"),
        ("--trainable_token_indices 7 --resize_vocab", "--resize_vocab True learns all embeddings."),
        ("--trainable_token_indices new --additional_target lm_head", "--additional_target lm_head learns every row."),
        ("--trainable_token_indices 7 --lora_target q_proj,embed_tokens", "puts an adapter on the same weights."),
        ("--trainable_token_indices 9-7", "'9-7' must run from a smaller id to a larger one"),
        ("--trainable_token_indices 7,old", "'old' must be new, an id such as 7, or a range such as 49152-49999"),
        ("--trainable_token_indices new --finetuning_type freeze", "only used by --finetuning_type lora"),
        ("--bias all", "write --lora_bias True for biases in the adapter"),
    ],
)
def test_it_is_told(words: str, told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_recipe([*BASE, *words.split()])
    (complaint,) = caught.value.complaints
    assert told in complaint


@pytest.mark.parametrize(
    "words",
    [
        "--pissa_init --use_rslora --pissa_iter -1",
        "--pissa_init --adapter_name_or_path a,b --create_new_adapter",
        "--resize_vocab --finetuning_type full",
        "--rope_scaling llama3 --rope_factor 2.5 --quantization_bit 4",
        "--llm_int8_threshold 0 --quantization_bit 8",
        "--trainable_token_indices new,7,9-11 --additional_target norm --use_dora",
    ],
)
def test_it_is_taken(words: str) -> None:
    assert read_recipe([*BASE, *words.split()])[1] == []
