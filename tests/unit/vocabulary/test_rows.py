"""New rows of embeddings and head: where they begin, and that nothing else moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from studio.errors import DiskFullError
from studio.vocabulary.rows import Table, room_for, rows_for, with_rows, with_vocabulary

torch.manual_seed(3)
OLD = torch.randn(50, 6) + 0.5


def table(start: str, rows: int = 56, first: int = 50, seed: int = 1) -> Table:
    return Table(first, [(1, 2), (3,), (4, 4, 5)], rows, start, seed)


def test_new_rows_begin_at_the_mean_of_their_old_tokens() -> None:
    new = with_rows(OLD, table("subtokens")).numpy()
    old = OLD.numpy()
    wanted = np.stack([old[[1, 2]].mean(0), old[3], old[[4, 4, 5]].mean(0)])
    np.testing.assert_allclose(new[50:53], wanted, rtol=1e-6)
    np.testing.assert_array_equal(new[:50], old)
    np.testing.assert_allclose(new[53:], np.tile(old.mean(0), (3, 1)), rtol=1e-5)


def test_rows_near_the_mean_differ_from_each_other_a_little() -> None:
    new, mean, spread = with_rows(OLD, table("mean"))[50:53], OLD.mean(0), OLD.std(0)
    assert ((new - mean).abs() < 0.15 * spread).all()
    assert len({tuple(row.tolist()) for row in new}) == 3


def test_random_rows_have_the_spread_of_the_table() -> None:
    many = Table(50, [(1,)] * 4000, 4096, "random", 7)
    new = with_rows(OLD, many)[50:4050]
    torch.testing.assert_close(new.mean(0), OLD.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(new.std(0), OLD.std(0), atol=0.1, rtol=0)


@pytest.mark.parametrize("start", ["mean", "random"])
def test_the_seed_decides_what_is_drawn(start: str) -> None:
    assert torch.equal(with_rows(OLD, table(start)), with_rows(OLD, table(start)))
    assert not torch.equal(with_rows(OLD, table(start)), with_rows(OLD, table(start, seed=2)))


def test_free_rows_are_used_and_do_not_count_for_the_mean() -> None:
    padded = torch.cat([OLD, torch.full((14, 6), 99.0)])
    new = with_rows(padded, table("subtokens", rows=64))
    assert new.shape == (64, 6)
    torch.testing.assert_close(new[51], OLD[3])
    torch.testing.assert_close(new[60], OLD.mean(0))


def test_tokens_that_had_no_row_begin_at_the_mean() -> None:
    """As a padding token that somebody put behind a table that was full."""
    new = with_rows(OLD, Table(53, [(1, 2), (51, 3), (52,)], 64, "subtokens", 1))
    assert torch.equal(new[:50], OLD)
    torch.testing.assert_close(new[50:53], OLD.mean(0).expand(3, 6))
    torch.testing.assert_close(new[53:56], torch.stack([OLD[1:3].mean(0), OLD[3], OLD.mean(0)]))
    assert new.isfinite().all()


def test_a_bias_grows_as_the_table_does_and_the_dtype_stays() -> None:
    bias = torch.arange(50, dtype=torch.bfloat16)
    new = with_rows(bias, table("subtokens"))
    assert (new.dtype, new.shape, float(new[50])) == (torch.bfloat16, (56,), 1.5)


@pytest.mark.parametrize(("tokens", "before", "rows"), [(60, 64, 64), (64, 64, 64), (65, 64, 128), (60, 50, 64)])
def test_a_table_grows_only_when_it_must(tokens: int, before: int, rows: int) -> None:
    assert rows_for(tokens, before, 64) == rows


def test_a_vocabulary_inside_a_text_config_is_told_there() -> None:
    assert with_vocabulary({"text_config": {"vocab_size": 5}}, 9) == {"text_config": {"vocab_size": 9}}
    assert with_vocabulary({"vocab_size": 5}, 9) == {"vocab_size": 9}


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"has .* GB free"), room_for(tmp_path / "new", 10**18):
        raise AssertionError("nothing may be begun")
