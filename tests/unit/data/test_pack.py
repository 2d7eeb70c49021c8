"""Packing: every row once, never too full, hardly ever empty."""

from __future__ import annotations

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some

from studio.data.pack import pack
from studio.errors import DatasetError

LENGTHS = some.lists(some.integers(0, 50), max_size=120)


def log_normal(count: int, mean: float, capacity: int) -> list[int]:
    chance = random.Random(5)
    return [min(capacity, max(2, round(math.exp(chance.gauss(math.log(mean), 0.8))))) for _ in range(count)]


@given(LENGTHS, some.integers(50, 90), some.integers())
def test_every_row_stands_in_exactly_one_group(lengths: list[int], capacity: int, seed: int):
    rows = [row for group in pack(lengths, capacity, seed) for row in group]
    assert sorted(rows) == list(range(len(lengths)))


@given(LENGTHS, some.integers(50, 90), some.integers())
def test_no_group_is_over_full_or_empty(lengths: list[int], capacity: int, seed: int):
    for group in pack(lengths, capacity, seed):
        assert group
        assert sum(lengths[row] for row in group) <= capacity


@given(LENGTHS, some.integers())
def test_the_same_seed_gives_the_same_groups(lengths: list[int], seed: int):
    assert pack(lengths, 50, seed) == pack(list(lengths), 50, seed)


@given(some.lists(some.integers(1, 50), min_size=1, max_size=120), some.integers())
def test_no_two_groups_could_have_been_one(lengths: list[int], seed: int):
    totals = sorted(sum(lengths[row] for row in group) for group in pack(lengths, 50, seed))
    assert len(totals) < 2 or totals[0] + totals[1] > 50


def test_another_seed_gives_other_groups():
    lengths = log_normal(200, 100, 1024)
    assert pack(lengths, 1024, 0) != pack(lengths, 1024, 1)


@pytest.mark.parametrize("capacity", [512, 1024, 2048])
def test_less_than_three_in_a_hundred_tokens_stay_empty(capacity: int):
    lengths = log_normal(5_000, 113, capacity)
    groups = pack(lengths, capacity, 0)
    assert 1 - sum(lengths) / (len(groups) * capacity) < 0.03


def test_a_hundred_thousand_rows_are_packed_within_a_second_of_work():
    lengths = log_normal(100_000, 113, 2048)
    began_s = time.process_time()
    pack(lengths, 2048, 0)
    assert time.process_time() - began_s < 1


def test_a_row_longer_than_a_sequence_is_refused_with_both_numbers():
    with pytest.raises(DatasetError, match=r"holds 8 tokens; one row has 9\. Raise cutoff_len to 9"):
        pack([3, 9], 8, 0)


def test_no_rows_make_no_groups():
    assert pack([], 8, 0) == []
