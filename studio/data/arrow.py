"""Reader of Arrow: a file or a stream of record batches, such as the shards that `save_to_disk` writes.

Also how a record batch of Arrow or Parquet becomes rows.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.data.blocks import MAX_ROW, START, Block, Mark, Row, too_long
from studio.data.encoding import read_head
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError

if TYPE_CHECKING:
    import pyarrow as pa

_FILE, _STREAM = b"ARROW1\0\0", b"\xff\xff\xff\xff"
_SLICE = 256


def arrow_rows(file: TextFile, mark: Mark = START) -> Iterator[Block]:
    """Rows of an Arrow file, always from its start: passing over a batch costs nothing.

    Raises DatasetError for a file that is cut, damaged or no Arrow.
    """
    import pyarrow as pa

    path, row = file.path, 0
    with _mapped(path) as memory:
        try:
            for batch in _batches(path, pa.BufferReader(pa.py_buffer(memory))):
                refuse_twice(path, batch.schema.names)
                for start in range(0, batch.num_rows, _SLICE):
                    part = batch.slice(start, _SLICE)
                    yield Block(Mark(0, row), part.num_rows, batch_rows(path, row, part, check=True))
                    row += part.num_rows
                # What was read stays in the process otherwise, up to the size of the file.
                del batch
                memory.madvise(mmap.MADV_DONTNEED)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, row, error) from None


def _batches(path: Path, source: Any) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    head = read_head(path)
    if head.startswith(_FILE):
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    elif head.startswith(_STREAM):
        yield from pa.ipc.open_stream(source)
    else:
        raise DatasetError(
            f"{path} must start as an Arrow file or stream does, but it starts with {head[:8]!r}. "
            "Give it the ending of what it is, or fetch it again."
        )


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file mapped into memory, so that only what is looked at is read."""
    if not read_head(path):
        raise DatasetError(f"{path} is empty (0 bytes); put rows in it, or name another file.")
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        yield memory
    finally:
        # Batches that a caller still holds keep the mapping alive; it goes with the last of them.
        with contextlib.suppress(BufferError):
            memory.close()


def batch_rows(path: Path, row: int, batch: pa.RecordBatch, *, check: bool = False) -> Iterator[Row]:
    """The rows of a batch; `row` is the number of rows before it, `check` tests that it is what it says."""
    import pyarrow as pa

    # Asked for maps as objects, the whole batch takes ten times as long.
    maps = "strict" if any("map<" in str(kind) for kind in batch.schema.types) else None
    try:
        if check:
            batch.validate(full=True)
        values: list[Any] = batch.to_pylist(maps_as_pydicts=maps)
        large = batch.nbytes > MAX_ROW
    except (pa.ArrowException, UnicodeDecodeError, OverflowError, KeyError) as error:
        if batch.num_rows > 1:
            for index in range(batch.num_rows):
                yield from batch_rows(path, row + index, batch.slice(index, 1), check=check)
            return
        why = f"it cannot be read: {first_line(error)}; mend it, or take the row out"
        yield row + 1, RowError(why, file=str(path), row=row + 1)
        return
    tidied = {field.name: tidy for field in batch.schema if (tidy := _tidy(field.type))}
    for index, value in enumerate(values):
        for name, tidy in tidied.items():
            value[name] = tidy(value[name])
        size = batch.slice(index, 1).nbytes if large else 0
        row += 1
        yield row, too_long(path, row, 0, size) if size > MAX_ROW else value


def _tidy(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """What takes the null fields out of the objects within values of this type; None where none can be.

    A table gives every object of a column the fields of all of them: a tool call would have the arguments of all
    others as nulls. Null and absent are one here, as they are to the formats. The keys of a map are its own.
    """
    import pyarrow as pa

    is_kind = pa.types
    if is_kind.is_struct(kind):
        inner = {field.name: _tidy(field.type) or _as_it_is for field in kind}
        return lambda value: value and {key: inner[key](each) for key, each in value.items() if each is not None}
    if is_kind.is_map(kind):
        item = _tidy(kind.item_type)
        return partial(_map_of, item) if item else None
    if is_kind.is_list(kind) or is_kind.is_large_list(kind) or is_kind.is_fixed_size_list(kind):
        item = _tidy(kind.value_type)
        return partial(_list_of, item) if item else None
    return None


def _as_it_is(value: Any) -> Any:
    return value


def _list_of(tidy: Callable[[Any], Any], value: Any) -> Any:
    return value and [tidy(each) for each in value]


def _map_of(tidy: Callable[[Any], Any], value: Any) -> Any:
    return value and {key: tidy(each) for key, each in value.items()}


def refuse_twice(path: Path, names: list[str]) -> None:
    """Raise DatasetError when two columns have one name: a row could keep only one of them."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{path}: two columns are named {twice[:40]!r}. Write it anew with a name for each.")


def damaged(path: Path, row: int, error: BaseException) -> DatasetError:
    """The complaint about a file that breaks after some rows."""
    return DatasetError(f"{path} is damaged after row {row:,}: {first_line(error)}. Fetch it again.")


def first_line(error: BaseException) -> str:
    """What a library says, short enough for a sentence."""
    return str(error).partition("\n")[0].rstrip(". ")[:200]
