"""Which source gives the next row: as `datasets` draws, in the shares that are asked for, and again from any place."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
from datasets import Dataset, interleave_datasets

from studio.data.mix import Mixer, expected_rows, shares
from studio.errors import DatasetError

UPSTREAM = {
    "interleave_under": "first_exhausted",
    "interleave_over": "all_exhausted",
    "interleave_once": "all_exhausted_without_replacement",
}
CASES = [
    ([3, 4, 5], None),
    ([30, 400, 5], None),
    ([3, 4, 5], (0.5, 0.3, 0.2)),
    ([2000, 1500, 900], (0.1, 0.1, 0.8)),
    ([7], (1.0,)),
]


def names(sizes: list[int]) -> list[str]:
    return [f"source {number}" for number in range(len(sizes))]


def upstream(sizes: list[int], probabilities: Any, strategy: str) -> list[int]:
    """The sources of the rows as `datasets` interleaves them."""
    sources = [Dataset.from_dict({"source": [number] * size}) for number, size in enumerate(sizes)]
    given = None if probabilities is None else list(probabilities)
    mixed = interleave_datasets(sources, given, seed=7, stopping_strategy=UPSTREAM[strategy])
    return list(mixed["source"])


@pytest.mark.parametrize("strategy", UPSTREAM)
@pytest.mark.parametrize(("sizes", "probabilities"), CASES)
def test_the_order_is_that_of_the_datasets_library(sizes: list[int], probabilities: Any, strategy: Any):
    assert list(Mixer(names(sizes), sizes, probabilities, strategy, 7)) == upstream(sizes, probabilities, strategy)


@pytest.mark.parametrize("strategy", UPSTREAM)
@pytest.mark.parametrize(("sizes", "probabilities"), CASES)
def test_a_reader_that_tells_each_end_gets_the_same_order_and_goes_on_from_any_place(
    sizes: list[int], probabilities: Any, strategy: Any
):
    """Sizes are not known, and after every fifth row a new mixer takes up what the last one told as JSON."""
    mixer = Mixer(names(sizes), [None] * len(sizes), probabilities, strategy, 7)
    left, order = list(sizes), []
    while (source := mixer.next()) >= 0:
        order.append(source)
        left[source] -= 1
        if not left[source]:
            mixer.ended(source)
            left[source] = sizes[source]
        if len(order) % 5 == 0:
            state = json.loads(json.dumps(mixer.state()))
            mixer = Mixer(names(sizes), [None] * len(sizes), probabilities, strategy, 7)
            mixer.restore(state)
    assert order == upstream(sizes, probabilities, strategy)
    assert mixer.taken == [order.count(number) for number in range(len(sizes))]


def test_concat_gives_one_source_after_the_other():
    assert list(Mixer("abc", [2, 0, 3])) == [0, 0, 2, 2, 2]
    mixer = Mixer("ab", [None, None])
    first = [mixer.next(), mixer.next()]
    mixer.ended(0)
    assert [*first, mixer.next()] == [0, 0, 1]
    mixer.ended(1)
    assert mixer.next() == -1


def test_shares_come_true_within_chance():
    """A chi-square over 20,000 draws; 16.27 is passed once in a thousand times with three degrees of freedom."""
    asked = (0.55, 0.25, 0.15, 0.05)
    mixer = Mixer("abcd", [None] * 4, asked, "interleave_over", 11)
    drawn = Counter(mixer.next() for _ in range(20_000))
    statistic = sum((drawn[number] - 20_000 * share) ** 2 / (20_000 * share) for number, share in enumerate(asked))
    assert statistic < 16.27


def test_another_seed_is_another_order_and_the_same_seed_the_same():
    orders = [list(Mixer("ab", [50, 50], (0.5, 0.5), "interleave_over", seed)) for seed in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]


def test_shares_are_normalised_only_where_they_must():
    assert shares((0.7, 0.3)) == [0.7, 0.3]
    assert shares((3, 1)) == [0.75, 0.25]
    assert math.isclose(sum(shares((0.1, 0.2, 0.4))), 1)


def test_a_source_without_rows_is_told_by_name():
    with pytest.raises(DatasetError, match="'b' has no row"):
        Mixer("ab", [3, 0], None, "interleave_over")


def test_a_mix_goes_on_only_as_it_began():
    state = Mixer("ab", [3, 3], (0.5, 0.5), "interleave_over").state()
    with pytest.raises(DatasetError, match="goes on only as it began"):
        Mixer("ac", [3, 3], (0.5, 0.5), "interleave_over").restore(state)


@pytest.mark.parametrize("strategy", ["interleave_under", "interleave_over"])
def test_the_length_of_a_pass_is_told_before_it_is_drawn(strategy: Any):
    sizes, asked = [3000, 1000], (0.5, 0.5)
    drawn = len(list(Mixer("ab", sizes, asked, strategy, 3)))
    assert drawn == pytest.approx(expected_rows(sizes, asked, strategy), rel=0.1)
    assert len(list(Mixer("ab", sizes, None, strategy, 3))) == expected_rows(sizes, None, strategy)
