"""Scores of pairs in numbers."""

from __future__ import annotations

import pytest

from studio.loop.measured import Split, wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # The values that R's binom.wilson gives.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float):
    assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)


def test_a_tie_is_not_right_and_every_score_is_counted_once():
    split = Split.of([(1.0, 0.0), (0.5, 0.5), (2.0, 3.0), (4.0, -1.0)])
    assert split.accuracy == 0.5 and split.pairs == 4
    assert split.margin == pytest.approx((1 + 0 - 1 + 5) / 4)
    assert sum(split.chosen) == sum(split.rejected) == 4
    assert split.edges[0] == -1.0 and split.edges[-1] == 4.0
    assert list(split.edges) == sorted(split.edges)


def test_equal_scores_have_a_histogram_too():
    split = Split.of([(1.0, 1.0)])
    assert sum(split.chosen) == 1 and split.accuracy == 0.0
