"""The order in which a stream takes rows: from its sources by turns, in windows that are shuffled, pass after pass.

A window holds raw rows. The rest of a pass is a window of its own, so that a pass has each row once. A place in the
order is small: where each source stood when the window in work began, and how many rows of it were given; going on
reads that window once more.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from studio.data.mix import Mixer, Strategy
from studio.data.streamed import Source
from studio.data.tokenise import CHUNK_ROWS, Raw, example_of
from studio.errors import RowError

# A window of very long rows ends before its number of rows, so that memory stays bounded.
WINDOW_CHARACTERS = 100_000_000


@dataclass(frozen=True)
class Way:
    """How rows are taken: `buffer_size` of them are shuffled together (none up to 1); `packing` joins some.

    `strategy` and `probabilities` say whose turn it is among the datasets. `per_turn` rows that follow each other go
    to one process, so many to the next, and so on.
    """

    buffer_size: int = 0
    packing: bool = False
    seed: int = 42
    skip_bad_rows: bool = False
    max_bad_rows: float = 0.01
    strategy: Strategy = "concat"
    probabilities: tuple[float, ...] = ()
    rank: int = 0
    world: int = 1
    per_turn: int = 1


class Taken(NamedTuple):
    """A row in its turn: its dataset, rows of the stream before it, and whether its dataset has begun anew before."""

    source: int
    raw: Raw
    before: int
    again: bool


@dataclass
class Windows:
    """Raw rows of all sources, window after window, each in an order of its own."""

    sources: list[Source]
    way: Way
    rows: list[Taken] = field(default_factory=list)
    at: int = 0
    # Passes that ended, windows that were filled, rows that were drawn in the pass and in all.
    passes: int = -1
    number: int = 0
    drawn: int = 0
    total: int = 0
    told: list[str] = field(default_factory=list)
    _begun: dict[str, Any] = field(default_factory=dict)
    _mixer: Mixer | None = None
    # Whose turn it is; below 0 where a pass is over, or none has begun.
    _turn: int = -1
    _short: bool = False

    @property
    def pass_is_over(self) -> bool:
        """Whether the next row begins another pass."""
        return self.at == len(self.rows) and self._turn < 0

    def state(self) -> dict[str, Any]:
        """Where the next row is."""
        if self.at == len(self.rows):
            return {**self._places(), "at": 0}
        return {**self._begun, "at": self.at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on at a place that `state` told."""
        self.passes, self.number = state["passes"], state["window"]
        self.drawn, self.total = state["drawn"], state["total"]
        for source, spot in zip(self.sources, state["sources"], strict=True):
            source.restore(spot)
        self._mixer = None
        if state["mixer"] is not None:
            self._mixer = self._new_mixer()
            self._mixer.restore(state["mixer"])
        self._turn = state["turn"]
        self.rows, self.at = [], 0
        if state["at"]:
            self._fill()
            self.at = state["at"]

    def next(self) -> Taken:
        """The next row."""
        if self.at == len(self.rows):
            self._fill()
        self.at += 1
        return self.rows[self.at - 1]

    def _places(self) -> dict[str, Any]:
        return {
            "passes": self.passes, "window": self.number, "drawn": self.drawn, "total": self.total,
            "sources": [source.spot for source in self.sources],
            "mixer": self._mixer.state() if self._mixer else None, "turn": self._turn,
        }  # fmt: skip

    def _new_mixer(self) -> Mixer:
        way, names = self.way, [source.entry.name for source in self.sources]
        seed = way.seed + max(self.passes, 0)
        return Mixer(names, [None] * len(names), way.probabilities or None, way.strategy, seed)

    def _fill(self) -> None:
        """Read the next window."""
        self._begun = self._places()
        if self._mixer is None or self._turn < 0:
            self.passes += 1
            self.drawn = 0
            self._mixer = self._new_mixer()
            self._turn = self._mixer.next()
        most = self.way.buffer_size if self.way.buffer_size > 1 else CHUNK_ROWS
        drawn: list[tuple[int, Raw, bool]] = []
        characters = 0
        while len(drawn) < most and characters < WINDOW_CHARACTERS and self._turn >= 0:
            source = self.sources[self._turn]
            again = source.spot.passes > 0
            found = source.take()
            raw = Raw(0, found.file, found.row, example_of(found.value, source.entry))
            drawn.append((self._turn, raw, again))
            characters += characters_of(raw)
            if found.last:
                self._mixer.ended(self._turn)
            self._turn = self._mixer.next()
        if characters >= WINDOW_CHARACTERS and len(drawn) < most and self.way.buffer_size > 1 and not self._short:
            self._short = True
            self.told.append(
                f"rows are long: {len(drawn):,} are shuffled together instead of {most:,} (buffer_size), which are "
                f"{characters:,} characters; a later window may hold more or less"
            )
        if self.way.buffer_size > 1:
            random.Random(f"{self.way.seed} {self.number}").shuffle(drawn)
        self.rows = [Taken(each, raw, self.total + at, again) for at, (each, raw, again) in enumerate(drawn)]
        self.at = 0
        self.number += 1
        self.drawn += len(drawn)
        self.total += len(drawn)


def characters_of(raw: Raw) -> int:
    """About how much memory a row takes."""
    example = raw.example
    if isinstance(example, RowError):
        return 0
    return len(example.text) + sum(len(str(message["content"])) for message in example.messages)
