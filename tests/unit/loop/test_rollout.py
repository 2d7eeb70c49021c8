"""Answers that are written together are those that each prompt gets alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from studio.arguments.generation import SamplingArguments
from studio.errors import DivergedError

PROMPTS = [[5, 9, 2, 77, 31], [7, 1], [6, 6, 400, 12, 13, 14, 15, 16], [3]]
SEEDS = [11, 12, 13, 14]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    """A model whose attention is that of training, with logits large enough to tell tokens apart."""
    import torch
    from transformers import AutoModelForCausalLM

    from studio.loop.attention import NAME

    made = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        made.get_input_embeddings().weight *= 20
    made.set_attn_implementation(NAME)
    return made.train()


def writer(model: Any, *, stops: tuple[int, ...] = (), **asked: Any) -> Any:
    from studio.loop.rollout import OwnWriter

    return OwnWriter(model, SamplingArguments(**{"max_new_tokens": 12, **asked}), stops, 0)


def never() -> bool:
    return False


def one_by_one(model: Any, prompt: list[int], seed: int, count: int, temperature: float = 1.0) -> list[int]:
    """The whole text through the model for every token, without a cache."""
    import torch

    model.eval()
    model.set_attn_implementation("eager")
    chances = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    ids = list(prompt)
    with torch.no_grad():
        for chance in chances:
            shares = (model(input_ids=torch.tensor([ids])).logits[0, -1].double() / temperature).softmax(0)
            point = float(chance) * float(shares.sum())
            sums = itertools.accumulate(shares.tolist())
            ids.append(next(token for token, passed in enumerate(sums) if passed > point))
    from studio.loop.attention import NAME

    model.set_attn_implementation(NAME)
    model.train()
    return ids[len(prompt) :]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_each_answer_is_drawn_as_if_it_were_alone(model: Any, temperature: float):
    found = writer(model, temperature=temperature).write(PROMPTS, SEEDS, never, 8)
    wanted = [one_by_one(model, p, s, 12, temperature) for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert [each.ids for each in found] == wanted
    assert not any(each.ended for each in found)
    assert len({tuple(each) for each in wanted}) == 4
    by_twos = writer(model, temperature=temperature).write(PROMPTS, SEEDS, never, 2)
    assert by_twos == found
    assert model.training and model.config._attn_implementation == "studio_documents", "the model is left as it was"


def test_an_answer_ends_with_its_end_token_and_others_go_on(model: Any):
    free = writer(model).write(PROMPTS, SEEDS, never, 8)
    stops = (free[0].ids[2], free[1].ids[5], free[2].ids[0])
    found = writer(model, stops=stops).write(PROMPTS, SEEDS, never, 8)
    for each, before in zip(found, free, strict=True):
        places = [at for at, id in enumerate(before.ids) if id in stops]
        assert each.ids == (before.ids[: places[0] + 1] if places else before.ids)
        assert each.ended == bool(places)
    assert len(found[2].ids) == 1 and found[0].ended and len(found[0].ids) <= 3


def test_where_filling_up_tells_prompts_of_one_length_go_together(model: Any):
    uneven = writer(model)
    uneven._even = False
    assert uneven.write(PROMPTS, SEEDS, never, 8) == writer(model).write(PROMPTS, SEEDS, never, 8)
    prompts = [*PROMPTS, [8, 8]]
    assert [[len(prompts[at]) for at in batch] for batch in uneven._batches(prompts, 8)] == [[1], [2, 2], [5], [8]]


def test_a_stop_is_heard_at_every_token(model: Any):
    from studio.loop.rollout import RolloutStopped

    asked = 0

    def at_fifth() -> bool:
        nonlocal asked
        asked += 1
        return asked == 5

    with pytest.raises(RolloutStopped):
        writer(model).write(PROMPTS, SEEDS, at_fifth, 8)
    assert asked == 5
    assert model.training


def test_top_k_and_top_p_leave_the_unlikely_out():
    import torch

    from studio.loop.rollout import choose

    logits = torch.tensor([[0.5, 0.05, 0.3, 0.15]]).log().repeat(1000, 1)
    chances = torch.arange(1000) / 1000
    count = lambda **asked: torch.bincount(choose(logits, SamplingArguments(**asked), chances), minlength=4).tolist()  # noqa: E731
    assert count() == pytest.approx([500, 50, 300, 150], abs=1)
    assert count(top_k=2) == pytest.approx([625, 0, 375, 0], abs=1)
    assert count(top_p=0.75) == pytest.approx([625, 0, 375, 0], abs=1)
    assert count(top_p=0.81) == pytest.approx([526, 0, 316, 158], abs=1)
    assert count(temperature=0.5) == pytest.approx([684.9, 6.8, 246.6, 61.6], abs=1)
    with pytest.raises(DivergedError, match="NaN for the next token"):
        choose(torch.tensor([[0.0, float("nan")]]), SamplingArguments(), torch.tensor([0.5]))
