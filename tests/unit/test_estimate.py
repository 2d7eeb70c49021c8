"""What a run will cost: the bytes of rounded weights and of each optimizer's state."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.arguments.method import MethodArguments
from studio.estimate import Load, hold, memory, state_bytes, writing_bytes
from studio.model.quantise import Rounding
from studio.model.weights import Tensor, tensors


def matrix(name: str, *shape: int) -> Tensor:
    count = shape[0] * shape[1]
    return Tensor(name, "BF16", shape, Path("model.safetensors"), 2 * count, 0)


WEIGHTS = {
    each.name: each
    for each in (
        matrix("model.embed_tokens.weight", 1000, 64),
        matrix("model.layers.0.self_attn.q_proj.weight", 64, 64),
        matrix("model.layers.0.mlp.down_proj.weight", 64, 256),
        matrix("lm_head.weight", 1000, 64),
    )
}
ENDS, LAYERS = 2 * 64_000, 64 * 64 + 64 * 256


@pytest.mark.parametrize(
    ("optim", "expected"),
    [
        ("adamw_torch_fused", 8), ("paged_adamw_32bit", 8), ("adamw_8bit", 2), ("paged_adamw_8bit", 2),
        ("lion_32bit", 4), ("paged_lion_8bit", 1), ("ademamix_8bit", 3), ("rmsprop_bnb_8bit", 1), ("sgd", 0),
        ("adafactor", 0),
    ],
)  # fmt: skip
def test_an_optimizer_keeps_as_many_bytes_as_its_name_says(optim: str, expected: float) -> None:
    assert state_bytes(optim) == pytest.approx(expected, rel=0.02)


def test_only_linear_layers_shrink() -> None:
    method, full = MethodArguments(lora_rank=4), ENDS + LAYERS
    adapter = 4 * (64 + 64) + 4 * (64 + 256)
    plain = hold(WEIGHTS, method, "adamw_torch", "bf16", None)
    assert (plain.frozen_bytes, plain.learning, plain.unrolled_bytes) == (2 * full, adapter, 0)
    for rounding, each in ((Rounding(4, "fp4"), 0.5625), (Rounding(4, "nf4", True), 0.5159), (Rounding(8, "int8"), 1)):
        held = hold(WEIGHTS, method, "adamw_torch", "bf16", rounding)
        assert held.frozen_bytes == pytest.approx(2 * ENDS + each * LAYERS, abs=4 * 128)
        assert held.unrolled_bytes == 2 * 64 * 256
        assert held.least_bytes == held.frozen_bytes + 4 * adapter


def test_a_model_that_learns_whole_has_no_frozen_weights(tiny_model: Path) -> None:
    weights = tensors(tiny_model)
    held = hold(weights, MethodArguments(finetuning_type="full"), "adamw_torch", "bf16", None)
    assert held.least_bytes == 4 * sum(tensor.count for tensor in weights.values())


CONFIG = {
    "hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 256, "vocab_size": 1000, "num_attention_heads": 8,
}  # fmt: skip


def test_what_lies_beside_counts_whole_and_what_is_taken_in_passing_only_beyond_the_activations() -> None:
    held = hold(WEIGHTS, MethodArguments(lora_rank=4), "adamw_torch", "bf16", None)

    def needed(*beside: Load) -> float:
        return memory(
            held, CONFIG, "bf16", (100, 50), full=False, checkpointing=False, program_bytes=0, beside=beside
        ).value

    alone = needed()
    frozen = held.frozen_bytes + held.learning * held.learning_bytes
    working = alone - frozen
    assert needed(Load("a reference", 1e6, "its pass", working - 1)) == pytest.approx(alone + 1e6)
    assert needed(Load("", 0, "writing", working + 500), Load("", 0, "scoring", working)) == pytest.approx(alone + 500)


def test_keys_and_values_grow_with_answers_their_length_and_the_heads_that_keep_them() -> None:
    def taken(answers: int = 1, written: int = 10, cut: bool = False, **facts: int) -> float:
        return writing_bytes({**CONFIG, **facts}, answers, 10, written, 2, cut=cut)

    # One layer more than there are is being joined anew: 2 for keys and values, 64 numbers of 2 bytes each.
    assert taken(written=11) - taken() == (3 + 1) * 2 * 64 * 2
    assert taken(answers=3) == 3 * taken()
    assert taken(written=11, num_key_value_heads=2) - taken(num_key_value_heads=2) == (3 + 1) * 2 * 16 * 2
    assert taken(cut=True) - taken() == 4 * 8 * 1000
