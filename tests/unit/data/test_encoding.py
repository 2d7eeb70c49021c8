"""Where a byte stands, and which encoding bytes look like."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.data.encoding import locate, looks_like, not_utf8, size_words
from studio.data.textfile import TextFile


@given(st.text("ab字😀\r\n", max_size=40), st.data())
def test_a_byte_is_located_as_the_text_before_it_says(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "located.txt"
    path.write_bytes(text.encode())
    before = text[: data.draw(st.integers(0, len(text)))]
    offset = len(before.encode())
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    last = lines[-1]
    assert locate(TextFile(path), offset) == (len(lines), len(last) + 1, len(last.encode()) + 1)


def test_a_byte_far_in_a_large_file_is_located(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ab\r\n" * 700_000 + b"x" * 3_000_000)
    assert locate(TextFile(path), 2_800_000 + 2_500_000) == (700_001, 2_500_001, 2_500_001)


@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [
        ("最近总是头晕，应该怎么办？", "gb18030", "GB18030"),
        ('{"text": "我有高血压"}', "gbk", "GB18030"),
        ("un café très élégant à Nîmes", "latin-1", "ISO-8859-1"),
        ("a “quoted” word – and more", "cp1252", "WINDOWS-1252"),
    ],
)
def test_an_encoding_is_recognised(text: str, encoding: str, guess: str) -> None:
    assert looks_like(text.encode(encoding)) == guess


def test_sizes_are_said_in_words() -> None:
    assert [size_words(size) for size in (7, 8_000, 200_000_000)] == ["7 bytes", "8 kB", "200 MB"]


def test_half_a_character_in_the_midst_of_utf8_is_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("最近总是头晕，应该怎么办？\n".encode() + "头".encode()[:2] + "晕\n".encode())
    said = str(not_utf8(TextFile(path), path.read_bytes().index(b"\n") + 1))
    assert "line 2, byte 1: the file is UTF-8 but for bytes such as 0xe5 here" in said
    for half in ("头".encode()[:2], "头".encode()[1:], "😀".encode()[:3]):
        path.write_bytes(b'{"a": "x' + half + b'y"}\n')
        assert "the file is UTF-8 but for bytes such as" in str(not_utf8(TextFile(path), 8))
    path.write_bytes(b'{"a": "caf\xc3"}\n')
    assert "half a character of a damaged file, or the whole is ISO-8859-1." in str(not_utf8(TextFile(path), 10))
    path.write_bytes("最近总是头晕，应该怎么办？".encode("gb18030"))
    assert "it looks like GB18030" in str(not_utf8(TextFile(path), 0))
