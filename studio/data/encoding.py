"""What the bytes of a data file are: text in UTF-8, or something else that is named in a sentence.

Nothing is guessed in silence: a file in another encoding is refused with what to write in its entry
and the command that converts it, because a wrong guess trains on unreadable characters.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from studio.data.textfile import TextFile
from studio.errors import DatasetError

BOM = b"\xef\xbb\xbf"
HEAD = 64 * 1024
"""Bytes that are enough to tell what a file is."""
# What writes out what a packed file holds.
_UNPACKS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2"}
_CONTINUATION = bytes(range(0x80, 0xC0))
_PIECE = 1 << 20

LFS = b"version https://git-lfs.github.com/spec/"

_ARCHIVES = {
    ".gz": (b"\x1f\x8b", "a gzip archive"),
    ".zst": (b"(\xb5/\xfd", "a zstd archive"),
    ".bz2": (b"BZh", "a bzip2 archive"),
}
_MAGIC = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the table as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", "save the table as CSV in UTF-8"),
    (b"%PDF", "a PDF", "extract its text first"),
    (b"\x89PNG", "a PNG picture", "name a file with rows"),
    (b"\xff\xd8\xff", "a JPEG picture", "name a file with rows"),
    (b"\xfd7zXZ", "an xz archive", "unpack it with unxz"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (b"ARROW1", "an Arrow file", "give it the ending .arrow"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV or JSON lines"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
    *((magic, what, f"give it the ending {ending}") for ending, (magic, what) in _ARCHIVES.items()),
)
# A registry has no entry that could say its encoding.
REGISTRY = "dataset_info.json"


def check_head(file: TextFile) -> bytes:
    """The first 64 KiB of the content of a text file, when they can be UTF-8 or what its entry says.

    Raises DatasetError for an empty file, a git-LFS pointer, another encoding that can be told at
    once, and for files that are known by their first bytes to be something else.
    """
    raw = read_head(file.path)
    if file.packed and raw:
        _check_packing(file, raw)
    if file.encoding:
        with TextFile(file.path).open() as stream:
            _check_encoding(file, stream.read(HEAD))
    with file.open() as stream:
        head: bytes = stream.read(HEAD)
    if not head.strip(b" \t\r\n" + BOM) and len(head) < HEAD:
        raise DatasetError(f"{file} is empty (0 rows); put rows in it, or name another file.")
    refuse_binary(file.path, head)
    wide = "" if file.encoding else _wide(head)
    if wide:
        raise DatasetError(f"{file} must be UTF-8, but it is {wide}. {_convert(file.path, wide)}")
    return head


def _check_packing(file: TextFile, raw: bytes) -> None:
    """Raise DatasetError when the ending says an archive and the first bytes another, or none."""
    ending = file.path.suffix.lower()
    if not raw.startswith(_ARCHIVES[ending][0]):
        raise DatasetError(
            f"{file} must start as a {ending} archive does, but it starts with {_begin(raw)}. "
            "Give it the ending of what it is, or fetch it again."
        )


def _begin(raw: bytes) -> str:
    """The first bytes as a person may know them: as text where they are, else as numbers."""
    first = raw[:12]
    return f"the text {first.decode()!r}" if first.isascii() and first.decode().isprintable() else first[:8].hex(" ")


def _check_encoding(file: TextFile, raw: bytes) -> None:
    """Raise DatasetError when the first bytes say another encoding than the entry: they would read as nonsense."""
    wide, asked = _wide(raw), file.encoding.replace("-", "")
    if raw and asked in ("utf16", "utf32") and not raw.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        found = f"; it looks like {wide}" if wide else ""
        raise DatasetError(
            f"{file} has no byte order mark, so encoding must be {file.encoding}-le or {file.encoding}-be{found}."
        )
    if wide and wide.lower().replace("-", "")[: len(asked)] != asked:
        raise DatasetError(f'{file} is {wide}, but encoding says {file.encoding}. Write "encoding": "{wide.lower()}".')
    # A few characters may fit by chance; so many never do.
    if len(re.findall(rb"[\xc2-\xf4][\x80-\xbf]+", raw)) > 8 and _is_utf8(raw):
        raise DatasetError(f"{file} is UTF-8, but encoding says {file.encoding}. Take encoding out.")


def _is_utf8(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8; the last character of them may be cut."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def read_head(path: Path) -> bytes:
    """The first 64 KiB. Raises DatasetError for a git-LFS pointer or what is no readable file."""
    if not path.is_file():
        found = "something that is no regular file lies there" if path.exists() else "nothing lies there"
        raise DatasetError(f"{path} must be a file, but {found}. Correct the path.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}. Correct the path or its rights.") from None
    if head.startswith(LFS):
        raise DatasetError(f"{path} is a git-LFS pointer, not the data itself. Run 'git lfs pull' in its repository.")
    return head


def refuse_binary(path: Path, head: bytes) -> None:
    """Raise DatasetError when the first bytes say that this is no text."""
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise DatasetError(f"{path} must be a file of rows in text, but it is {what}; {remedy}.")


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 by its mark, or by where the zero bytes of its ASCII characters stand."""
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32LE"), (b"\0\0\xfe\xff", "UTF-32BE")):
        if head.startswith(mark):
            return name
    for mark, name in ((b"\xff\xfe", "UTF-16LE"), (b"\xfe\xff", "UTF-16BE")):
        if head.startswith(mark):
            return name
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if len(head) < 16 or even + odd < len(head) // 50:
        return ""
    # UTF-16 that is UTF-8 as well is ASCII with a zero in each pair; fewer are a text with NULs in it.
    if _is_utf8(head) and max(even, odd) < 0.9 * (len(head) // 2):
        return ""
    if odd > 4 * even:
        return "UTF-16LE"
    return "UTF-16BE" if even > 4 * odd else ""


def _convert(path: Path, encoding: str) -> str:
    """What to do about a file in another encoding."""
    old, unpacks = shlex.quote(str(path)), _UNPACKS.get(path.suffix.lower())
    new = shlex.quote(str(path.with_name(f"utf8-{path.stem if unpacks else path.name}")))
    command = f"iconv -f {encoding} -t UTF-8 {old} > {new}"
    if unpacks:
        command = f"{unpacks} -dc {old} | iconv -f {encoding} -t UTF-8 > {new}"
    if path.name == REGISTRY:
        return f"Convert it: {command}"
    said = encoding.lower()
    add = f"studio data add {old} --encoding {said}"
    return f'Write "encoding": "{said}" in its entry ({add}), or convert it: {command}'


def not_utf8(file: TextFile, offset: int) -> DatasetError:
    """The complaint about a byte that is not UTF-8: its place and the encoding it looks like."""
    place = locate(file, offset)
    with file.open() as stream:
        begin = max(0, offset - 2048)
        stream.seek(begin)
        around = stream.read(4096)
        rest = around[offset - begin :][:4]
    where = f"{file}: line {place.line}, byte {place.byte}: "
    if _is_cut(rest):
        return DatasetError(
            where + "the file ends in the middle of a character, so it is cut. Fetch or write it again."
        )
    if b"\0" in around:
        return DatasetError(
            f"{where}the file must hold text, but bytes such as 0x{rest[:1].hex()} and 0x00 are those of binary data. "
            "Name a file with rows, or give it the ending of what it is."
        )
    if _is_nearly_utf8(around):
        return DatasetError(
            f"{where}the file is UTF-8 but for bytes such as 0x{rest[:1].hex()} here, which are a part of a character "
            "alone. Mend the text there, or fetch or write the file again."
        )
    guess = looks_like(around)
    alone = len(around.translate(None, bytes(range(0x80)))) == 1
    looks = f"half a character of a damaged file, or the whole is {guess}" if alone else f"it looks like {guess}"
    return DatasetError(
        f"{where}the file must be UTF-8, but byte 0x{rest[:1].hex()} is not; {looks}. " + _convert(file.path, guess)
    )


def _is_cut(rest: bytes) -> bool:
    """Whether the last bytes of a file are the first of one character in UTF-8."""
    needed = 4 if rest[0] >= 0xF0 else 3 if rest[0] >= 0xE0 else 2
    return 0xC2 <= rest[0] <= 0xF4 and len(rest) < needed and not rest[1:].strip(_CONTINUATION)


def _is_nearly_utf8(sample: bytes) -> bool:
    """Whether most of what is not ASCII are whole characters in UTF-8; other encodings fit by chance only."""
    whole = rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
    rest, count = re.subn(whole, b"", sample)
    if count >= 8:
        return 4 * len(rest.translate(None, bytes(range(0x80)))) <= count
    # A part of one character, of two bytes or more, among ASCII: letters of another encoding stand otherwise.
    high = re.findall(rb"[\x80-\xff]+", rest)
    part = rb"[\xe1-\xef][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{1,2}|[\x80-\xbf]{2,3}"
    return len(high) == 1 and re.fullmatch(part, high[0]) is not None


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


class Place(NamedTuple):
    """Where a byte stands, all from 1: its line, its column in characters and in bytes."""

    line: int
    column: int
    byte: int


def locate(file: TextFile, offset: int) -> Place:
    """The place of a byte of the content of a file. Memory stays flat."""
    line, column, begin, last = 1, 1, 0, b""
    with file.open() as stream:
        if stream.read(3) != BOM or offset < 3:
            stream.seek(0)
        while (at := stream.tell()) < offset and (piece := stream.read(min(_PIECE, offset - at))):
            split = last == b"\r" and piece[:1] == b"\n"
            breaks = piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n") - split
            line += breaks
            end = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
            fresh = breaks or split
            column = len(piece[end:].translate(None, _CONTINUATION)) + (1 if fresh else column)
            begin = at + end if fresh else begin
            last = piece[-1:]
    return Place(line, column, offset - begin + 1)


def size_words(size: int) -> str:
    """Bytes as a person says them: '812 bytes', '200 MB' (millions)."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.0f} MB"
