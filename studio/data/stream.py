"""Rows as training takes them, without a copy of all of them: read, shuffled, rendered, packed, and gone on with.

    sources    each dataset from front to back, pass after pass: studio.data.streamed
    windows    `buffer_size` rows of them in random order, one window after the other: studio.data.windows
    slices     some of these rows are rendered (as `studio.data.render` always does) and packed together
    groups     packs, or single rows: what a batch is made of

Everything is a function of the rows, what is asked and the seed. So a place in the stream is small: where the windows
stood when the slice in work began, and how many groups of the slice were given. Going on renders that slice again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from studio.data.pack import pack
from studio.data.report import SHOWN, Counts, RefusedRows
from studio.data.streamed import Source
from studio.data.tokenise import CHUNK_CHARACTERS, CHUNK_ROWS, Plan, kept_pieces, render_chunk
from studio.data.windows import Taken, Way, Windows, characters_of
from studio.errors import DatasetError, RowError, counted
from studio.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

# A share of refused rows says something from so many rows on.
_SHARE_FROM = 1_000


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


class Stream:
    """Groups of rendered rows without end; `restore` goes on after a group whose `state` was kept.

    `plan` says what the rows become, `way` how they are taken. `counts` tell what became of the rows by dataset: `rows`
    are those that were read, which each process does; all else is of this process's rows.
    """

    def __init__(self, plan: Plan, way: Way, place: Workspace) -> None:
        self.plan, self.way, self._place = plan, way, place
        sources = [
            Source(entry, files, limit=plan.max_samples, seed=way.seed, reorders=way.buffer_size > 1)
            for entry, files in zip(plan.entries, plan.files, strict=True)
        ]
        self._sources = sources
        self._windows = Windows(sources, way)
        self.counts = [Counts() for _ in sources]
        self.refused = RefusedRows()
        # Rows that are refused here for all processes, and counted by another one; all that are refused here; those
        # among them in passes after the first of their dataset, which are the same rows once more.
        self._elsewhere = self._refused = self._again = 0
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
        self._windows.restore(state["place"])
        self._number, self._given = state["slice"], state["given"]
        self.counts = [Counts(**each) for each in state["counts"]]
        self._elsewhere, self._again = state.get("elsewhere", 0), state.get("again", 0)
        self._refused = self._elsewhere + sum(counts.refused for counts in self.counts)
        self._kept_before, self._quiet = None, True

    def groups(self) -> Iterator[Drawn]:
        """The groups, from where the stream is. Raises DatasetError for rows that may not be left out."""
        size = self._pass_rows()
        while True:
            begun = {
                "place": self._windows.state(),
                "slice": self._number,
                "counts": [asdict(counts) for counts in self.counts],
                "elsewhere": self._elsewhere,
                "again": self._again,
            }
            before = self._passed(size)
            groups = self._slice()
            after = self._passed(size)
            begun["read"] = [asdict(counts) for counts in self.counts]  # a slice further than `counts`, to be told
            self._number += 1
            given, self._given = self._given, 0
            ends = list(accumulate(map(len, groups)))
            for number, group in enumerate(groups[given:], given + 1):
                told, self._windows.told = tuple(self._windows.told), []
                # A slice is read as a whole, and given group by group.
                passes = after if size is None else before + (after - before) * ends[number - 1] / ends[-1]
                yield Drawn(group, {**begun, "given": number, "passes": passes}, told)

    def _pass_rows(self) -> int | None:
        """Rows of a pass where it is known without reading: then the share of it that is seen can be told."""
        each = [source.known_rows for source in self._sources] if self.way.strategy == "concat" else [None]
        return None if None in each else sum(rows for rows in each if rows is not None)

    def _passed(self, size: int | None) -> float:
        """How often all rows were seen: passes that ended and, where it is known, the share of the one in work."""
        windows = self._windows
        drawn = windows.drawn - len(windows.rows) + windows.at
        return max(windows.passes + (drawn / size if size else 0), 0)

    def _slice(self) -> list[tuple[Row, ...]]:
        """The groups of the next rows that are this process's."""
        chunk: list[Taken] = []
        characters = 0
        while len(chunk) < CHUNK_ROWS and characters < CHUNK_CHARACTERS:
            taken = self._windows.next()
            self.counts[taken.source].rows += 1
            is_own = (taken.before // self.way.per_turn) % self.way.world == self.way.rank
            if isinstance(taken.raw.example, RowError):
                self._refuse(taken, taken.raw.example, is_own=is_own)
            elif is_own:
                chunk.append(taken)
                characters += characters_of(taken.raw)
            if self._windows.pass_is_over:
                break
        rows = self._rendered(chunk)
        self._quiet = False
        if self._windows.pass_is_over:
            self._must_have_kept()
        if not self.way.packing:
            return [(row,) for row in rows]
        lengths = [len(row.input_ids) for row in rows]
        packs = pack(lengths, self.plan.view.cutoff_len, self.way.seed * 1_000_003 + self._number)
        return [tuple(rows[each] for each in one) for one in packs]

    def _rendered(self, chunk: Sequence[Taken]) -> list[Row]:
        import numpy as np

        rows = []
        unknown = self.plan.tokenizer.unknown_id
        results = render_chunk([taken.raw for taken in chunk], self.plan)
        for taken, result in zip(chunk, results, strict=True):
            if isinstance(result, RowError):
                self._refuse(taken, result)
                continue
            for piece in kept_pieces(result, self.plan.view, unknown, self.counts[taken.source]):
                ids = np.asarray(piece.input_ids, dtype=np.int32)
                rows.append(Row(ids, np.asarray(piece.loss_mask, dtype=np.bool_), taken.source))
        return rows

    def _refuse(self, taken: Taken, error: RowError, *, is_own: bool = True) -> None:
        """Count a row that cannot be used and tell of it. Raises DatasetError where that is not allowed.

        What cannot be read every process finds, and what cannot be rendered the one whose row it is. A number of rows
        that may be left out is a number of different ones, so that a further pass over the same rows ends no run.
        """
        raw = taken.raw
        self.counts[taken.source].refused += is_own
        self._elsewhere += not is_own
        self._refused += 1
        self._again += taken.again
        self.refused.add(self.plan.entries[taken.source].name, error.at(self._place.shown(raw.file), raw.row))
        if not self.way.skip_bad_rows:
            said = str(self.refused.first[-1]).rstrip(".")
            raise DatasetError(
                f"every row must be usable; {said}. Mend it in the data file, or leave up to max_bad_rows of such rows "
                "out with --skip_bad_rows True."
            )
        if self._refused <= SHOWN and not self._quiet:
            self._windows.told.append(f"refused: {self.refused.first[-1]}")
        rows = sum(counts.rows for counts in self.counts)
        most = self.way.max_bad_rows
        allowed, refused = most, self._refused - self._again
        if most < 1:
            allowed, refused = most * max(rows, _SHARE_FROM), self._refused
        if refused > allowed:
            lines = "\n".join(f"  {each}" for each in self.refused.first[-SHOWN:])
            raise DatasetError(
                f"max_bad_rows {most:g} allows {int(allowed):,} refused rows of the first {rows:,} of the stream; "
                f"refused: {refused:,}.\n{lines}\nMend these rows in the data files, or raise max_bad_rows."
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
