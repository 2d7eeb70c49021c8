"""Rows as training takes them, without a copy of all of them: read, shuffled, rendered, packed, and gone on with.

    sources    each dataset from front to back, pass after pass; a mixer says whose turn it is
    windows    `buffer_size` rows in random order, one window after the other; a pass ends its last window
    slices     some of these rows are rendered (as `studio.data.render` always does) and packed together
    groups     packs, or single rows: what a batch is made of

Everything is a function of the rows, what is asked and the seed. So a place in the stream is small: where each
source stood when the window began that the slice began in, how many rows of it came before, and how many groups of
the slice were given. Going on reads that window once more, and renders that slice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from studio.data.mix import Mixer, Strategy
from studio.data.pack import pack
from studio.data.report import SHOWN, Counts, RefusedRows
from studio.data.streamed import Source
from studio.data.tokenise import CHUNK_CHARACTERS, CHUNK_ROWS, Plan, Raw, example_of, kept_pieces, render_chunk
from studio.errors import DatasetError, RowError, counted
from studio.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

# A window of very long rows ends before its number of rows, so that memory stays bounded.
WINDOW_CHARACTERS = 100_000_000
# A share of refused rows says something from so many rows on.
_SHARE_FROM = 1_000


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


@dataclass(frozen=True, eq=False)
class Row:
    """A rendered row: ids and which of them bear loss, as arrays of one length, and the dataset it is of."""

    input_ids: np.ndarray[Any, Any]
    loss_mask: np.ndarray[Any, Any]
    source: int


class Drawn(NamedTuple):
    """A group of rows, where the stream is after it, and what is to be told since the group before."""

    rows: tuple[Row, ...]
    state: dict[str, Any]
    told: tuple[str, ...]


@dataclass
class _Window:
    """The order of raw rows: windows of them, each in an order of its own."""

    sources: list[Source]
    way: Way
    rows: list[tuple[int, Raw, int]] = field(default_factory=list)
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

    def next(self) -> tuple[int, Raw, int]:
        """The next row: its dataset, the row, and how many rows of the stream came before it."""
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
        """Read the next window; the rest of a pass is a window of its own, so that a pass has each row once."""
        self._begun = self._places()
        if self._mixer is None or self._turn < 0:
            self.passes += 1
            self.drawn = 0
            self._mixer = self._new_mixer()
            self._turn = self._mixer.next()
        most = self.way.buffer_size if self.way.buffer_size > 1 else CHUNK_ROWS
        drawn: list[tuple[int, Raw]] = []
        characters = 0
        while len(drawn) < most and characters < WINDOW_CHARACTERS and self._turn >= 0:
            source = self.sources[self._turn]
            found = source.take()
            raw = Raw(0, found.file, found.row, example_of(found.value, source.entry))
            drawn.append((self._turn, raw))
            characters += _characters(raw)
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
        self.rows = [(source, raw, self.total + at) for at, (source, raw) in enumerate(drawn)]
        self.at = 0
        self.number += 1
        self.drawn += len(drawn)
        self.total += len(drawn)


def _characters(raw: Raw) -> int:
    example = raw.example
    if isinstance(example, RowError):
        return 0
    return len(example.text) + sum(len(str(message["content"])) for message in example.messages)


class Stream:
    """Groups of rendered rows without end; `restore` goes on after a group whose `state` was kept.

    `plan` says what the rows become, `way` how they are taken; `counts` tell what became of the rows by dataset.
    """

    def __init__(self, plan: Plan, way: Way, place: Workspace) -> None:
        self.plan, self.way, self._place = plan, way, place
        sources = [
            Source(entry, files, limit=plan.max_samples, seed=way.seed, reorders=way.buffer_size > 1)
            for entry, files in zip(plan.entries, plan.files, strict=True)
        ]
        self._sources = sources
        self._window = _Window(sources, way)
        self.counts = [Counts() for _ in sources]
        self.refused = RefusedRows()
        self._refused = 0
        self._number = self._given = 0
        # Kept rows and all rows when a pass gave something last (None where its beginning was not seen), passes since.
        self._kept_before: tuple[int, int] | None = (0, 0)
        self._in_vain = 0
        self._quiet = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the datasets, in order."""
        return tuple(entry.name for entry in self.plan.entries)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on after the group that `state` came with."""
        self._window.restore(state["place"])
        self._number, self._given = state["slice"], state["given"]
        self.counts = [Counts(**each) for each in state["counts"]]
        self._refused = sum(counts.refused for counts in self.counts)
        self._kept_before, self._quiet = None, True

    def groups(self) -> Iterator[Drawn]:
        """The groups, from where the stream is. Raises DatasetError for rows that may not be left out."""
        size = self._pass_rows()
        while True:
            begun = {
                "place": self._window.state(),
                "slice": self._number,
                "counts": [asdict(counts) for counts in self.counts],
            }
            before = self._passed(size)
            groups = self._slice()
            after = self._passed(size)
            begun["read"] = [asdict(counts) for counts in self.counts]  # a slice further than `counts`, to be told
            self._number += 1
            given, self._given = self._given, 0
            ends = list(accumulate(map(len, groups)))
            for number, group in enumerate(groups[given:], given + 1):
                told, self._window.told = tuple(self._window.told), []
                # A slice is read as a whole, and given group by group.
                passes = after if size is None else before + (after - before) * ends[number - 1] / ends[-1]
                yield Drawn(group, {**begun, "given": number, "passes": passes}, told)

    def _pass_rows(self) -> int | None:
        """Rows of a pass where it is known without reading: then the share of it that is seen can be told."""
        each = [source.known_rows for source in self._sources] if self.way.strategy == "concat" else [None]
        return None if None in each else sum(rows for rows in each if rows is not None)

    def _passed(self, size: int | None) -> float:
        """How often all rows were seen: passes that ended and, where it is known, the share of the one in work."""
        window = self._window
        drawn = window.drawn - len(window.rows) + window.at
        return max(window.passes + (drawn / size if size else 0), 0)

    def _slice(self) -> list[tuple[Row, ...]]:
        """The groups of the next rows that are this process's."""
        chunk: list[tuple[int, Raw]] = []
        characters = 0
        while len(chunk) < CHUNK_ROWS and characters < CHUNK_CHARACTERS:
            source, raw, before = self._window.next()
            self.counts[source].rows += 1
            if isinstance(raw.example, RowError):
                self._refuse(source, raw, raw.example)
            elif (before // self.way.per_turn) % self.way.world == self.way.rank:
                chunk.append((source, raw))
                characters += _characters(raw)
            if self._window.pass_is_over:
                break
        rows = self._rendered(chunk)
        self._quiet = False
        if self._window.pass_is_over:
            self._must_have_kept()
        if not self.way.packing:
            return [(row,) for row in rows]
        lengths = [len(row.input_ids) for row in rows]
        packs = pack(lengths, self.plan.view.cutoff_len, self.way.seed * 1_000_003 + self._number)
        return [tuple(rows[each] for each in one) for one in packs]

    def _rendered(self, chunk: Sequence[tuple[int, Raw]]) -> list[Row]:
        import numpy as np

        rows = []
        unknown = self.plan.tokenizer.unknown_id
        results = render_chunk([raw for _, raw in chunk], self.plan)
        for (source, raw), result in zip(chunk, results, strict=True):
            if isinstance(result, RowError):
                self._refuse(source, raw, result)
                continue
            for piece in kept_pieces(result, self.plan.view, unknown, self.counts[source]):
                ids = np.asarray(piece.input_ids, dtype=np.int32)
                rows.append(Row(ids, np.asarray(piece.loss_mask, dtype=np.bool_), source))
        return rows

    def _refuse(self, source: int, raw: Raw, error: RowError) -> None:
        """Count a row that cannot be used and tell of it. Raises DatasetError where that is not allowed."""
        self.counts[source].refused += 1
        self._refused += 1
        self.refused.add(self.plan.entries[source].name, error.at(self._place.shown(raw.file), raw.row))
        if not self.way.skip_bad_rows:
            raise DatasetError(
                f"every row must be usable; {self.refused.first[-1]}. Mend it in the data file, or leave up to "
                "max_bad_rows of such rows out with --skip_bad_rows True."
            )
        if self._refused <= SHOWN and not self._quiet:
            self._window.told.append(f"refused: {self.refused.first[-1]}")
        rows = sum(counts.rows for counts in self.counts)
        most = self.way.max_bad_rows
        allowed = most * max(rows, _SHARE_FROM) if most < 1 else most
        if self._refused > allowed:
            lines = "\n".join(f"  {each}" for each in self.refused.first[-SHOWN:])
            raise DatasetError(
                f"max_bad_rows {most:g} allows {int(allowed):,} refused rows of the first {rows:,} of the stream; "
                f"refused: {self._refused:,}.\n{lines}\nMend these rows in the data files, or raise max_bad_rows."
            )

    def _must_have_kept(self) -> None:
        """Raise DatasetError where a whole pass gave nothing to learn: the next one would not either."""
        kept, rows = (sum(getattr(counts, name) for counts in self.counts) for name in ("kept", "rows"))
        if self._kept_before is None or kept > self._kept_before[0]:
            self._kept_before, self._in_vain = (kept, rows), 0
            return
        self._in_vain += 1
        way = self.way
        # Of a short pass some processes, and of one by draws some datasets, may have no row; not of many passes.
        alike = way.world == 1 and way.strategy in ("concat", "interleave_once")
        if self._in_vain < (1 if alike else max(8, 2 * way.world * way.per_turn)):
            return
        rows -= self._kept_before[1]
        raise DatasetError(
            f"0 of {counted(rows, 'row')} of {', '.join(self.names)} have target tokens at cutoff_len "
            f"{self.plan.view.cutoff_len}. Raise cutoff_len, shorten the prompts, or check that the answers are not "
            "empty."
        )
