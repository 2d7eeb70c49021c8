"""What learns under freeze and in an adapter, by name on several families, as the plan counts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from studio.arguments.method import MethodArguments
from studio.errors import ModelError
from studio.estimate import trainable
from studio.model.adapt import adapt, trainable_weights
from studio.model.weights import tensors
from tests.unit.model.tiny import gpt2, qwen


def llama(folder: Path) -> Path:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "asked", "learns", "stays"),
    [
        (
            llama,
            {"freeze_trainable_layers": 1, "freeze_trainable_modules": ["mlp"]},
            "layers.2.mlp",
            "layers.2.self_attn",
        ),
        (llama, {"freeze_trainable_layers": -2, "freeze_extra_modules": ["lm_head", "norm"]}, "lm_head", "layers.2"),
        (qwen, {"freeze_trainable_layers": 1, "freeze_extra_modules": ["embed_tokens"]}, "embed_tokens", "layers.0"),
        (gpt2, {"freeze_trainable_layers": 1, "freeze_trainable_modules": ["attn", "ln_1"]}, "h.1.attn", "h.1.mlp"),
        (gpt2, {"freeze_trainable_layers": 2, "freeze_extra_modules": ["wte", "ln_f"]}, "wte", "wpe"),
    ],
)
def test_layers_and_modules_learn_by_their_names(tmp_path: Path, family: Any, asked: Any, learns: str, stays: str):
    method = MethodArguments(finetuning_type="freeze", **asked)
    model = adapt(AutoModelForCausalLM.from_pretrained(family(tmp_path)), method, ())
    named = {name: weight.requires_grad for name, weight in model.named_parameters()}
    assert all(learning for name, learning in named.items() if learns in name)
    assert not any(learning for name, learning in named.items() if stays in name)
    assert trainable_weights(model) == trainable(tensors(tmp_path), method)


@pytest.mark.parametrize("names", [["mlpp"], ["self_attn"]])
def test_a_module_that_a_family_does_not_have_is_told_with_those_it_has(tmp_path: Path, names: list[str]):
    method = MethodArguments(finetuning_type="freeze", freeze_trainable_modules=names)
    with pytest.raises(ModelError, match=f"--freeze_trainable_modules {names[0]}: must be a module of this model"):
        adapt(AutoModelForCausalLM.from_pretrained(gpt2(tmp_path)), method, ())


@pytest.mark.parametrize("asked", [{}, {"exclude_modules": ["down_proj"]}, {"additional_target": ["embed_tokens"]}])
def test_the_plan_counts_the_weights_of_an_adapter(tmp_path: Path, asked: Any):
    method = MethodArguments(lora_rank=4, **asked)
    model = adapt(AutoModelForCausalLM.from_pretrained(llama(tmp_path)), method, ())
    assert trainable_weights(model) == trainable(tensors(tmp_path), method)
    assert any("down_proj.lora_A" in name for name, _ in model.named_parameters()) == ("exclude_modules" not in asked)
