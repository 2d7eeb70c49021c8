"""The head over some labels at a time gives the loss and the gradients of the head over all of them."""

from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from studio.loop.batch import flat_batch
from studio.loop.causal import label_logits
from studio.loop.head import gives_logits, passing, summed_loss, worth_it

SHAPE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.4,
}  # fmt: skip


def model_of(*, adapted: bool) -> Any:
    torch.manual_seed(0)
    model: Any = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE, tie_word_embeddings=not adapted))
    if adapted:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False))
    return model.train()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("adapted", [False, True], ids=["tied", "adapter on the head"])
@pytest.mark.parametrize(("smoothing", "piece"), [(0.0, 7), (0.1, 1), (0.0, 1000)])
def test_piece_by_piece_gives_the_same_loss_and_gradients(adapted: bool, smoothing: float, piece: int):
    model = model_of(adapted=adapted)
    ids = torch.randint(0, 97, (50,), generator=torch.Generator().manual_seed(1)).tolist()
    batch = flat_batch([ids[:20], ids[20:]], [[True] * 20, [False] * 10 + [True] * 20])
    logits_LV, targets_L = label_logits(model, batch)
    whole = cross_entropy(logits_LV, targets_L, reduction="sum", label_smoothing=smoothing)
    (whole / 3).backward()
    expected = gradients(model)
    head = model.get_output_embeddings()
    with passing(head):
        states_LD, again_L = label_logits(model, batch)
    assert torch.equal(again_L, targets_L)
    pieces = summed_loss(head, states_LD, targets_L, smoothing, piece)
    (pieces / 3).backward()
    found = gradients(model)
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-5)
    assert found.keys() == expected.keys() and len(found) > 2
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-5) for name in expected)


def test_half_precision_reaches_weights_in_full_precision():
    model = model_of(adapted=False)
    batch = flat_batch([list(range(30))], [[True] * 30])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_LV, targets_L = label_logits(model, batch)
        whole = cross_entropy(logits_LV.float(), targets_L, reduction="sum")
        whole.backward()
        expected = gradients(model)
        head = model.get_output_embeddings()
        with passing(head):
            states_LD, _ = label_logits(model, batch)
        summed_loss(head, states_LD, targets_L, piece=7).backward()
    found = gradients(model)
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    assert all((found[name] - expected[name]).abs().max() <= 2e-2 * expected[name].abs().max() for name in expected)


def test_a_model_that_bends_its_logits_afterwards_is_known():
    assert gives_logits(model_of(adapted=False))
    config = transformers.Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=2.0)
    assert not gives_logits(transformers.Gemma2ForCausalLM(config))


def test_the_head_is_itself_again_also_after_an_error():
    head = model_of(adapted=False).get_output_embeddings()
    states = torch.randn(3, 32)
    before = head(states)
    with pytest.raises(RuntimeError), passing(head):
        assert head(states) is states
        raise RuntimeError
    assert torch.equal(head(states), before)


def test_only_large_logits_on_a_gpu_go_by_pieces():
    gpu, here = torch.device("cuda"), torch.device("cpu")
    assert worth_it(8192, 128_000, gpu, torch.bfloat16)
    assert not worth_it(8192, 128_000, here, torch.bfloat16)
    assert not worth_it(8192, 128_000, gpu, torch.float16)
    assert not worth_it(256, 128_000, gpu, torch.bfloat16)
