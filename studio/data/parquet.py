"""Reader of Parquet, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.data.arrow import batch_rows, damaged, first_line, refuse_twice
from studio.data.blocks import START, Block, Mark
from studio.data.encoding import read_head
from studio.data.textfile import TextFile
from studio.errors import DatasetError

_BATCH = 256
_BUFFER = 256 * 1024
_MAGIC = b"PAR1"


def parquet_rows(source: TextFile, mark: Mark = START) -> Iterator[Block]:
    """Rows of a Parquet file from a row group on (`mark.offset` counts groups).

    Raises DatasetError for a file that is cut, is no Parquet, or fails its checksums.
    """
    import pyarrow as pa

    path, row = source.path, mark.row
    file = _open(path)
    refuse_twice(path, file.schema_arrow.names)
    try:
        groups = range(mark.offset, file.num_row_groups)
        for batch in file.iter_batches(_BATCH, row_groups=groups, use_threads=False):
            yield Block(Mark(mark.offset, row), batch.num_rows, batch_rows(path, row, batch))
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, row, error) from None
    finally:
        file.close()


def parquet_marks(path: Path) -> list[Mark]:
    """Where each row group starts."""
    file = _open(path)
    marks, row = [], 0
    for group in range(file.num_row_groups):
        marks.append(Mark(group, row))
        row += file.metadata.row_group(group).num_rows
    file.close()
    return marks


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = read_head(path)
    if not head:
        raise DatasetError(f"{path} is empty (0 bytes); put rows in it, or name another file.")
    if not head.startswith(_MAGIC):
        raise DatasetError(
            f"{path} must start with PAR1 as every Parquet file does, but it starts with {head[:4]!r}. "
            "Give it the ending of what it is, or fetch it again."
        )
    with path.open("rb") as file:
        file.seek(-min(4, len(head)), 2)
        if file.read() != _MAGIC or len(head) < 12:
            raise DatasetError(
                f"{path}: the Parquet footer is missing, so the file is cut "
                f"({path.stat().st_size:,} bytes). Fetch it again."
            )
    try:
        # Page by page through a small buffer. A mapped file costs as little for the first page, but its
        # pages stay in the process as reading goes on (457 MB of a 364 MB file, 127 this way), and a
        # file cut while it is mapped ends the process by a signal.
        return pq.ParquetFile(
            path, memory_map=False, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: its Parquet footer cannot be read: {first_line(error)}. Fetch it again.") from None
