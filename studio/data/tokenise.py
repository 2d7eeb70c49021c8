"""One pass over the datasets: read, render and write a chunk at a time, counting all that happens."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from studio.data.catalog import DatasetEntry
from studio.data.example import Example, to_example
from studio.data.kinds import kind_of, remedy, why_not
from studio.data.reading import chosen_rows
from studio.data.render import Rendered, View, render
from studio.data.report import Counts, Lengths, RefusedRows, Report
from studio.errors import DatasetError, RowError
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

# What is done, how many rows so far, and how many there will be where that is known.
Tell = Callable[[str, int, int | None], None]

# A chunk is rendered at once and becomes one batch of the file: memory holds one of them, whatever
# the size of the dataset. The characters bound chunks of very long rows.
CHUNK_ROWS, CHUNK_CHARACTERS = 1_000, 8_000_000


@dataclass(frozen=True)
class Plan:
    """Everything that decides what the rows become; `files` holds those of each entry."""

    entries: tuple[DatasetEntry, ...]
    files: tuple[tuple[Path, ...], ...]
    tokenizer: LightTokenizer
    template: Template | None
    view: View
    max_samples: int | None


@dataclass(frozen=True)
class Raw:
    """One raw row on its way: its number in the dataset and row in its file, and its example or why there is none."""

    number: int
    file: Path
    row: int
    example: Example | RowError


def use_workers(count: int) -> None:
    """Encode with at most `count` threads, never more than the machine has cores.

    Has an effect only before the first text is encoded in this process.
    """
    # Only the encoder's own threads: rendering and the mask are Python and take 0.14 of 0.32 CPU-s
    # for 1,380 rows. Measured on two cores: one thread 4,000 rows/s, the encoder's two 6,500; Python
    # threads around it no more than that; two processes the same after 3 s of starting.
    os.environ.setdefault("RAYON_NUM_THREADS", str(min(count, os.cpu_count() or 1)))


def tokenise(plan: Plan, place: Workspace, out: Path, progress: Tell | None) -> Report:
    """Write all rows of the plan to an Arrow stream at `out` and say what became of them.

    Raises DatasetError for a file that cannot be read.
    """
    refused = RefusedRows()
    every: dict[str, Counts] = {}
    with RowWriter(out, plan.view, plan.tokenizer.unknown_id) as writer:
        for index, (entry, files) in enumerate(zip(plan.entries, plan.files, strict=True)):
            counts = every.setdefault(entry.name, Counts())
            for chunk in chunks(entry, files, place.cache, plan.max_samples):
                done = render_chunk(chunk, plan)
                for raw, result in zip(chunk, done, strict=True):
                    counts.rows += 1
                    if isinstance(result, RowError):
                        counts.refused += 1
                        refused.add(entry.name, result.at(place.shown(raw.file), raw.row))
                    else:
                        writer.add(index, raw.number, result, counts)
                writer.flush()
                if progress is not None:
                    progress(f"tokenising {entry.name}", counts.rows, None)
    return Report(
        cutoff_len=plan.view.cutoff_len,
        datasets=every,
        refused=tuple(refused.first),
        reasons=refused.reasons(),
        lengths=summary(writer.lengths),
    )


def chunks(entry: DatasetEntry, files: Sequence[Path], cache: Path, max_samples: int | None) -> Iterator[list[Raw]]:
    """The rows of a dataset to learn from, in chunks; at most `max_samples` of them in all."""
    chunk: list[Raw] = []
    size = 0
    for number, file, row, value in chosen_rows(entry, files, cache, max_samples):
        example = example_of(value, entry)
        chunk.append(Raw(number, file, row, example))
        size += _characters(example)
        if len(chunk) == CHUNK_ROWS or size > CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def must_fit(entry: DatasetEntry, view: View) -> None:
    """Raise DatasetError for a dataset whose kind of rows this stage does not learn from."""
    kind = kind_of(entry)
    if against := why_not(kind, view.wants):
        raise DatasetError(f"dataset {entry.name!r} in {entry.origin}: {against} {remedy(kind)}.")


def example_of(row: dict[str, Any] | RowError, entry: DatasetEntry) -> Example | RowError:
    """The example of a raw row, or why there is none."""
    if isinstance(row, RowError):
        return row
    try:
        return to_example(row, entry)
    except RowError as error:
        return error


def render_chunk(chunk: Sequence[Raw], plan: Plan) -> list[list[Rendered] | RowError]:
    """One result a raw row, in order; refused ones keep their place."""
    examples = [raw.example for raw in chunk if isinstance(raw.example, Example)]
    rendered = iter(render(examples, plan.tokenizer, plan.template, plan.view))
    return [raw.example if isinstance(raw.example, RowError) else next(rendered) for raw in chunk]


class RowWriter:
    """Rows into an Arrow stream, a batch a flush; keeps the length of each row that was written."""

    def __init__(self, path: Path, view: View, unknown_id: int | None = None) -> None:
        import pyarrow as pa

        self.view = view
        self.lengths = array("q")
        self._unknown_id = unknown_id
        self._schema = pa.schema(
            {
                "input_ids": pa.list_(pa.int32()),
                "loss_mask": pa.list_(pa.bool_()),
                "dataset": pa.int32(),
                "row": pa.int64(),
                "truncated": pa.bool_(),
                "mark": pa.int8(),
                "source": pa.string(),
            }
        )
        self._file = path.open("wb")
        self._stream: Any = pa.ipc.new_stream(self._file, self._schema)
        # Ids and masks end to end, and the length of each row; then the other columns.
        self._ids, self._masks, self._sizes = array("i"), bytearray(), array("i")
        self._columns: list[list[Any]] = [[] for _ in list(self._schema)[2:]]

    def add(self, dataset: int, number: int, pieces: Sequence[Rendered], counts: Counts) -> None:
        """Take the rows that one raw row became; those without a target are counted and left out."""
        for piece in kept_pieces(pieces, self.view, self._unknown_id, counts):
            self.lengths.append(len(piece.input_ids))
            self._ids.extend(piece.input_ids)
            self._masks.extend(piece.loss_mask)
            self._sizes.append(len(piece.input_ids))
            row = (dataset, number, piece.truncated, piece.mark, piece.source)
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)

    def flush(self) -> None:
        """Write what was taken since the last time as one batch."""
        if self._sizes:
            self._stream.write_batch(self._batch())
            self._ids, self._masks, self._sizes = array("i"), bytearray(), array("i")
            for column in self._columns:
                column.clear()

    def _batch(self) -> pa.RecordBatch:
        import numpy as np
        import pyarrow as pa

        offsets = pa.array(np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int32))
        ids = pa.array(np.frombuffer(self._ids, dtype=np.int32))
        masks = pa.array(np.frombuffer(self._masks, dtype=np.uint8).astype(bool))
        lists = [pa.ListArray.from_arrays(offsets, each) for each in (ids, masks)]
        others = [
            pa.array(column, type=kind.type) for column, kind in zip(self._columns, list(self._schema)[2:], strict=True)
        ]
        return pa.record_batch([*lists, *others], schema=self._schema)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self.flush()
                self._stream.close()


def kept_pieces(pieces: Sequence[Rendered], view: View, unknown_id: int | None, counts: Counts) -> Iterator[Rendered]:
    """Of the rows that one raw row became those with a target; what becomes of each is counted."""
    counts.split_rows += len(pieces) > 1 and view.wants not in ("pairs", "judged")
    counts.forgetful += any(piece.forgets for piece in pieces)
    # Nothing predicts the first token, so it is no target even where its mask says so.
    each = [sum(piece.loss_mask) - sum(piece.loss_mask[:1]) for piece in pieces]
    if view.together > 1 and not all(each):
        counts.fully_masked += len(pieces)  # half a pair is none
        return
    for piece, targets in zip(pieces, each, strict=True):
        if not targets and view.wants != "prompts":
            counts.fully_masked += 1
            continue
        counts.kept += 1
        counts.truncated += piece.truncated
        counts.tokens += len(piece.input_ids)
        counts.label_tokens += targets
        if unknown_id is not None:
            counts.unknown += piece.input_ids.count(unknown_id)
        yield piece


def summary(lengths: Sequence[int]) -> Lengths:
    """Mean, median, 95th percentile and longest; zeros when there is no row."""
    if not lengths:
        return Lengths()
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return Lengths(
        mean=sum(ordered) / len(ordered),
        p50=ordered[last // 2],
        p95=ordered[round(last * 0.95)],
        max=ordered[last],
    )


def _characters(example: Example | RowError) -> int:
    if isinstance(example, RowError):
        return 0
    return len(example.text) + sum(len(str(message["content"])) for message in example.messages)
