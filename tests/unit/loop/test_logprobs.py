"""Log-probabilities by pieces of the head are those of whole logits, and so are their gradients."""

from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import log_softmax

from studio.loop import logprobs
from studio.loop.batch import NO_LOSS, flat_batch, padded_batch
from studio.loop.logprobs import LabelLogProbs, document_sums, labels_per_document

SHAPE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.4,
}  # fmt: skip
IDS = torch.randint(0, 97, (60,), generator=torch.Generator().manual_seed(1)).tolist()
ROWS = [IDS[:20], IDS[20:55], IDS[55:]]
MASKS = [[False] * 9 + [True] * 11, [False] * 5 + [True] * 30, [False] * 4 + [True]]


def model_of(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "capped":
        shape = {**SHAPE, "final_logit_softcapping": 2.0, "head_dim": 8}
        return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**shape))
    model: Any = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE, tie_word_embeddings=kind == "tied"))
    if kind in ("frozen head", "adapted head"):
        from peft import LoraConfig, get_peft_model

        targets = ["q_proj", "lm_head"] if kind == "adapted head" else ["q_proj"]
        model = get_peft_model(model, LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    return model


def plain(model: Any) -> torch.Tensor:
    """The sums of each document, one forward pass for each."""
    sums = []
    for ids, mask in zip(ROWS, MASKS, strict=True):
        scores = log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1].float(), dim=-1)
        each = scores.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
        sums.append(each[torch.tensor(mask[1:])].sum())
    return torch.stack(sums)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", ["tied", "frozen head", "adapted head", "capped"])
def test_pieces_of_the_head_give_the_same_sums_and_gradients(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logprobs, "ON_CPU", 97 * 16)  # 42 labels in three pieces
    model, batch = model_of(kind).train(), padded_batch(ROWS, MASKS, 0)
    expected = plain(model)
    (expected * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    wanted = gradients(model)
    found = document_sums(LabelLogProbs()(model, batch), labels_per_document(batch))
    assert torch.allclose(found, expected, atol=1e-4)
    (found * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    got = gradients(model)
    assert got.keys() == wanted.keys()
    assert all(torch.allclose(got[name], wanted[name], atol=1e-4) for name in wanted)
    with torch.no_grad():
        assert torch.allclose(document_sums(LabelLogProbs()(model, batch), [11, 30, 1]), expected, atol=1e-4)


def test_documents_end_to_end_count_their_labels_as_padded_ones_do():
    flat, padded = flat_batch(ROWS, MASKS), padded_batch(ROWS, MASKS, 0)
    assert labels_per_document(flat) == labels_per_document(padded) == [11, 30, 1]


def test_a_batch_without_labels_gives_zeros_that_every_weight_has_part_in():
    model, batch = model_of("frozen head"), padded_batch(ROWS, MASKS, 0)
    batch["labels"].fill_(NO_LOSS)
    sums = document_sums(LabelLogProbs()(model, batch), labels_per_document(batch))
    assert sums.tolist() == [0.0, 0.0, 0.0]
    sums.sum().backward()
    assert gradients(model)


def test_nothing_of_the_size_of_all_logits_is_kept_behind_a_head_that_does_not_learn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logprobs, "ON_CPU", 97 * 16)
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape) or tensor, lambda it: it):
        model = model_of("frozen head")
        LabelLogProbs()(model, padded_batch(ROWS, MASKS, 0))
    assert kept and not any(shape and shape[-1] == 97 for shape in kept)
