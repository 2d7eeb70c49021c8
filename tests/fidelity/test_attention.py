"""Documents that share a row give what each gives alone, and noise on one does not depend on the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers


def qwen2(**more: Any) -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE, **more))


def llama(**more: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **more))


def mistral(**more: Any) -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**SHAPE, sliding_window=5, **more))


def gpt2(**more: Any) -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, **more)
    )


def bloom(**more: Any) -> Any:
    return transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, **more)
    )


SHAPE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4,
}  # fmt: skip


def documents(*sizes: int) -> list[list[int]]:
    random = torch.Generator().manual_seed(3)
    return [torch.randint(0, 97, (size,), generator=random).tolist() for size in sizes]


@pytest.mark.parametrize("asked", ["auto", "disabled"])
@pytest.mark.parametrize("make", [qwen2, llama, mistral, gpt2])
def test_documents_in_one_row_give_what_each_gives_alone(make: Callable[..., Any], asked: str, record: Any):
    from studio.loop.attention import choose_attention, lengths
    from studio.loop.batch import flat_batch

    torch.manual_seed(0)
    model = make().eval()
    model.config.use_cache = False
    parts = documents(17, 1, 9, 30)
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([part])).logits for part in parts], dim=1)
        name, _ = choose_attention(model, asked)
        assert name != "padded"
        batch = flat_batch(parts, [[True] * len(part) for part in parts])
        batch.pop("labels")
        together = model(**batch, **lengths(batch), use_cache=False).logits
    difference = float((together - alone).abs().max()) / max(float(alone.abs().max()), 1.0)
    what = f"logits of four documents end to end, {make.__name__}, {name} (relative)"
    record("all", what, "each document alone in transformers", difference, 1e-5)


def test_noise_is_uniform_and_shrinks_with_the_length_of_its_own_document():
    from studio.loop.build import _add_noise

    model = qwen2().train()
    sizes = torch.tensor([400, 25])
    trainer = SimpleNamespace(model=model, document_lengths=sizes.repeat_interleave(sizes))
    embed = model.get_input_embeddings()
    ids = torch.zeros((1, 425), dtype=torch.long)
    still = embed(ids).detach()
    _add_noise(trainer, 5.0)  # type: ignore[arg-type]
    noise = (embed(ids) - still)[0].detach()
    for part, size in ((noise[:400], 400), (noise[400:], 25)):
        bound = 5.0 / math.sqrt(size * 32)
        assert float(part.abs().max()) <= bound * (1 + 1e-4)
        assert float(part.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert torch.equal(embed.eval()(ids), still)
