import math
from collections import Counter

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from studio.arguments.generation import GenerationArguments
from studio.errors import ModelError
from studio.model.sampling import LIKELY, Chooser, likeliest

SIZE = 1000


def chooser(seed: int | None = 0, prompt: tuple[int, ...] = (1, 2), **asked: float | bool) -> Chooser:
    return Chooser(GenerationArguments(**{"do_sample": True, **asked}), prompt, seed)


def logits(seed: int = 0, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)) * spread


def shares(logits_V: torch.Tensor, **asked: float) -> torch.Tensor:
    """The probabilities that transformers' own warpers leave."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(asked.get("temperature", 1.0)))])
    if asked.get("top_k"):
        warpers.append(TopKLogitsWarper(int(asked["top_k"])))
    if asked.get("top_p", 1.0) < 1:
        warpers.append(TopPLogitsWarper(asked["top_p"]))
    return warpers(torch.tensor([[1]]), logits_V[None].clone()).softmax(-1)[0]


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0.5},
        {"temperature": 2.0, "top_p": 0.6},
        {"top_k": 7},
        {"top_k": 50, "top_p": 0.9, "temperature": 1.5},
        {"top_k": LIKELY + 100, "temperature": 5.0},
        {"temperature": 50.0},
        {"temperature": 50.0, "top_p": 0.95},
    ],
    ids=str,
)
def test_tokens_are_drawn_with_the_probabilities_of_transformers(asked: dict[str, float]) -> None:
    logits_V = logits()
    expected = shares(logits_V, **asked)
    draw = chooser(**asked)
    count = 3000
    found = Counter(draw.choose(logits_V) for _ in range(count))
    assert all(expected[id] > 0 for id in found)
    for id in expected.topk(3).indices.tolist():
        share, error = float(expected[id]), math.sqrt(float(expected[id]) / count)
        assert abs(found[id] / count - share) < 5 * error + 1e-3


def test_a_seed_decides_the_draws_and_another_gives_others() -> None:
    logits_V = logits(spread=0.5)
    draws = [[one.choose(logits_V) for _ in range(20)] for one in (chooser(3), chooser(3), chooser(4), chooser(None))]
    assert draws[0] == draws[1]
    assert draws[2] != draws[0]
    assert draws[3] not in draws[:3]


@pytest.mark.parametrize("penalty", [1.4, 0.7])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    logits_V, prompt = logits(), (5, 9, 5, 700)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([prompt]), logits_V[None].clone())[0]
    one = chooser(prompt=prompt, do_sample=False, repetition_penalty=penalty)
    assert one.choose(logits_V) == int(expected.argmax())
    torch.testing.assert_close(chooser(prompt=prompt, repetition_penalty=penalty)._penalised(logits_V), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_runs_that_may_not_come_again_are_those_of_transformers(size: int) -> None:
    said = [5, 9, 5, 7, 9, 5]
    processor = NoRepeatNGramLogitsProcessor(size)
    one = chooser(prompt=tuple(said), do_sample=False, no_repeat_ngram_size=size)
    few = 12
    for seed in range(60):
        # Few tokens are likely, so that runs come again all the time.
        logits_V = logits(seed) - torch.arange(SIZE).ge(few) * 100
        expected = processor(torch.tensor([said]), logits_V[None].clone())[0]
        torch.testing.assert_close(one._penalised(logits_V), expected)
        said.append(one.choose(logits_V))
        assert said[-1] == int(expected.argmax())
    runs = list(zip(*(said[6 - size + 1 + at :] for at in range(size)), strict=False))
    assert len(set(runs)) == len(runs)


def test_presence_counts_once_and_frequency_each_time_and_the_prompt_does_not_count() -> None:
    flat_V = torch.zeros(SIZE)
    flat_V[5], flat_V[6] = 1.0, 0.5
    presence = chooser(do_sample=False, presence_penalty=0.6, prompt=(5, 6))
    assert [presence.choose(flat_V) for _ in range(4)] == [5, 6, 5, 5]
    frequency = chooser(do_sample=False, frequency_penalty=0.6, prompt=(5, 6))
    assert [frequency.choose(flat_V) for _ in range(4)] == [5, 6, 5, 0]


def test_penalties_do_not_change_the_logits_that_others_read() -> None:
    logits_V = logits()
    before = logits_V.clone()
    one = chooser(presence_penalty=1.0, frequency_penalty=1.0, repetition_penalty=1.5)
    for _ in range(3):
        one.choose(logits_V)
    assert torch.equal(logits_V, before)


def test_without_chance_or_penalties_a_choice_is_plain() -> None:
    assert chooser(do_sample=False).plain
    assert not chooser().plain
    assert not chooser(do_sample=False, presence_penalty=0.1).plain
    assert likeliest(torch.tensor([[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]])) == [1, 0]


@pytest.mark.parametrize("asked", [{}, {"top_k": 5}, {"do_sample": False, "presence_penalty": 1.0}], ids=str)
def test_logits_that_are_no_numbers_are_told(asked: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="gives NaN"):
        chooser(**asked).choose(torch.full((SIZE,), float("nan")))


def test_tokens_that_cannot_be_are_never_drawn() -> None:
    logits_V = torch.full((SIZE,), -torch.inf)
    logits_V[[3, 4]] = 0.0
    one = chooser(temperature=2.0)
    assert {one.choose(logits_V) for _ in range(50)} == {3, 4}
