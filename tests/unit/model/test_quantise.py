"""A base in 4 or 8 bits: what is rounded, that it is computed the same way always, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from studio.arguments.method import MethodArguments
from studio.arguments.model import ModelArguments
from studio.errors import ModelError
from studio.model.adapt import adapt, linear_weights
from studio.model.hardware import Hardware
from studio.model.load import load_model
from studio.model.quantise import (
    Rounding,
    error_of,
    in_full,
    is_rounded,
    rounding_for,
    rounding_in,
    rounding_of,
    steady,
    unusable,
)
from studio.model.weights import tensors
from tests.unit.model.tiny import IDS_BT

KINDS: dict[str, dict[str, Any]] = {
    "nf4": {"quantization_bit": 4},
    "fp4": {"quantization_bit": 4, "quantization_type": "fp4", "double_quantization": False},
    "int8": {"quantization_bit": 8},
}
HERE = Hardware("cpu", "a processor", 1, True, 8 << 30, 8 << 30, 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2, biases and all, of shapes that bitsandbytes' fast kernel for the CPU takes."""
    folder = tmp_path_factory.mktemp("quantise") / "base"
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, initializer_range=0.1,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def loaded(base: Path, kind: str, *, learns: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    return load_model(base, ModelArguments(**KINDS[kind]), dtype, device="cpu", learns=learns)


def learner(base: Path, kind: str, dtype: torch.dtype = torch.float32, **method: Any) -> Any:
    torch.manual_seed(1)
    model = adapt(loaded(base, kind, dtype=dtype), MethodArguments(lora_rank=4, **method), ())
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    model(IDS_BT, labels=IDS_BT, use_cache=False).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def said(model: Any, *, training: bool) -> torch.Tensor:
    model.train(training)
    with torch.no_grad():
        return model(IDS_BT, use_cache=False).logits


@pytest.mark.parametrize("kind", KINDS)
def test_linear_layers_are_rounded_and_nothing_else(base: Path, kind: str) -> None:
    model = loaded(base, kind, dtype=torch.bfloat16)
    assert is_rounded(model)
    stored = torch.int8 if kind == "int8" else torch.uint8
    expected = {name: stored if name in linear_weights(tensors(base)) else torch.bfloat16 for name in tensors(base)}
    assert {name: weight.dtype for name, weight in model.named_parameters()} == expected
    full = AutoModelForCausalLM.from_pretrained(base)
    difference = (said(model, training=False).float() - said(full, training=False)).abs()
    assert 0 < difference.mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_that_are_told_are_those_that_are_held(base: Path, kind: str) -> None:
    rounding = rounding_of(ModelArguments(**KINDS[kind]))
    model = loaded(base, kind)
    assert rounding is not None
    for name, tensor in linear_weights(tensors(base)).items():
        weight = model.get_parameter(name)
        if kind == "int8":
            held = weight.nbytes + weight.SCB.nbytes
        else:
            state = weight.quant_state
            # The scales of scales fill whole blocks only in matrices of a model's true size.
            scales = state.absmax.nbytes + (state.absmax.numel() / 64 if state.nested else 0)
            held = weight.nbytes + scales
        assert rounding.nbytes(tensor.shape) == pytest.approx(held)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_model_that_learns_says_the_same_when_it_is_evaluated(base: Path, kind: str, dtype: torch.dtype) -> None:
    model = learner(base, kind, dtype)
    assert torch.equal(said(model, training=False), said(model, training=True))


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_takes_nothing_from_the_gradients(base: Path, kind: str) -> None:
    model = learner(base, kind)
    before = gradients(model)
    said(model, training=False)
    after = gradients(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    lowest = [name for name in before if "layers.0.self_attn.q_proj.lora_A" in name]
    assert float(before[lowest[0]].norm()) > 1e-4


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("nf4", {"use_dora": True}),
        *[(kind, {"use_rslora": True}) for kind in ("nf4", "int8")],
        *[(kind, {"additional_target": ("embed_tokens",)}) for kind in ("nf4", "int8")],
    ],
)
def test_every_form_of_adapter_learns_in_float32(base: Path, kind: str, method: dict[str, Any]) -> None:
    model = learner(base, kind, torch.bfloat16, **method)
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(IDS_BT, labels=IDS_BT, use_cache=False).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_lie_the_other_way_round_are_rounded_as_well(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_embd=64, n_layer=2, n_head=2, n_positions=32, initializer_range=0.1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    model = learner(tmp_path, kind)
    assert any("c_attn.lora_A" in name for name in gradients(model))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_only_to_ask_answers_whatever_its_shapes(kind: str, base: Path, tiny_chat_model: Path) -> None:
    for folder in (base, tiny_chat_model):
        model = loaded(folder, kind, learns=False, dtype=torch.bfloat16).eval()
        with torch.inference_mode():
            assert model.generate(IDS_BT, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (2, 9)


def test_an_int8_layer_can_be_made_to_see_each_token_alone() -> None:
    import bitsandbytes

    torch.manual_seed(0)
    layer = bitsandbytes.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=False, threshold=6.0).to("cpu").eval()
    one, other = torch.randn(1, 64), torch.randn(1, 64)
    other[0, 5] = 20
    with torch.no_grad():
        assert not torch.equal(layer(one), layer(torch.cat([one, other]))[:1])
        with steady(layer):
            assert torch.equal(layer(one), layer(torch.cat([one, other]))[:1])
    assert layer.state.threshold == 6.0


# -- folders that hold rounded weights


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_rounded_weights_is_known_by_its_config(base: Path, kind: str, tmp_path: Path) -> None:
    loaded(base, kind).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert rounding_in(config) == rounding_of(ModelArguments(**KINDS[kind]))
    whole = in_full(tensors(tmp_path))
    assert {name: one.shape for name, one in whole.items()} == {n: one.shape for n, one in tensors(base).items()}
    again = load_model(tmp_path, ModelArguments(), torch.float32, device="cpu", learns=True)
    assert torch.equal(said(again, training=True), said(loaded(base, kind), training=True))


def test_weights_rounded_by_others_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="quantised by gptq, which is not supported"):
        rounding_in({"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(ModelError, match="must be an object; it is 'gptq'"):
        rounding_in({"quantization_config": "gptq"})


# -- what cannot be


def test_only_4_and_8_bits_can_be_asked_for() -> None:
    assert rounding_of(ModelArguments()) is None
    with pytest.raises(ModelError, match="--quantization_bit 5: must be 4 or 8"):
        rounding_of(ModelArguments(quantization_bit=5))


def test_a_rounded_base_takes_one_adapter_and_the_refusal_names_the_way_out() -> None:
    nf4 = Rounding(4, "nf4", True)
    assert unusable(nf4, HERE, [Path("a")]) == []
    (told,) = unusable(nf4, HERE, [Path("a"), Path("b")])
    assert "--adapter_name_or_path a,b" in told and "studio export" in told
    assert unusable(None, HERE, [Path("a"), Path("b")]) == []


def test_bits_other_than_those_of_the_folder_are_refused() -> None:
    plain = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    stored = {"quantization_config": plain}
    assert rounding_for(ModelArguments(), stored) == Rounding(4, "nf4")
    # whether the scales are rounded as well is the folder's affair
    assert rounding_for(ModelArguments(quantization_bit=4), stored) == Rounding(4, "nf4")
    with pytest.raises(ModelError, match="holds 4-bit nf4, which cannot become int8"):
        rounding_for(ModelArguments(quantization_bit=8), stored)


def test_the_error_of_rounding_grows_as_the_bits_shrink() -> None:
    torch.manual_seed(0)
    weight_OI = torch.randn(128, 256)
    share = {
        each.numbers: float(error_of(each, weight_OI).norm() / weight_OI.norm())
        for each in (Rounding(8, "int8"), Rounding(4, "nf4", True), Rounding(4, "fp4"))
    }
    assert share["int8"] < 0.02 < share["nf4"] < 0.11 < share["fp4"] < 0.2
