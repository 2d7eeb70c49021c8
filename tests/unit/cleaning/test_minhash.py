"""Rows that share most of their sequences meet, as often as the theory says; keys on the disk come out in groups."""

from pathlib import Path

import numpy as np
import pytest

from studio.cleaning.buckets import Buckets
from studio.cleaning.minhash import Bands, bands_for, keys_of, similarity
from studio.cleaning.units import mixed


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_pairs_at_the_threshold_meet_99_times_in_100(threshold: float) -> None:
    bands = bands_for(threshold)
    assert bands.chance(threshold) >= 0.99
    assert bands.bands * bands.rows <= 72
    # Those far below it seldom do, so that few are compared in vain.
    assert bands.chance(0.05) < 0.5 and bands.chance(0.3) < (1 if threshold < 0.8 else 0.05)


def test_sets_meet_as_often_as_their_similarity_says() -> None:
    random = np.random.default_rng(3)
    how, pairs = Bands(6, 3), 1_500
    for wanted in (0.3, 0.5, 0.7):
        shared, own = round(60 * wanted), round(60 * (1 - wanted) / 2)
        values = mixed(random.integers(0, 2**63, pairs * (shared + 2 * own), np.uint64)).reshape(pairs, -1)
        one, other = values[:, : shared + own], np.delete(values, np.s_[shared : shared + own], axis=1)
        size = shared + own
        starts = np.arange(pairs + 1) * size
        met = (keys_of(one.ravel(), starts, how) == keys_of(other.ravel(), starts, how)).any(axis=1).mean()
        real = similarity(one[0], other[0])
        assert met == pytest.approx(how.chance(real), abs=0.05)


def test_similarity_is_jaccards() -> None:
    one, other = np.array([1, 2, 3, 3], np.uint64), np.array([2, 3, 4], np.uint64)
    assert similarity(one, other) == 0.5
    assert similarity(one, one) == 1
    assert similarity(one[:0], other[:0]) == 1


@pytest.mark.parametrize("size", [0, 2**30])
def test_rows_with_a_key_in_common_come_out_together(tmp_path: Path, size: int) -> None:
    random = np.random.default_rng(1)
    keys = mixed(random.integers(0, 5_000, 20_000, np.uint64))
    buckets = Buckets(tmp_path / "keys", size)
    for at in range(0, 20_000, 1_000):
        buckets.add(keys[at : at + 1_000], np.arange(at, at + 1_000, dtype=np.uint32))
    found = {tuple(rows.tolist()) for part in buckets.groups() for rows in part}
    wanted: dict[int, list[int]] = {}
    for row, key in enumerate(keys.tolist()):
        wanted.setdefault(key, []).append(row)
    assert found == {tuple(rows) for rows in wanted.values() if len(rows) > 1}
    assert buckets.parts == max(1, size >> 25)
    assert not list((tmp_path / "keys").iterdir())


def test_a_check_parts_rows_whose_keys_are_equal_by_chance(tmp_path: Path) -> None:
    buckets = Buckets(tmp_path / "keys", 0, checked=True)
    keys, checks = np.array([7, 7, 7, 8], np.uint64), np.array([1, 2, 1, 1], np.uint64)
    buckets.add(keys, np.arange(4, dtype=np.uint32), checks)
    assert [rows.tolist() for part in buckets.groups() for rows in part] == [[0, 2]]
