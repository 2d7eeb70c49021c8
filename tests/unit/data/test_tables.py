"""CSV: the delimiter is found, the header is needed, ragged rows are told by line."""

from pathlib import Path
from typing import Any

import pytest

from studio.data.tables import csv_rows, find_delimiter
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError


def read(path: Path, content: str) -> list[Any]:
    path.write_bytes(content.encode())
    return [row for block in csv_rows(TextFile(path)) for _, row in block.rows]


def refused(path: Path, content: str) -> str:
    with pytest.raises(DatasetError) as caught:
        read(path, content)
    return str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    lines = ["question|answer", 'a, b; c|"d, | ""e"""', "1, 2, 3|x; y"]
    text = "\n".join(lines).replace("question|", f"question{delimiter}")
    text = text.replace("a, b; c|", f'"a, b; c"{delimiter}').replace("1, 2, 3|", f'"1, 2, 3"{delimiter}"')
    path = tmp_path / "a.csv"
    rows = read(path, text + '"\n')
    assert find_delimiter(TextFile(path)) == delimiter
    assert rows == [{"question": "a, b; c", "answer": 'd, | "e"'}, {"question": "1, 2, 3", "answer": "x; y"}]


def test_a_single_column_needs_no_delimiter(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "text\nhello\nworld\n") == [{"text": "hello"}, {"text": "world"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_inside_quotes_belong_to_the_field(tmp_path: Path, end: str) -> None:
    rows = read(tmp_path / "a.csv", f'q,a{end}"one{end}two",x{end}{end}y,z')
    assert rows == [{"q": f"one{end}two", "a": "x"}, {"q": "y", "a": "z"}]


def test_cells_stay_the_text_they_are(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.csv", "a,b,c,d\n=cmd|' /C calc'!A0,007,,NaN\n")
    assert row == {"a": "=cmd|' /C calc'!A0", "b": "007", "c": "", "d": "NaN"}


def test_a_ragged_row_names_its_line(tmp_path: Path) -> None:
    first, second, third, last = read(tmp_path / "a.csv", 'q,a\n"1\n1",2\n3\n4,5,6\n7,8\n')
    assert (first, last) == ({"q": "1\n1", "a": "2"}, {"q": "7", "a": "8"})
    assert "line 4: the row has 1 field where the header names 2 (q, a)" in second.why
    assert "line 5: the row has 3 fields" in third.why and third.row == 3


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("q,,a", "one of its fields is empty"),
        ("q,a,q", "'q' stands twice"),
        ("1,2.5", "'1' is no name of a column"),
        ("x" * 201 + ",b", "is no name of a column"),
    ],
)
def test_a_header_is_needed(tmp_path: Path, header: str, said: str) -> None:
    found = refused(tmp_path / "a.csv", header + "\n1,2,3\n")
    assert "line 1 must be a header that names each column once" in found and said in found


def test_a_quotation_mark_that_is_never_closed_is_told(tmp_path: Path) -> None:
    assert "line 3: a quotation mark opened in this row is not closed" in refused(
        tmp_path / "a.csv", 'q,a\n1,2\n3,"4\n' + "5,6\n" * 10
    )


def test_a_stray_quotation_mark_costs_its_row_only(tmp_path: Path) -> None:
    first, second, third = read(tmp_path / "a.csv", 'q,a\n1,2\n"b"ad,3\n4,5\n')
    assert (first, third) == ({"q": "1", "a": "2"}, {"q": "4", "a": "5"})
    assert isinstance(second, RowError) and second.why.startswith("line 3: ")


def test_a_long_field_is_read(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert read(tmp_path / "a.csv", f"q,a\n{long},b\n") == [{"q": long, "a": "b"}]


def test_fields_above_the_limit_are_told(tmp_path: Path) -> None:
    half = "x" * 4_100_000
    first, second = read(tmp_path / "a.csv", f'q,a\n"{half}\n","{half}"\n1,2\n')
    assert "line 2: row 1 is 8 MB; at most 8 MB are read" in first.why
    assert second == {"q": "1", "a": "2"}
    assert "line 2 is 9 MB long" in refused(tmp_path / "a.csv", "q,a\n" + "x" * 9_000_000 + ",b\n")


def test_a_nul_is_told(tmp_path: Path) -> None:
    first, second = read(tmp_path / "a.csv", "q,a\nx\0,y\n1,2\n")
    assert "line 2: it holds a NUL character" in first.why
    assert second == {"q": "1", "a": "2"}
