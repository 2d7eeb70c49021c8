"""What one epoch has of several datasets: which rows, how often, and what is told of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from studio.data.mixing import Mix, mixed, shares_in
from studio.data.rows import Rows
from studio.errors import DatasetError

EVEN = Mix("interleave_over", (0.5, 0.5))


def rows_of(sizes: list[int], pieces: int = 1) -> Rows:
    """Rows of datasets with so many raw rows, each in so many pieces of 10, 11, … tokens."""
    dataset = [at for at, size in enumerate(sizes) for _ in range(size * pieces)]
    raw = [number + 1 for size in sizes for number in range(size) for _ in range(pieces)]
    lengths = np.asarray([10 + at % 5 for at in range(len(raw))], dtype=np.int64)
    table = Dataset.from_dict({"dataset": dataset, "row": raw, "at": list(range(len(raw)))})
    return Rows(table, tuple("abcd"[: len(sizes)]), lengths)


def taken(rows: Rows) -> list[tuple[int, int]]:
    return list(zip(rows.table["dataset"][:], rows.table["row"][:], strict=True))


def test_nothing_asked_changes_nothing():
    rows = rows_of([5, 3])
    assert mixed(rows, Mix(), 1, 1) is rows


def test_the_longest_is_seen_whole_and_the_short_one_repeats():
    times = Counter(taken(mixed(rows_of([40, 4]), EVEN, 5, 1)))
    assert {times[0, row] for row in range(1, 41)} == {1}
    repeats = [times[1, row] for row in range(1, 5)]
    assert min(repeats) >= 5 and max(repeats) - min(repeats) <= 1, "before a row comes again all others came"


def test_the_first_that_ends_ends_the_epoch():
    times = Counter(source for source, _ in taken(mixed(rows_of([400, 40]), Mix("interleave_under", (0.5, 0.5)), 5, 1)))
    assert times[1] == 40 or times[0] == 400
    assert times[0] == pytest.approx(40, abs=25)


def test_pieces_of_a_text_stay_together_and_count_as_one_row():
    rows = mixed(rows_of([30, 30], pieces=3), EVEN, 5, None)
    order = taken(rows)
    assert len(order) % 3 == 0
    assert all(len(set(order[at : at + 3])) == 1 for at in range(0, len(order), 3))
    places = np.asarray(rows.table["at"][:]).reshape(-1, 3)
    assert (np.diff(places) == 1).all() and (places[:, 0] % 3 == 0).all()


def test_two_sides_of_a_pair_stay_side_by_side():
    places = np.asarray(mixed(rows_of([10, 3], pieces=2), EVEN, 5, 2).table["at"][:]).reshape(-1, 2)
    assert (places[:, 0] % 2 == 0).all() and (np.diff(places) == 1).all()


def test_lengths_follow_their_rows():
    pool = rows_of([20, 7], pieces=2)
    rows = mixed(pool, EVEN, 5, None)
    assert rows.lengths.tolist() == [int(pool.lengths[at]) for at in rows.table["at"][:]]


def test_a_policy_gives_whole_passes_and_a_part_of_one():
    """2.5 passes over a, four tenths of one over b."""
    times = Counter(taken(mixed(rows_of([10, 50]), Mix(passes=(2.5, 0.4)), 5, 1)))
    of_a = sorted(times[0, row] for row in range(1, 11))
    assert of_a == [2] * 5 + [3] * 5
    of_b = [row for source, row in times if source == 1]
    assert len(of_b) == 20 and max(times[1, row] for row in of_b) == 1
    assert of_b != list(range(1, 21)), "the part is drawn, not cut off the head"


def test_the_part_is_another_one_with_another_seed_and_the_same_with_the_same():
    parts = [taken(mixed(rows_of([10, 50]), Mix(passes=(1, 0.4)), seed, 1)) for seed in (1, 2, 1)]
    assert parts[0] == parts[2] != parts[1]


def test_what_one_epoch_has_is_told_by_rows_tokens_and_passes():
    pool = rows_of([10, 50])
    learned = mixed(pool, Mix(passes=(2.5, 0.4), asked=(0.6, 0.4)), 5, 1)
    a, b = shares_in(pool, learned, Mix(passes=(2.5, 0.4), asked=(0.6, 0.4)))
    assert (a.rows, a.size_rows, a.passes, a.asked) == (25, 10, 2.5, 0.6)
    assert (b.rows, b.size_rows, b.passes) == (20, 50, 0.4)
    assert a.tokens + b.tokens == int(learned.lengths.sum())
    assert a.share_rows == pytest.approx(25 / 45) and a.share_tokens + b.share_tokens == pytest.approx(1)
    assert a.sentence(2).startswith(
        "a: 50 rows (55.6%, asked 60.0%), "
    ) and "5.00 times over its 10 rows" in a.sentence(2)


@pytest.mark.parametrize(
    ("mix", "why"),
    [
        (Mix("interleave_over", (1e-9, 1 - 1e-9)), "about .* rows"),
        (Mix(passes=(1e9, 1)), "Lower the shares"),
        (Mix(passes=(0.001, 0.001)), "no row is left"),
    ],
)
def test_an_epoch_that_cannot_be_is_refused(mix: Any, why: str):
    with pytest.raises(DatasetError, match=why):
        mixed(rows_of([10, 50]), mix, 1, 1)
