"""Rows and pages of every kind of file, and the sentences for files that are something else."""

import codecs
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from studio.data.source import page, rows
from studio.errors import DatasetError, RowError

ROWS = [{"instruction": f"问题 {number}", "output": f"answer {number}"} for number in range(5)]


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path, **options: Any) -> list[Any]:
    numbered = list(rows(path, **options))
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return [row for _, row in numbered]


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(rows(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


AS_LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
AS_ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=2)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.JSON"])
@pytest.mark.parametrize("text", [AS_LINES, AS_ARRAY, json.dumps(ROWS)])
def test_json_is_read_as_what_it_is_whatever_its_ending(tmp_path: Path, name: str, text: str) -> None:
    assert values(put(tmp_path, name, text)) == ROWS


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt"])
@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", codecs.BOM_UTF8])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str, content: bytes) -> None:
    assert "is empty (0 rows); put rows in it" in refused(put(tmp_path, name, content))


@pytest.mark.parametrize(("name", "text"), [("a.json", "[ ]"), ("a.csv", "a,b\n"), ("a.json", " " * 70_000)])
def test_a_file_without_a_row_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = put(tmp_path, name, text)
    assert "holds no rows" in refused(path)
    with pytest.raises(DatasetError, match="holds no rows"):
        page(path, 0, 10, tmp_path / "cache")


@pytest.mark.parametrize("text", [AS_LINES, AS_ARRAY])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, text: str) -> None:
    assert values(put(tmp_path, "a.json", codecs.BOM_UTF8 + text.encode())) == ROWS
    table = put(tmp_path, "a.csv", codecs.BOM_UTF8 + b"instruction,output\na,b\n")
    assert values(table) == [{"instruction": "a", "output": "b"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt"])
def test_utf_16_is_named_with_the_command_that_converts_it(tmp_path: Path, encoding: str, name: str) -> None:
    text = "instruction,output\n" * 4 if name.endswith("csv") else AS_ARRAY
    said = refused(put(tmp_path, name, text.encode(encoding)))
    assert "must be UTF-8, but it is UTF-" in said and "iconv -f UTF-" in said


def test_gb18030_is_named_with_line_and_byte(tmp_path: Path) -> None:
    text = "department,ask,answer\n内科,我最近总是头晕怎么办,您好，建议您去医院检查血压。\n"
    said = refused(put(tmp_path, "a.csv", text.encode("gb18030")))
    assert "line 2, byte 1: " in said and 'it looks like GB18030. Write "encoding"' in said
    assert "or convert it: iconv -f GB18030" in said


def test_a_packed_file_in_another_encoding_is_unpacked_before_it_is_converted(tmp_path: Path) -> None:
    path = put(tmp_path, "old.txt.gz", gzip.compress("好面包需要耐心、水和盐。\n".encode("gb18030") * 20))
    said = refused(path)
    assert f"or convert it: gzip -dc {path} | iconv -f GB18030 -t UTF-8 > {tmp_path}/utf8-old.txt" in said


def test_a_latin_byte_far_in_the_file_is_named_by_line(tmp_path: Path) -> None:
    good = b'{"text": "plain"}\n' * 50_000
    said = refused(put(tmp_path, "a.jsonl", good + b'{"text": "a \x93quoted\x94 word"}\n'))
    assert "line 50001, byte 13: " in said and "byte 0x93" in said and "WINDOWS-1252" in said


def test_a_file_cut_inside_a_character_is_cut(tmp_path: Path) -> None:
    whole = '{"text": "学习"}'.encode()
    said = refused(put(tmp_path, "a.jsonl", whole[:-3]))
    assert "ends in the middle of a character" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"PK\x03\x04....", "a ZIP archive or an Excel workbook"),
        ("a.csv", b"\xd0\xcf\x11\xe0....", "an old Excel or Word file"),
        ("a.json", b"%PDF-1.7", "a PDF"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        ("a.jsonl", b"\x1f\x8b\x08\x00", "a gzip archive; give it the ending .gz"),
        ("a.json", b"PAR1....PAR1", "a Parquet file; give it the ending .parquet"),
        ("a.json", b"<!DOCTYPE html><html>", "an HTML or XML page"),
        ("a.json", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a git-LFS pointer"),
        ("a.json", b"instruction,output\na,b\n", "must start with [ or {"),
        ("a.json", b'{\n "data": [\n  {"a": 1}\n ]\n}\n', "goes on over several lines"),
        ("a.xlsx", b"PK\x03\x04....", "an Excel workbook"),
        ("a.json", b"ARROW1\0\0", "an Arrow file; give it the ending .arrow"),
        ("a.arrow", b'{"a": 1}', "must start as an Arrow file or stream does"),
        ("a.doc", b"hello", "must end in one of .json, .jsonl"),
        ("noending", b"hello", "its name has no ending"),
    ],
)
def test_a_file_that_is_something_else_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    assert said in refused(put(tmp_path, name, content))


def test_a_missing_file_a_folder_and_a_pipe_are_told(tmp_path: Path) -> None:
    assert "nothing lies there" in refused(tmp_path / "gone.json")
    (tmp_path / "folder.json").mkdir()
    assert "no regular file" in refused(tmp_path / "folder.json")
    os.mkfifo(tmp_path / "pipe.json")
    assert "no regular file" in refused(tmp_path / "pipe.json")


# About 25 MB each, so that pages lie on both sides of what is read without an index.
LONG = [{"n": number, "text": "字 and word " * 30} for number in range(60_000)]


@pytest.fixture(scope="module", params=["lines", "array", "csv", "txt", "paragraphs", "parquet"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("large")
    kind = request.param
    if kind == "lines":
        lines = (json.dumps(row, ensure_ascii=False) + "\r\n" for row in LONG)
        return put(folder, "a.jsonl", "".join(lines)), "line"
    if kind == "array":
        return put(folder, "a.json", json.dumps(LONG, ensure_ascii=False, indent=1)), "line"
    if kind == "csv":
        table = "".join(f'{row["n"]},"{row["text"]}\n"\n' for row in LONG)
        return put(folder, "a.csv", "n,text\n" + table), "line"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(LONG), folder / "a.parquet", row_group_size=7_000)
        return folder / "a.parquet", "line"
    gap, sample_by = ("\r\n\r\n\r\n", "paragraph") if kind == "paragraphs" else ("\n", "line")
    return put(folder, "a.txt", gap.join(f"{row['n']}:{row['text']}" for row in LONG)), sample_by


def number_of(row: Any) -> int:
    return int(row["n"]) if "n" in row else int(row["text"].partition(":")[0])


def test_a_page_anywhere_is_that_slice_of_the_rows(large: tuple[Path, str], tmp_path: Path) -> None:
    path, sample_by = large
    shares: list[float] = []
    for start in (0, 3, 29_999, 59_995, 13, 58_000, 0):
        found = page(path, start, 10, tmp_path, sample_by=sample_by, progress=shares.append)
        wanted = range(start, min(start + 10, len(LONG)))
        assert [(number, number_of(row)) for number, row in found] == [(n + 1, n) for n in wanted]
    assert page(path, 60_000, 10, tmp_path, sample_by=sample_by) == []
    assert shares == sorted(shares)
    if path.suffix != ".parquet":
        assert shares[-1] == 1.0 and len(list((tmp_path / "pages").iterdir())) == 1


def test_an_index_serves_only_the_file_it_was_made_of(tmp_path: Path) -> None:
    line = json.dumps({"text": "x" * 1000}) + "\n"
    path = put(tmp_path, "a.jsonl", '{"n": 1}\n' + line * 20_000 + '{"n": 2}\n')
    assert page(path, 20_001, 5, tmp_path)[0] == (20_002, {"n": 2})
    put(tmp_path, "a.jsonl", '{"n": 1}\n' + line * 20_001 + '{"n": 3}\n')
    assert page(path, 20_002, 5, tmp_path)[0] == (20_003, {"n": 3})


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", (json.dumps({"text": "x" * 1000}) + "\n") * 20_000)
    assert len(page(path, 19_999, 5, tmp_path)) == 1
    (index,) = (tmp_path / "pages").iterdir()
    index.write_text('{"marks": [[')
    assert len(page(path, 19_999, 5, tmp_path)) == 1
    assert json.loads(index.read_text())["rows"] == 20_000


def test_a_page_shows_refused_rows_in_their_place(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", '{"a": 1}\n{"a":\n{"a": 3}\n')
    first, second, third = page(path, 0, 10, tmp_path)
    assert (first, third) == ((1, {"a": 1}), (3, {"a": 3}))
    assert isinstance(second[1], RowError)


def test_a_page_before_the_break_of_an_array_is_shown(tmp_path: Path) -> None:
    path = put(tmp_path, "a.json", '[{"a": 1}, {"a": 2}, {"a" 3}]')
    assert page(path, 0, 2, tmp_path) == [(1, {"a": 1}), (2, {"a": 2})]
    with pytest.raises(DatasetError, match="line 1, column 27"):
        page(path, 0, 3, tmp_path)
