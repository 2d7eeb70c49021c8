"""A JSON array read in pieces gives the same rows as reading it at once, and says where it breaks."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.data.arrays import json_array
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError


def read(path: Path, content: str | bytes) -> list[Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row for block in json_array(TextFile(path)) for _, row in block.rows]


def broken(path: Path, content: str) -> tuple[list[Any], str]:
    """The rows that come before the complaint, and the complaint."""
    path.write_text(content, encoding="utf-8")
    found: list[Any] = []
    with pytest.raises(DatasetError) as caught:
        for block in json_array(TextFile(path)):
            found += [row for _, row in block.rows]
    return found, str(caught.value)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
cells = st.recursive(texts | st.integers() | st.booleans() | st.none(), lambda cell: st.lists(cell, max_size=3))
objects = st.lists(st.dictionaries(texts, cells, max_size=4), max_size=8)


@settings(max_examples=150)
@given(objects, st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_any_layout_gives_the_rows_json_gives(
    tmp_path_factory: pytest.TempPathFactory, listed: list[Any], indent: Any, ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "layout.json"
    assert read(path, json.dumps(listed, indent=indent, ensure_ascii=ascii_only) + "\n ") == listed


def test_rows_across_the_edges_of_many_pieces_are_whole(tmp_path: Path) -> None:
    listed = [{"n": number, "text": '字"\\\n😀é' * (number % 90)} for number in range(30_000)]
    for text in (json.dumps(listed), json.dumps(listed, ensure_ascii=False, indent=3)):
        assert read(tmp_path / "a.json", text) == listed


def test_numbers_and_literals_across_an_edge_are_whole(tmp_path: Path) -> None:
    for shift in range(12):
        text = '[{"pad": "' + "x" * ((1 << 20) - 40 + shift) + '", "n": 1234567, "t": true}, {"u": "\\u00e9"}]'
        assert read(tmp_path / "a.json", text)[0]["n"] == 1234567


@pytest.mark.parametrize(
    ("text", "place", "cause", "before"),
    [
        ('[\n{"a": 1},\n{"a": 2},\n]', "line 3, column 9", "a comma stands before the closing ']'", 2),
        ('[\n{"a": 1}\n{"a": 2}\n]', "line 3, column 1", "a comma is missing before", 0),
        ('[\n{"a": 1},\n{"a": tru},\n{"a": 3}]', "line 3, column 7", "a value must stand here", 1),
        ('[{"a": 1},\n{"a": 2', "line 2, column 8", "it ends too early", 1),
        ('[{"a": 1},\n{"a": "2', "line 2, column 7", "a text opened here with a quotation mark is never", 1),
        ('[{"a": 1},\n', "line 2, column 1", "it ends too early", 1),
        ('[{"a": 1}', "line 1, column 10", "it ends too early", 0),
        ('[{"a": "学"}, {"a": "b" "c"}]', "line 1, column 24", "a comma is missing before", 1),
        ('[{"a": 1}] {"b"', "line 1, column 12", "more text follows", 1),
        ("[{'a': 1}]", "line 1, column 3", "a quotation mark ' stands here", 0),
        ('[{"a": "line\nbreak"}]', "line 1, column 13", "a line break or control character", 0),
    ],
)
def test_a_broken_array_says_the_line_after_the_rows_before(
    tmp_path: Path, text: str, place: str, cause: str, before: int
) -> None:
    found, said = broken(tmp_path / "a.json", text)
    assert place in said and cause in said and str(tmp_path / "a.json") in said
    assert len(found) == before


def test_a_break_far_in_a_large_file_is_placed_exactly(tmp_path: Path) -> None:
    lines = ['{"text": "学习一个"},'] * 100_000
    found, said = broken(tmp_path / "a.json", "[\n" + "\n".join(lines) + '\n  {"text" "x"}\n]')
    assert "line 100002, column 11 (row 100001)" in said
    assert len(found) == 100_000


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("NaN", "it holds NaN"),
        ("-Infinity", "it holds -Infinity"),
        ("1e400", "the number 1e400 is too large"),
        ("9" * 5000, "more than 4,300 digits"),
        ('{"x": 1, "x": 2}', "the key 'x' stands twice"),
        ('"\\ud800"', "half a character (\\ud800"),
        ('"a\\u0000b"', "a NUL character"),
        ("[" * 120 + "]" * 120, "nested deeper than 100"),
        ("[" * 50_000 + "]" * 50_000, "nested deeper than 100"),
    ],
)
def test_a_refused_value_costs_its_row_only(tmp_path: Path, row: str, said: str) -> None:
    first, second, third = read(tmp_path / "a.json", f'[{{"a": 1}},\n{{"a": {row}}},\n{{"a": 3}}]')
    assert (first, third) == ({"a": 1}, {"a": 3})
    assert isinstance(second, RowError)
    assert said in second.why and second.why.startswith("line 2: ")
    assert (second.row, second.file) == (2, str(tmp_path / "a.json"))


@pytest.mark.parametrize("item", ["3", '"x"', "[1]", "null", "true"])
def test_what_is_no_object_is_no_row(tmp_path: Path, item: str) -> None:
    (row,) = read(tmp_path / "a.json", f"[{item}]")
    assert isinstance(row, RowError) and "a row must be an object such as" in row.why


def test_a_pair_of_surrogates_is_one_character(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", '[{"a": "\\ud83d\\ude00"}]') == [{"a": "😀"}]


def test_a_huge_row_is_told_by_size_and_the_next_is_read(tmp_path: Path) -> None:
    huge = '{"a": "' + 'x\\"]}\\\\' * 1_500_000 + '"}'
    first, second, third = read(tmp_path / "a.json", f'[{{"a": 1}},\n{huge}\n,{{"a": 3}}]')
    assert (first, third) == ({"a": 1}, {"a": 3})
    assert isinstance(second, RowError)
    assert "line 2: row 2 is 11 MB; at most 8 MB are read" in second.why


def test_a_row_just_below_the_limit_is_read(tmp_path: Path) -> None:
    wide = {"a": "学" * 2_600_000}
    assert read(tmp_path / "a.json", json.dumps([wide, {"b": 1}], ensure_ascii=False)) == [wide, {"b": 1}]


def test_a_huge_row_that_never_ends_is_placed(tmp_path: Path) -> None:
    _, said = broken(tmp_path / "a.json", '[{"a": 1},\n{"a": "' + "x" * 9_000_000)
    assert "line 2: row 2 starts here and never ends" in said


def test_a_row_with_too_many_columns_is_refused(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.json", json.dumps([{f"c{number}": 1 for number in range(1001)}]))
    assert isinstance(row, RowError) and "1,001 columns (c0, c1, c2, c3, c4, …)" in row.why
