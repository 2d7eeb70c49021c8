"""Files whose rows are lines: each bad line is told in its place, and the others are read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.lines import json_lines, text_rows
from studio.data.textfile import TextFile
from studio.errors import RowError


def read(path: Path, content: str | bytes) -> list[Any]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row for block in json_lines(TextFile(path)) for _, row in block.rows]


def read_text(path: Path, content: str, sample_by: str = "line") -> list[Any]:
    path.write_bytes(content.encode())
    return [row for block in text_rows(TextFile(path), sample_by=sample_by) for _, row in block.rows]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.dictionaries(texts, texts, max_size=4), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_line_end_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, listed: list[dict[str, str]], end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "ends.jsonl"
    assert read(path, end.join(json.dumps(row, ensure_ascii=False) for row in listed)) == listed


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_across_the_edges_of_many_pieces_are_whole(tmp_path: Path, end: str) -> None:
    listed = [{"n": number, "text": '字"\\😀é' * (number % 90)} for number in range(30_000)]
    text = end.join(json.dumps(row, ensure_ascii=False) for row in listed)
    assert read(tmp_path / "a.jsonl", text) == listed


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path: Path) -> None:
    first, second = read(tmp_path / "a.jsonl", '\n{"a": 1}\n  \n\n[]\n')
    assert first == {"a": 1}
    assert isinstance(second, RowError) and second.why.startswith("line 5: a row must be an object")
    assert second.row == 2


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", '{"a": "x\u2028y\u2029z\x85"}') == [{"a": "x\u2028y\u2029z\x85"}]


def test_white_space_around_an_object_is_fine(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", ' {"a": 1} \t\n\t{"a": 2}') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a":', "line 2, column 6: it ends too early"),
        ('{"a": 1,}', "line 2, column 8: a comma stands before the closing '}'"),
        ('{"a": 1}{"a": 2}', "line 2, column 9: more text follows where the value is complete"),
        ('{"a": 1},', "line 2, column 9: a comma follows the closing bracket; take it away"),
        ("{'a': 1}", "line 2, column 2: a quotation mark ' stands here"),
        ('{"a": "C:\\dir"}', "line 2, column 10: a single \\ stands inside a text"),
        ('{"a": NaN}', "line 2: it holds NaN, which is no JSON number"),
        ('{"a": Infinity}', "line 2: it holds Infinity"),
        ('{"a": 1e999}', "line 2: the number 1e999 is too large"),
        ('{"a": ' + "7" * 5000 + "}", "line 2: it holds a whole number of more than 4,300 digits"),
        ('{"a": 1, "a": 2}', "line 2: the key 'a' stands twice"),
        ('{"a": "\\ud800"}', "line 2: it holds half a character (\\ud800"),
        ('{"a": "\\uDC00"}', "line 2: it holds half a character (\\udc00"),
        ('{"a": {"b": ["\\u0000"]}}', "line 2: it holds a NUL character"),
        ('{"a": "\0"}', "line 2, column 8: a zero byte (NUL) stands here"),
        ('{"a": ' + "[" * 120 + "]" * 120 + "}", "line 2: it is nested deeper than 100 brackets"),
        ("[" * 100_000, "line 2: it is nested deeper than 100 brackets"),
        ("3", "line 2: a row must be an object"),
        ("null", "line 2: a row must be an object"),
    ],
)
def test_a_bad_line_costs_its_row_only(tmp_path: Path, line: str, said: str) -> None:
    first, second, third = read(tmp_path / "a.jsonl", f'{{"a": 1}}\n{line}\n{{"a": 3}}\n')
    assert (first, third) == ({"a": 1}, {"a": 3})
    assert isinstance(second, RowError) and said in second.why
    assert (second.row, second.file) == (2, str(tmp_path / "a.jsonl"))


def test_a_cut_last_line_says_that_the_file_may_be_incomplete(tmp_path: Path) -> None:
    _, last = read(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "so far')
    assert "line 2, column 7: the last line is cut, the file may be incomplete (22 bytes)" in last.why


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_huge_line_is_told_by_size_and_the_next_is_read(tmp_path: Path, end: str) -> None:
    huge = '{"a": "' + "x" * 11_000_000 + '"}'
    first, second, third = read(tmp_path / "a.jsonl", end.join(['{"a": 1}', huge, '{"a": 3}', ""]))
    assert (first, third) == ({"a": 1}, {"a": 3})
    assert "line 2: row 2 is 11 MB; at most 8 MB are read" in second.why


def test_a_huge_last_line_is_told_too(tmp_path: Path) -> None:
    _, last = read(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 8_000_001)
    assert "row 2 is 8 MB" in last.why


def test_lines_of_text_are_rows(tmp_path: Path) -> None:
    found = read_text(tmp_path / "a.txt", "one\r\n\r\n two \n三")
    assert found == [{"text": "one"}, {"text": " two "}, {"text": "三"}]


def test_paragraphs_end_at_blank_lines(tmp_path: Path) -> None:
    found = read_text(tmp_path / "a.txt", "\n\na\r\nb\r\n \r\n\r\nc\n\n\n", "paragraph")
    assert found == [{"text": "a\nb"}, {"text": "c"}]


def test_a_document_is_one_row(tmp_path: Path) -> None:
    assert read_text(tmp_path / "a.txt", "\na\n\nb\n\n", "document") == [{"text": "a\n\nb"}]


@pytest.mark.parametrize("sample_by", ["line", "paragraph", "document"])
def test_text_above_the_limit_is_told_by_size(tmp_path: Path, sample_by: str) -> None:
    (only,) = read_text(tmp_path / "a.txt", "word " * 2_000_000, sample_by)
    assert isinstance(only, RowError) and "line 1: row 1 is 10 MB" in only.why


def test_a_document_of_many_lines_above_the_limit_is_told_by_size(tmp_path: Path) -> None:
    (only,) = read_text(tmp_path / "a.txt", "a word\n" * 1_300_000, "document")
    assert isinstance(only, RowError) and "row 1 is 9 MB" in only.why


def test_a_nul_in_a_text_is_told(tmp_path: Path) -> None:
    first, second = read_text(tmp_path / "a.txt", "fine\nb\0d")
    assert first == {"text": "fine"}
    assert "line 2, column 2: it holds a NUL character" in second.why
