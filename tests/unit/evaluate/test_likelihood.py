"""Log-probabilities of a model in half precision: its head is computed in float32, and all that follows it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from studio.evaluate import likelihood
from studio.evaluate.likelihood import Request, finely, score

WORDS = 997


@pytest.fixture(scope="module")
def capped() -> Any:
    """Gemma 2 in bfloat16: its head is tied, and its logits go through a soft cap."""
    torch.manual_seed(1)
    config = transformers.Gemma2Config(
        vocab_size=WORDS, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, final_logit_softcapping=3.0, sliding_window=512, initializer_range=0.3,
    )  # fmt: skip
    return transformers.Gemma2ForCausalLM(config).to(torch.bfloat16)


REQUESTS = [Request((5, 6, 7, *range(20, 20 + at)), ((40,), (41,), (42,), (43, 44))) for at in range(1, 9)]


def by_hand(model: Any, ids: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities (T, V) in float32 from the last hidden states in bfloat16."""
    with torch.no_grad():
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0].float()
        logits = hidden @ model.lm_head.weight.float().T
    return torch.log_softmax(3.0 * torch.tanh(logits / 3.0), -1)


def test_letters_are_told_apart_finer_than_bfloat16_and_the_soft_cap_holds(capped: Any):
    found = score(capped.eval(), REQUESTS, batch_size=1)
    for request, values in zip(REQUESTS, found, strict=True):
        wanted = by_hand(capped, request.context)[-1]
        assert values[:3] == pytest.approx([float(wanted[id]) for id in (40, 41, 42)], abs=1e-5)
        two = by_hand(capped, (*request.context, 43))
        assert values[3] == pytest.approx(float(two[-2, 43] + two[-1, 44]), abs=1e-5)


def test_under_autocast_the_head_is_fine_too_and_is_left_as_it_was(capped: Any):
    model = transformers.Gemma2ForCausalLM(capped.config).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = model(ids).logits
        with finely(model):
            fine = model(ids).logits
        assert torch.equal(model(ids).logits, rough)
    assert rough.dtype == torch.bfloat16 and fine.dtype == torch.float32
    assert torch.allclose(rough.float(), fine, atol=0.05) and not torch.equal(rough.float(), fine)


def test_a_large_batch_is_made_smaller_where_its_logits_are_many(capped: Any, monkeypatch: pytest.MonkeyPatch):
    model = capped.float().eval()
    whole = score(model, REQUESTS, batch_size=64)
    sizes: list[tuple[int, ...]] = []
    hook = model.lm_head.register_forward_hook(lambda _head, _given, out: sizes.append(tuple(out.shape)))
    monkeypatch.setattr(likelihood, "LOGITS_BYTES", 4 * WORDS * 9)
    few = score(model, REQUESTS, batch_size=64)
    hook.remove()
    capped.to(torch.bfloat16)
    assert max(rows * places for rows, places, _ in sizes) <= 9 and len(sizes) > 4
    assert [pytest.approx(each, abs=1e-5) for each in whole] == few
