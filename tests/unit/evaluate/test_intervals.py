"""Intervals against numbers from textbooks, from scipy's tables written down here."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from studio.evaluate.intervals import Measure, mean, paired, paired_shares, share


def test_wilsons_interval_is_that_of_newcombes_table():
    # Newcombe (1998), Statistics in Medicine 17, 857: 81/263, 15/148, 0/20, 1/29; method 3.
    for hits, count, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
                                   (1, 29, 0.0061, 0.1718)]:  # fmt: skip
        found = share(hits, count)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert share(20, 20).high == 1.0
    nothing = share(0, 0)
    assert math.isnan(nothing.value) and (nothing.low, nothing.high) == (0.0, 1.0)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764),
                                                   (9, 2.2622), (10, 2.2281), (29, 2.0452), (30, 2.0423),
                                                   (120, 1.9799)])  # fmt: skip
def test_a_mean_has_students_interval(freedom: int, quantile: float):
    values = [0.0] * (freedom // 2 + 1) + [1.0] * (freedom - freedom // 2)
    found, spread = mean(values), float(np.std(values, ddof=1))
    assert found.value == pytest.approx(np.mean(values))
    assert (found.high - found.value) * math.sqrt(len(values)) / spread == pytest.approx(quantile, abs=1e-4)


def test_one_value_says_nothing_of_its_spread():
    assert mean([3.0]) == Measure(3.0, -math.inf, math.inf, 1)
    assert mean([3.0]).as_json()["low"] is None
    assert math.isnan(Measure.of_json(mean([3.0]).as_json()).low)


def test_a_paired_difference_of_shares_covers_the_truth_as_often_as_it_says():
    drawn, held, rounds = random.Random(0), 0, 400
    # 60 rows: right under both, under the model alone, under the base alone, under none.
    weights, truth = [0.5, 0.2, 0.08, 0.22], 0.12
    for _ in range(rounds):
        cells = drawn.choices(range(4), weights, k=60)
        found = paired_shares(*(cells.count(cell) for cell in range(4)))
        held += found.low <= truth <= found.high
    assert 0.92 <= held / rounds <= 0.99


def test_a_paired_difference_is_narrower_than_that_of_two_samples_where_rows_agree():
    values, base = [1.0] * 60 + [0.0] * 40, [1.0] * 52 + [0.0] * 48
    found = paired(values, base)
    assert found.value == pytest.approx(0.08) and found.low < 0.08 < found.high
    one, other = share(60, 100), share(52, 100)
    apart = math.hypot(one.high - one.value, other.value - other.low)
    assert found.high - found.value < apart / 2
    # No row changed: that is no proof of no difference.
    same = paired(values, values)
    assert same.value == 0 and same.low < 0 < same.high


def test_numbers_that_are_no_shares_are_compared_by_their_mean_difference():
    found = paired([2.0, 3.0, 5.0], [1.0, 2.5, 3.0], "lower")
    assert found.value == pytest.approx(3.5 / 3) and found.better == "lower" and found.count == 3
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])
