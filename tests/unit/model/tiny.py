"""Random models, adapters and their logits for the tests of merging; nothing learned, nothing fetched."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from studio.arguments.export import ExportArguments
from studio.model.export import export
from studio.model.report import Report

IDS_BT = torch.tensor([[1, 5, 9, 33, 2, 60], [7, 7, 3, 4, 50, 11]])


def qwen(folder: Path, *, tied: bool = True, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        initializer_range=0.1,
    )
    Qwen2ForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def gpt2(folder: Path) -> Path:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32, initializer_range=0.1)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, config: Any = None, **settings: Any) -> Path:
    """A random adapter on `base`, as if it had been trained; LoRA unless a config is given."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = config or LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, config)
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.data.add_(torch.randn_like(weight) * 0.1)
        wrapped.save_pretrained(folder)
    return folder


def logits(base: Path, *adapters: Path) -> torch.Tensor:
    """What the model says in float32, with the adapters beside its weights and not merged."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for folder in adapters:
        model = PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        return model.eval()(IDS_BT).logits


def exported(base: Path, adapters: list[Path], target: Path, **asked: Any) -> Report:
    return export(base, adapters, target, ExportArguments(**asked), say=lambda sentence: None)
