"""Which source gives the next row: one after the other, or drawn by turns or by probabilities.

The draws are those of `datasets.interleave_datasets` with the same seed, so its results can be held against ours:
numbers of a PCG64 generator in blocks of a thousand. They depend on the seed, the probabilities and the ends of the
sources alone, never on how rows are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from studio.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np

Strategy = Literal["concat", "interleave_under", "interleave_over", "interleave_once"]

# Numbers drawn at a time, as `datasets` draws them.
_BLOCK = 1_000
# More rows than this in one pass are not put in order in memory: their numbers alone take 8 bytes each.
MOST_ROWS = 100_000_000


class Mixer:
    """One pass over all sources: `next` says which gives the next row, -1 when the pass is over.

    concat            one after the other
    interleave_under  until the first source has given all its rows
    interleave_over   until every source has; those that end before begin again
    interleave_once   until every source has; those that end before are passed over

    Without probabilities the sources take turns, and interleave_under and interleave_over end with a whole round.
    With a size the mixer knows where a source ends. Without one (None) its reader tells `ended` as soon as the last
    row of a pass over it is taken: looking one row ahead gives the same order as a known size. A source that is drawn
    after its end begins again.
    """

    def __init__(
        self,
        names: Sequence[str],
        sizes: Sequence[int | None],
        probabilities: Sequence[float] | None = None,
        strategy: Strategy = "concat",
        seed: int = 42,
    ) -> None:
        """Raises DatasetError for a source that is to be drawn and has no row."""
        import numpy as np

        self.names, self.sizes, self.strategy = list(names), list(sizes), strategy
        self.probabilities = shares(probabilities) if probabilities is not None and strategy != "concat" else None
        # How many rows each gave, in all and since it began again.
        self.taken = [0] * len(names)
        self._in_pass = [0] * len(names)
        self._over = [False] * len(names)
        self._turn = 0
        self._random = np.random.default_rng(seed)
        self._drawn_from: dict[str, Any] = {}
        self._block: list[int] = []
        self._at = 0
        for name, size in zip(self.names, self.sizes, strict=True):
            if size == 0 and strategy != "concat":
                raise DatasetError(f"dataset {name!r} has no row that could be mixed in. Leave it out, or look at "
                                   "why its rows are refused.")  # fmt: skip

    def next(self) -> int:
        """The source of the next row; -1 when the pass is over."""
        source = self._drawn()
        if source >= 0:
            self.taken[source] += 1
            self._in_pass[source] += 1
            if self._in_pass[source] == self.sizes[source]:
                self.ended(source)
        return source

    def ended(self, source: int) -> None:
        """A source has given the last row of a pass over it."""
        self._over[source] = True
        self._in_pass[source] = 0

    def state(self) -> dict[str, Any]:
        """All that decides what comes, as plain values of JSON."""
        return {
            "names": self.names,
            "strategy": self.strategy,
            "probabilities": self.probabilities,
            "taken": list(self.taken),
            "in_pass": list(self._in_pass),
            "over": list(self._over),
            "turn": self._turn,
            "random": self._drawn_from,
            "at": self._at,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was told. Raises DatasetError where other sources were mixed, or in another way."""
        before = {name: state.get(name) for name in ("names", "strategy", "probabilities")}
        now = {"names": self.names, "strategy": self.strategy, "probabilities": self.probabilities}
        if before != now:
            raise DatasetError(f"the mix goes on only as it began: {before}, but now it is {now}. Ask for the same "
                               "datasets, mix_strategy and interleave_probs, or begin anew.")  # fmt: skip
        self.taken, self._in_pass = list(state["taken"]), list(state["in_pass"])
        self._over, self._turn, self._at = list(state["over"]), state["turn"], state["at"]
        self._block, self._drawn_from = [], state["random"]
        if self._drawn_from:
            self._random.bit_generator.state = self._drawn_from
            self._block = self._new_block()

    def __iter__(self) -> Iterator[int]:
        """The sources of all rows of the pass, in order."""
        while (source := self.next()) >= 0:
            yield source

    def _drawn(self) -> int:
        """The source whose turn it is; -1 at the end."""
        if self.strategy == "concat":
            return next((at for at, (over, size) in enumerate(zip(self._over, self.sizes, strict=True))
                         if not over and size != 0), -1)  # fmt: skip
        if self.probabilities is None:
            return self._by_turns()
        while not self._is_over():
            source = self._by_chance()
            if self.strategy != "interleave_once" or not self._over[source]:
                return source
        return -1

    def _is_over(self) -> bool:
        # What is never drawn cannot end.
        ends = [over for over, share in zip(self._over, self.probabilities or self.sizes, strict=True) if share != 0]
        return any(ends) if self.strategy == "interleave_under" else all(ends)

    def _by_turns(self) -> int:
        """The next one of the round; those that ended are passed over where each row is wanted once."""
        count = len(self.names)
        while True:
            if self._is_over() and (self._turn == 0 or self.strategy == "interleave_once"):
                return -1
            source, self._turn = self._turn, (self._turn + 1) % count
            if self.strategy != "interleave_once" or not self._over[source]:
                return source

    def _by_chance(self) -> int:
        if self._at == len(self._block):
            self._drawn_from = dict(self._random.bit_generator.state)
            self._block, self._at = self._new_block(), 0
        self._at += 1
        return self._block[self._at - 1]

    def _new_block(self) -> list[int]:
        drawn: np.ndarray[Any, Any] = self._random.choice(len(self.names), size=_BLOCK, p=self.probabilities)
        found: list[int] = drawn.tolist()
        return found


def shares(probabilities: Sequence[float]) -> list[float]:
    """The same with a sum of 1; as they are where they have it."""
    total = math.fsum(probabilities)
    # As exact as the generator wants it.
    exact = abs(total - 1) < 1e-9
    return [float(each) if exact else each / total for each in probabilities]


def expected_rows(sizes: Sequence[int], probabilities: Sequence[float] | None, strategy: Strategy) -> int:
    """About how many rows one pass has: exact without probabilities, else what the slowest or fastest source needs."""
    if strategy in ("concat", "interleave_once"):
        return sum(sizes)
    if probabilities is None:
        return len(sizes) * (min(sizes) if strategy == "interleave_under" else max(sizes))
    needs = [size / share for size, share in zip(sizes, shares(probabilities), strict=True) if share]
    return round(min(needs) if strategy == "interleave_under" else max(needs))
