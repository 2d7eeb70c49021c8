"""Rows of several datasets in the shares that are asked for: which of them one epoch has, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from studio.data.mix import MOST_ROWS, Mixer, Strategy, expected_rows, shares
from studio.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np

    from studio.data.rows import Rows


@dataclass(frozen=True)
class Mix:
    """How rows are mixed. `passes` (one a source) is that of a policy and stands instead of a strategy.

    `asked` are the shares of a policy, of bytes, with a sum of 1.
    """

    strategy: Strategy = "concat"
    probabilities: tuple[float, ...] = ()
    passes: tuple[float, ...] = ()
    asked: tuple[float, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether one epoch is something else than every row once."""
        return bool(self.passes) or self.strategy != "concat"


@dataclass(frozen=True)
class Share:
    """What one epoch has of a source: rows and tokens as they are learned, and how often it is passed over.

    `asked` is the share that was asked for, of rows or (with a policy) of bytes; None where nothing was.
    `size_rows` is what the source has.
    """

    name: str
    rows: int
    tokens: int
    size_rows: int
    passes: float
    share_rows: float
    share_tokens: float
    asked: float | None = None

    def over(self, times: float) -> dict[str, Any]:
        """What so many epochs have of it, as plain values."""
        many = {"rows": round(self.rows * times), "tokens": round(self.tokens * times), "passes": self.passes * times}
        return asdict(self) | many

    def sentence(self, times: float) -> str:
        """What a run over so many epochs sees of it."""
        asked = "" if self.asked is None else f", asked {self.asked:.1%}"
        return (
            f"{self.name}: {round(self.rows * times):,} rows ({self.share_rows:.1%}{asked}), "
            f"{round(self.tokens * times):,} tokens ({self.share_tokens:.1%}), {self.passes * times:.2f} times over "
            f"its {self.size_rows:,} rows"
        )


def mixed(rows: Rows, mix: Mix, seed: int, together: int | None) -> Rows:
    """The rows of one epoch: a function of the rows, what is asked, and the seed.

    What is drawn is a raw row with all that it became: `together` rows that lie side by side, or (None) all pieces of
    a text. Of a source the rows come in the order of its files, and after the last one from the first again; the part
    that a policy leaves of a last pass is drawn by chance.

    Raises DatasetError for a source without rows, and for an order that would not fit in memory.
    """
    import numpy as np

    if not mix.changes:
        return rows
    starts, owner = _units(rows, together)
    count = len(rows.names)
    first = np.searchsorted(owner, np.arange(count + 1))  # rows lie dataset by dataset
    sizes = np.diff(first)
    chosen = _by_policy(rows, mix.passes, first, seed) if mix.passes else _by_draws(rows, mix, first, sizes, seed)
    ends = np.append(starts[1:], len(rows))
    lengths = (ends - starts)[chosen]
    # The rows of each unit, one unit after the other.
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows.select((np.repeat(starts[chosen], lengths) + offsets).tolist())


def _units(rows: Rows, together: int | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Where each unit begins, and of which dataset it is."""
    import numpy as np

    datasets = np.asarray(rows.table["dataset"][:])
    if together is not None:
        starts = np.arange(0, len(rows), together)
        return starts, datasets[starts]
    raw = np.asarray(rows.table["row"][:])
    new = (datasets[1:] != datasets[:-1]) | (raw[1:] != raw[:-1])
    starts = np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)
    return starts, datasets[starts]


def _by_draws(
    rows: Rows, mix: Mix, first: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any], seed: int
) -> np.ndarray[Any, Any]:
    import numpy as np

    asked = list(mix.probabilities) or None
    mixer = Mixer(rows.names, sizes.tolist(), asked, mix.strategy, seed)
    expected = expected_rows(sizes.tolist(), asked, mix.strategy)
    _must_fit(expected, f"--mix_strategy {mix.strategy}", "Raise the smallest of interleave_probs")
    sources = np.fromiter(mixer, dtype=np.int32)
    chosen = np.empty(len(sources), dtype=np.int64)
    for source, size in enumerate(sizes):
        places = np.flatnonzero(sources == source)
        chosen[places] = first[source] + np.arange(len(places)) % max(size, 1)
    return chosen


def _by_policy(rows: Rows, passes: Sequence[float], first: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    import numpy as np

    sizes = np.diff(first)
    _must_fit(round(float(np.dot(sizes, passes))), "--sample_policy_file", "Lower the shares")
    parts = []
    for source, (size, times) in enumerate(zip(sizes.tolist(), passes, strict=True)):
        if not size:
            raise DatasetError(f"--sample_policy_file: {rows.names[source]!r} has no row that could be learned. Take "
                               "it out, or look at why its rows are refused.")  # fmt: skip
        wanted = round(size * times)
        whole, rest = divmod(wanted, size)
        # Its own generator for each source: another one beside it changes nothing in what is drawn.
        part = np.sort(np.random.default_rng([seed, source]).permutation(size)[:rest])
        parts += [first[source] + np.tile(np.arange(size), whole), first[source] + part]
    chosen: np.ndarray[Any, Any] = np.concatenate(parts).astype(np.int64)
    if not len(chosen):
        raise DatasetError("--sample_policy_file: the shares are so small that no row is left. Raise them.")
    return chosen


def _must_fit(count: int, what: str, remedy: str) -> None:
    if count > MOST_ROWS:
        raise DatasetError(f"{what}: one epoch would have about {count:,} rows, and at most {MOST_ROWS:,} are put in "
                           f"order in memory. {remedy}, or train with streaming.")  # fmt: skip


def shares_in(pool: Rows, learned: Rows, mix: Mix) -> list[Share]:
    """What one epoch has of each source, by name; `pool` are all rows there are, `learned` those of the epoch."""
    import numpy as np

    count = len(pool.names)
    has = np.bincount(np.asarray(pool.table["dataset"][:]), minlength=count)
    owner = np.asarray(learned.table["dataset"][:])
    rows = np.bincount(owner, minlength=count)
    tokens = np.bincount(owner, weights=learned.lengths, minlength=count)
    asked = asked_shares(mix, count)
    return [
        Share(
            name, int(rows[at]), int(tokens[at]), int(has[at]), float(rows[at] / max(has[at], 1)),
            float(rows[at] / max(rows.sum(), 1)), float(tokens[at] / max(tokens.sum(), 1)),
            asked[at] if asked else None,
        )
        for at, name in enumerate(pool.names)
    ]  # fmt: skip


def asked_shares(mix: Mix, count: int) -> list[float]:
    """The share that was asked of each of `count` sources, of rows (of bytes with a policy); [] where none was."""
    if mix.asked:
        return list(mix.asked)
    if mix.probabilities:
        return shares(mix.probabilities)
    return [1 / count] * count if mix.strategy in ("interleave_under", "interleave_over") else []
