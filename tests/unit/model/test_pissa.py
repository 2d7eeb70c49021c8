"""PiSSA: the model is the base at the start, and the adapter that is saved is a plain one of the untouched base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from studio.arguments.method import MethodArguments
from studio.errors import ModelError
from studio.model.adapt import adapt
from studio.model.pissa import restore, write_plain
from tests.unit.model.tiny import IDS_BT, exported, gpt2, logits, qwen


def started(base: Path, **asked: Any) -> Any:
    """A model with a new adapter that starts with PiSSA."""
    torch.manual_seed(3)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return adapt(model, MethodArguments(pissa_init=True, **{"lora_rank": 4, "pissa_iter": -1, **asked}), ())


def moved(model: Any) -> Any:
    """As if it had learned."""
    torch.manual_seed(4)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn_like(weight) * 0.05)
    return model


@torch.no_grad()
def said(model: Any) -> torch.Tensor:
    return model.eval()(IDS_BT).logits


@pytest.mark.parametrize(
    "asked",
    [{}, {"pissa_iter": 8}, {"use_rslora": True, "lora_rank": 3}, {"additional_target": ["lm_head"]}],
    ids=["exact", "quick", "rslora", "beside a whole module"],
)
@pytest.mark.parametrize("family", [qwen, gpt2])
def test_a_saved_adapter_is_a_plain_lora_of_the_untouched_base(tmp_path: Path, family: Any, asked: Any) -> None:
    base = family(tmp_path / "base")
    model = started(base, **asked)
    assert torch.allclose(said(model), logits(base), atol=1e-5)
    learned = said(moved(model))
    model.save_pretrained(tmp_path / "adapter")
    write_plain(model, tmp_path / "adapter")
    assert (learned - logits(base)).abs().max() > 0.01
    assert torch.allclose(learned, logits(base, tmp_path / "adapter"), atol=2e-5)
    exported(base, [tmp_path / "adapter"], tmp_path / "merged")
    assert torch.allclose(learned, logits(tmp_path / "merged"), atol=2e-5)
    with model.disable_adapter():
        assert torch.equal(said(model), logits(base)) or asked.get("additional_target")


def test_it_is_taken_up_bit_by_bit_by_a_model_that_started_otherwise(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    model = moved(started(base, pissa_iter=2))
    model.save_pretrained(tmp_path / "adapter")
    write_plain(model, tmp_path / "adapter")
    torch.manual_seed(9)
    again = started(base, pissa_iter=0)
    restore(again, tmp_path / "adapter")
    assert torch.equal(said(again), said(model))
    learned, taken = ({n: w for n, w in each.named_parameters() if w.requires_grad} for each in (model, again))
    assert learned.keys() == taken.keys()
    assert all(torch.equal(learned[name], taken[name]) for name in learned)


@torch.no_grad()
def test_the_start_is_the_part_of_the_largest_singular_values(tmp_path: Path) -> None:
    model = started(qwen(tmp_path / "base"))
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    weight = layer.get_base_layer().weight.detach()
    product = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    values = torch.linalg.svdvals(weight)
    assert torch.linalg.svdvals(product)[:4].tolist() == pytest.approx(values[:4].tolist(), rel=1e-4)
    assert torch.linalg.svdvals(weight - product)[0] == pytest.approx(values[4].item(), rel=1e-4)


def test_a_rank_or_a_layer_it_cannot_be_on_is_a_sentence(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    with pytest.raises(ModelError, match="--lora_rank 24 must be at most 16"):
        started(base, lora_rank=24)
    with pytest.raises(ModelError, match="embed_tokens is an embedding"):
        started(base, lora_target=["embed_tokens", "q_proj"])
