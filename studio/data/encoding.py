"""What the bytes of a data file are: text in UTF-8, or something else that is named in a sentence.

Nothing is guessed in silence: a file in another encoding is refused with the command that
converts it, because a wrong guess trains on unreadable characters.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from studio.errors import DatasetError

BOM = b"\xef\xbb\xbf"
_HEAD = 64 * 1024
_CONTINUATION = bytes(range(0x80, 0xC0))
_PIECE = 1 << 20

LFS = b"version https://git-lfs.github.com/spec/"

_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the table as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "save the table as CSV in UTF-8"),
    (b"%PDF", "a PDF", "extract its text first"),
    (b"\x89PNG", "a PNG picture", "name a file with rows"),
    (b"\xff\xd8\xff", "a JPEG picture", "name a file with rows"),
    (b"\x1f\x8b", "a gzip archive", "unpack it with gunzip"),
    (b"(\xb5/\xfd", "a zstd archive", "unpack it with unzstd"),
    (b"BZh", "a bzip2 archive", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "an xz archive", "unpack it with unxz"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (b"ARROW1", "an Arrow file", "save it as Parquet or JSON lines"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV or JSON lines"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
)


def check_head(path: Path) -> bytes:
    """The first 64 KiB of a text file, when they can be UTF-8.

    Raises DatasetError for an empty file, a git-LFS pointer, UTF-16 or UTF-32, and for files
    that are known by their first bytes to be something else.
    """
    head = read_head(path)
    if not head.strip(b" \t\r\n" + BOM) and path.stat().st_size <= _HEAD:
        raise DatasetError(f"{path} is empty (0 rows); put rows in it, or name another file.")
    refuse_binary(path, head)
    wide = _wide(head)
    if wide:
        raise DatasetError(f"{path} must be UTF-8, but it is {wide}. {_convert(path, wide)}")
    return head


def read_head(path: Path) -> bytes:
    """The first 64 KiB. Raises DatasetError for a git-LFS pointer or what is no readable file."""
    if not path.is_file():
        found = "something that is no regular file lies there" if path.exists() else "nothing lies there"
        raise DatasetError(f"{path} must be a file, but {found}. Correct the path.")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}. Correct the path or its rights.") from None
    if head.startswith(LFS):
        raise DatasetError(f"{path} is a git-LFS pointer, not the data itself. Run 'git lfs pull' in its repository.")
    return head


def refuse_binary(path: Path, head: bytes) -> None:
    """Raise DatasetError when the first bytes say that this is no text."""
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise DatasetError(
                f"{path} must hold text rows for its ending {path.suffix!r}, but it is {what}; {remedy}."
            )


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 by its mark, or by where the zero bytes of its ASCII characters stand."""
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32LE"), (b"\0\0\xfe\xff", "UTF-32BE")):
        if head.startswith(mark):
            return name
    for mark, name in ((b"\xff\xfe", "UTF-16LE"), (b"\xfe\xff", "UTF-16BE")):
        if head.startswith(mark):
            return name
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if even + odd < max(1, len(head) // 50):
        return ""
    if odd > 10 * even:
        return "UTF-16LE"
    return "UTF-16BE" if even > 10 * odd else ""


def _convert(path: Path, encoding: str) -> str:
    old, new = shlex.quote(str(path)), shlex.quote(str(path.with_name(f"utf8-{path.name}")))
    return f"Convert it: iconv -f {encoding} -t UTF-8 {old} > {new}"


def not_utf8(path: Path, offset: int) -> DatasetError:
    """The complaint about a byte that is not UTF-8: its place and the encoding it looks like."""
    line, _ = locate(path, offset)
    with path.open("rb") as file:
        file.seek(max(0, offset - 2048))
        around = file.read(4096)
        file.seek(offset)
        rest = file.read(4)
    where = f"{path}: line {line}, byte {offset - line_start(path, offset) + 1}: "
    if _is_cut(rest):
        return DatasetError(
            where + "the file ends in the middle of a character, so it is cut. Fetch or write it again."
        )
    guess = looks_like(around)
    return DatasetError(
        f"{where}the file must be UTF-8, but byte 0x{rest[:1].hex()} is not; it looks like {guess}. "
        + _convert(path, guess)
    )


def _is_cut(rest: bytes) -> bool:
    """Whether the last bytes of a file are the first of one character in UTF-8."""
    needed = 4 if rest[0] >= 0xF0 else 3 if rest[0] >= 0xE0 else 2
    return 0xC2 <= rest[0] <= 0xF4 and len(rest) < needed and not rest[1:].strip(_CONTINUATION)


def looks_like(sample: bytes) -> str:
    """The encoding bytes that are not UTF-8 most likely have, as iconv names it.

    Chinese comes in pairs whose first byte is mostly that of a common character (GB 2312 level 1
    or its punctuation); Western letters stand alone among ASCII.
    """
    pairs = re.findall(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]", sample)
    high = len(sample.translate(None, bytes(range(0x80))))
    runs = sum(len(run) for run in re.findall(rb"[\x80-\xff]{2,}", sample))
    common = sum(0xB0 <= pair[0] <= 0xD7 or 0xA1 <= pair[0] <= 0xA3 for pair in pairs)
    if pairs and runs > 0.7 * high and common > 0.5 * len(pairs):
        return "GB18030"
    return "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", sample) else "ISO-8859-1"


def locate(path: Path, offset: int) -> tuple[int, int]:
    """Line and column (characters), both from 1, of a byte of a file. Memory stays flat."""
    line, column, last = 1, 1, b""
    with path.open("rb") as file:
        if file.read(3) != BOM or offset < 3:
            file.seek(0)
        while file.tell() < offset and (piece := file.read(min(_PIECE, offset - file.tell()))):
            split = last == b"\r" and piece[:1] == b"\n"
            breaks = piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n") - split
            line += breaks
            tail = piece[max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1 :]
            fresh = breaks or split
            column = len(tail.translate(None, _CONTINUATION)) + (1 if fresh else column)
            last = piece[-1:]
    return line, column


def line_start(path: Path, offset: int) -> int:
    """The byte offset at which the line holding `offset` starts."""
    with path.open("rb") as file:
        end = offset
        while end > 0:
            begin = max(0, end - _PIECE)
            file.seek(begin)
            piece = file.read(end - begin)
            found = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def size_words(size: int) -> str:
    """Bytes as a person says them: '812 bytes', '200 MB' (millions)."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.0f} MB"
