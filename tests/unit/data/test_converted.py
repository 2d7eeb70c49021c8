"""Other encodings: converted when the entry says which, refused with the place when it is another."""

import codecs
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.converted import codec_of
from studio.data.source import page, rows
from studio.errors import DatasetError, RowError

CHINESE = [
    {"ask": f"第 {number} 个问题，最近总是头晕怎么办？", "answer": "您好，建议您去医院检查。"} for number in range(40)
]
WESTERN = [{"ask": f"Où est le café n° {number} ?", "answer": "“Là-bas” – à côté"} for number in range(40)]


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def lines(listed: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in listed)


def table(listed: list[dict[str, str]]) -> str:
    return "ask,answer\r\n" + "".join(f'"{row["ask"]}",{row["answer"]}\r\n' for row in listed)


def refused(path: Path, encoding: str) -> str:
    with pytest.raises(DatasetError) as caught:
        list(rows(path, encoding=codec_of(encoding)))
    assert str(path) in str(caught.value)
    return str(caught.value)


CASES = [
    ("gb18030", CHINESE),
    ("GBK", CHINESE),
    ("utf-16", CHINESE),
    ("utf-16-le", CHINESE),
    ("UTF-16BE", CHINESE),
    ("utf-32", CHINESE),
    ("windows-1252", WESTERN),
    ("cp1252", WESTERN),
    ("utf-8", WESTERN),
    ("utf-8-sig", WESTERN),
]


@pytest.mark.parametrize(("encoding", "listed"), CASES)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "txt"])
def test_a_file_is_read_in_the_encoding_that_is_named(
    tmp_path: Path, encoding: str, listed: list[dict[str, str]], kind: str
) -> None:
    texts = {"jsonl": lines(listed), "json": json.dumps(listed, ensure_ascii=False), "csv": table(listed)}
    path = put(tmp_path, f"a.{kind}", texts.get(kind, lines(listed)).encode(encoding))
    found = [row for _, row in rows(path, encoding=codec_of(encoding))]
    expected = listed if kind != "txt" else [{"text": line} for line in lines(listed).splitlines()]
    assert found == expected


def test_big5_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "請問頭暈怎麼辦\n".encode("big5"))
    assert [row for _, row in rows(path, encoding="big5")] == [{"text": "請問頭暈怎麼辦"}]


@pytest.mark.parametrize(("encoding", "mark"), [("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, encoding: str, mark: bytes) -> None:
    path = put(tmp_path, "a.csv", mark + table(CHINESE).encode(encoding))
    assert [row for _, row in rows(path, encoding=encoding)] == CHINESE
    assert [row for _, row in rows(path, encoding="utf-16")] == CHINESE


@given(text=st.text("ab字😀é \n", min_size=1, max_size=60), encoding=st.sampled_from(["gb18030", "utf-16-le", "utf-8"]))
def test_any_text_comes_out_as_it_went_in(tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str) -> None:
    path = tmp_path_factory.getbasetemp() / "converted.jsonl"
    path.write_bytes((json.dumps({"t": text}, ensure_ascii=False) + "\n").encode(encoding))
    assert [row for _, row in rows(path, encoding=codec_of(encoding))] == [{"t": text}]


@pytest.mark.parametrize("name", ["gb2313", "x", "", "idna", "hex", "unicode_escape", "utf 8\0"])
def test_an_encoding_nobody_knows_is_refused_with_names(name: str) -> None:
    with pytest.raises(DatasetError, match=r"no text encoding is named .*usual ones are utf-8, utf-16"):
        codec_of(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(DatasetError, match=r"Did you mean gb18030\?"):
        codec_of("GB18031")


def test_bytes_that_are_no_character_are_named_by_line_and_byte(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "第一行\n第二".encode("gbk") + b"\xff\n")
    said = refused(path, "gbk")
    assert "line 2, byte 12 of the text: 0xff is no character of gbk" in said and "gb18030 knows more" in said


def test_the_rows_before_such_a_place_come_first(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "第一行\n第二行\n".encode("gbk") + b"\xff\n")
    read = []
    with pytest.raises(DatasetError, match="line 3"):
        for _, row in rows(path, encoding="gbk"):
            read.append(row)
    assert read == [{"text": "第一行"}, {"text": "第二行"}]


def test_a_file_that_ends_within_a_character_is_cut(tmp_path: Path) -> None:
    assert "so it is cut" in refused(put(tmp_path, "a.txt", "第一行".encode("gbk")[:-1]), "gbk")
    assert "so it is cut" in refused(put(tmp_path, "b.txt", "第一行字".encode("utf-16-le")[:-1]), "utf-16-le")


def test_a_wrong_place_far_in_the_file_is_counted_right(tmp_path: Path) -> None:
    good = "普通的一行字\n".encode("gbk")
    path = put(tmp_path, "a.txt", good * 60_000 + b"abc\xff")
    assert f"line 60001, byte {len(good) * 60_000 + 4:,} of the text" in refused(path, "gbk")


@pytest.mark.parametrize(
    ("written", "said", "answer"),
    [
        ("utf-16", "gb18030", 'is UTF-16LE, but encoding says gb18030. Write "encoding": "utf-16le"'),
        ("utf-16-be", "utf-16-le", 'Write "encoding": "utf-16be"'),
        (
            "utf-16-be",
            "utf-16",
            "has no byte order mark, so encoding must be utf-16-le or utf-16-be; it looks like UTF-16BE",
        ),
        ("utf-8", "gb18030", "is UTF-8, but encoding says gb18030. Take encoding out"),
        ("utf-8-sig", "big5", "is UTF-8, but encoding says big5"),
        ("utf-8", "windows-1252", "is UTF-8, but encoding says cp1252"),
    ],
)
def test_an_encoding_that_would_read_nonsense_is_refused(tmp_path: Path, written: str, said: str, answer: str) -> None:
    assert answer in refused(put(tmp_path, "a.csv", table(CHINESE).encode(written)), said)


def test_plain_ascii_may_be_called_anything(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", b'{"a": "plain"}\n')
    assert [row for _, row in rows(path, encoding="gb18030")] == [{"a": "plain"}]


def test_a_far_page_is_that_slice_of_the_rows(tmp_path: Path) -> None:
    path = put(
        tmp_path, "a.jsonl", "".join(f'{{"n": {n}, "t": "{"字" * 200}"}}\n' for n in range(50_000)).encode("gbk")
    )
    for start in (0, 49_995, 13, 30_000):
        found = page(path, start, 10, tmp_path / "cache", encoding="gbk")
        read = [(number, row["n"]) for number, row in found if not isinstance(row, RowError)]
        assert read == [(number + 1, number) for number in range(start, min(start + 10, 50_000))]


@pytest.mark.parametrize("content", [b"ab\0cd\n", b"a\0", b"\0", b"one\ntwo \0 three\n"])
def test_a_text_with_nul_bytes_is_told_as_that(tmp_path: Path, content: bytes) -> None:
    (found,) = [row for _, row in rows(put(tmp_path, "a.txt", content)) if isinstance(row, RowError)]
    assert "it holds a NUL character; take it away" in str(found)


def test_binary_data_is_told_as_that(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", bytes(range(256)) * 20)
    assert "must hold text, but bytes such as 0x80 and 0x00 are those of binary data" in refused(path, "utf-8")
