"""Parquet: rows come out as they went in, and a damaged file is told."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.data.source import page, rows
from studio.errors import DatasetError, RowError

TALK = [{"conversations": [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": "答"}]} for n in range(9)]


def write(path: Path, listed: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(listed), path, **options)
    return path


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(rows(path))
    return str(caught.value)


def test_nested_rows_come_out_as_lists_and_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TALK, row_group_size=4)
    assert list(rows(path)) == list(enumerate(TALK, 1))
    assert page(path, 3, 3, tmp_path / "cache") == list(enumerate(TALK, 1))[3:6]


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    assert "holds no rows" in refused(path)
    with pytest.raises(DatasetError, match="holds no rows"):
        page(path, 0, 5, tmp_path)


def test_a_cut_file_lacks_its_footer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", TALK)
    path.write_bytes(path.read_bytes()[:-20])
    assert "the Parquet footer is missing, so the file is cut" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"a": 1}', "must start with PAR1"),
        (b"PAR1", "the Parquet footer is missing"),
        (b"PAR1" + b"\0" * 20 + b"PAR1", "its Parquet footer cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
    ],
)
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert said in refused(path)


def test_a_flipped_byte_is_found_by_its_checksum(tmp_path: Path) -> None:
    listed = [{"text": f"row {number}"} for number in range(2000)]
    path = write(tmp_path / "a.parquet", listed, write_page_checksum=True, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[3000] ^= 0xFF
    path.write_bytes(bytes(data))
    assert "is damaged after row 0" in refused(path)


def test_a_huge_row_is_told_by_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"text": "a"}, {"text": "x" * 9_000_000}, {"text": "b"}])
    (_, first), (number, second), (_, third) = rows(path)
    assert (first, third) == ({"text": "a"}, {"text": "b"})
    assert isinstance(second, RowError) and number == 2
    assert "row 2 is 9 MB; at most 8 MB are read" in second.why
