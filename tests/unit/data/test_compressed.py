"""Compressed files: the same rows as unpacked, and a sentence with the place where one is cut or damaged."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from studio.data.compressed import MAX_UNPACKED_ROW, Unpacked
from studio.data.source import count, page, rows
from studio.errors import DatasetError, RowError

ROWS = [{"instruction": f"问题 {number}", "output": f"answer {number}"} for number in range(50)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
}


def table(delimiter: str) -> bytes:
    cells = [["instruction", "output"], *(row.values() for row in ROWS)]
    return "".join(delimiter.join(row) + "\n" for row in cells).encode()


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(PACK[path.suffix](content))
    return path


def values(path: Path, **how: Any) -> list[Any]:
    return [row for _, row in rows(path, **how)]


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(rows(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.json", json.dumps(ROWS, ensure_ascii=False).encode()),
        ("a.csv", table(",")),
        ("a.TSV", table("\t")),
    ],
)
def test_text_of_every_kind_is_read_through_its_packing(
    tmp_path: Path, packing: str, name: str, content: bytes
) -> None:
    assert values(put(tmp_path, name + packing, content)) == ROWS


def test_paragraphs_and_a_byte_order_mark_are_read_through_too(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt.zst", b"\xef\xbb\xbfone\ntwo\n\nthree\n")
    assert values(path, sample_by="paragraph") == [{"text": "one\ntwo"}, {"text": "three"}]


def test_another_encoding_inside_is_converted(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl.gz", LINES.decode().encode("gb18030"))
    assert values(path, encoding="gb18030") == ROWS


@pytest.mark.parametrize("packing", PACK)
def test_archives_one_after_the_other_are_one_file(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"a.jsonl{packing}"
    half = LINES.index(b"\n", len(LINES) // 2) + 1
    path.write_bytes(PACK[packing](LINES[:half]) + PACK[packing](LINES[half:]))
    assert values(path) == ROWS


@pytest.mark.parametrize("packing", PACK)
def test_a_cut_archive_gives_the_rows_before_and_then_the_place(tmp_path: Path, packing: str) -> None:
    # Every row another, so that the archive is long enough to be cut within.
    lines = "".join(json.dumps({"n": number, "text": f"{number * 7919:x}" * 9}) + "\n" for number in range(60_000))
    path = put(tmp_path, f"a.jsonl{packing}", lines.encode())
    path.write_bytes(path.read_bytes()[:-1000])
    read: list[int] = []
    with pytest.raises(
        DatasetError, match=r"after line [\d,]+ \([\d,]+ bytes of its content\) the compressed file is cut"
    ):
        for _, row in rows(path):
            assert not isinstance(row, RowError)
            read.append(row["n"])
    assert read == list(range(len(read))) and len(read) > 10_000
    assert [row["n"] for _, row in page(path, 0, 3, tmp_path / "cache") if not isinstance(row, RowError)] == [0, 1, 2]


@pytest.mark.parametrize("packing", PACK)
def test_damage_is_told(tmp_path: Path, packing: str) -> None:
    path = put(tmp_path, f"a.jsonl{packing}", LINES * 30)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    assert "the compressed file is damaged: " in refused(path)


def test_an_archive_that_is_none_or_holds_no_text_rows_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(LINES)
    assert "must start as a .gz archive does, but it starts with " in refused(tmp_path / "a.jsonl.gz")
    (tmp_path / "a.jsonl.gz").write_bytes(b"notgzip")
    assert "it starts with the text 'notgzip'." in refused(tmp_path / "a.jsonl.gz")
    (tmp_path / "b.jsonl.zst").write_bytes(b"")
    assert "is empty (0 rows)" in refused(tmp_path / "b.jsonl.zst")
    assert "is empty (0 rows)" in refused(put(tmp_path, "c.jsonl.zst", b"\n"))
    assert ".parquet is compressed in itself" in refused(put(tmp_path, "d.parquet.gz", b"PAR1"))
    assert "it ends in .tar" in refused(put(tmp_path, "e.tar.gz", b"x"))
    assert "before .gz, but its name has no ending before .gz." in refused(put(tmp_path, "f.gz", b"x"))


def test_a_wrong_byte_inside_is_named_by_its_line(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl.gz", b'{"a": 1}\n{"a": "\xff"}\n')
    assert "line 2, byte 8: the file must be UTF-8" in refused(path)


def test_a_row_that_unpacks_without_end_stops_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    packer = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as out:
        out.write(packer.compress(b'{"a": 1}\n{"a": "'))
        for _ in range(80):
            out.write(packer.compress(b"x" * 1_000_000))
        out.write(packer.flush())
    assert path.stat().st_size < 50_000 < MAX_UNPACKED_ROW
    assert "line 2: the row that starts here unpacks to more than 64 MB" in refused(path)
    array = put(tmp_path, "a.json.zst", b'[{"a": "' + b"x" * 80_000_000)
    assert "line 1: the row that starts here unpacks to more than 64 MB" in refused(array)


def test_a_window_that_needs_much_memory_is_refused(tmp_path: Path) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    (tmp_path / "a.jsonl.zst").write_bytes(packer.compress(LINES) + packer.flush())
    assert "packed with --long" in refused(tmp_path / "a.jsonl.zst")


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_page_anywhere_is_that_slice_of_the_rows(tmp_path: Path, packing: str) -> None:
    lines = b"".join(b'{"n": %d, "text": "%s"}\n' % (number, b"a word " * 60) for number in range(60_000))
    path, cache = put(tmp_path, f"a.jsonl{packing}", lines), tmp_path / "cache"
    shares: list[float] = []
    for start in (0, 59_990, 13, 40_000, 59_995):
        found = page(path, start, 10, cache, progress=shares.append)
        wanted = range(start, min(start + 10, 60_000))
        assert [(number, row["n"]) for number, row in found if not isinstance(row, RowError)] == [
            (number + 1, number) for number in wanted
        ]
    assert all(0 <= share <= 1 for share in shares) and 1.0 in shares
    assert count(path, cache) == 60_000


def test_going_back_reads_anew(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt.gz", b"0123456789" * 1000)
    with Unpacked(path) as stream:
        assert (stream.seek(5005), stream.read(3), stream.tell()) == (5005, b"567", 5008)
        assert (stream.seek(2), stream.read(2)) == (2, b"23")
        assert (stream.seek(20_000), stream.read(1)) == (10_000, b"")
