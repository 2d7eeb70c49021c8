"""Text in another encoding, converted to UTF-8 while it is read, because the entry says which it is."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.data.compressed import Forward
from studio.errors import DatasetError
from studio.registry import did_you_mean

USUAL = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk", "big5", "windows-1252")
# Python has codecs of this kind that are no encoding of a text file: escapes and names of computers.
_NO_FILE = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"}
_PIECE = 1 << 18


def codec_of(name: str) -> str:
    """Python's name for an encoding, "" for UTF-8. Raises DatasetError with names to choose from."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    if found is None or found.name in _NO_FILE or found.name.startswith("mbcs") or not found._is_text_encoding:
        near = did_you_mean(name.lower(), USUAL)
        raise DatasetError(f"no text encoding is named {name[:40]!r}; usual ones are {', '.join(USUAL)}.{near}")
    return "" if found.name in ("utf-8", "utf-8-sig") else found.name


class Converted(Forward):
    """The UTF-8 of a stream in another encoding. Raises DatasetError at bytes that are not in it."""

    def __init__(self, path: Path, raw: Any, encoding: str, progress: Callable[[float], None] | None = None) -> None:
        super().__init__(progress)
        self.path, self.encoding = path, encoding
        self._raw, self._size = raw, path.stat().st_size
        self.begin()

    def begin(self) -> None:
        """Go to the start."""
        self._raw.seek(0)
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._lines, self._ended = 0, False
        self._wrong: DatasetError | None = None

    def piece(self) -> bytes:
        """The next characters as UTF-8."""
        if self._ended:
            if self._wrong:
                raise self._wrong
            return b""
        text = ""
        # Fewer bytes than a character has give no text yet, and that is not the end.
        while not text and not self._ended:
            raw = self._raw.read(_PIECE)
            self._ended = not raw
            try:
                text = self._decoder.decode(raw, not raw)
            except UnicodeDecodeError as error:
                text, self._wrong, self._ended = *self._broken(error), True
                if not text:
                    raise self._wrong from None
        self._lines += text.count("\n")
        return text.encode()

    def _broken(self, error: UnicodeDecodeError) -> tuple[str, DatasetError]:
        """The text before the bytes that cannot be read, and the complaint about them."""
        data, start = bytes(error.object), error.start
        text = data[:start].decode(self.encoding, "ignore")
        byte = self._raw.tell() - len(data) + start + 1
        where = f"{self.path}: line {self._lines + text.count(chr(10)) + 1}, byte {byte:,} of the text: "
        if error.reason.startswith(("incomplete", "truncated", "unexpected end")):
            return text, DatasetError(
                f"{where}the file ends in the middle of a character of {self.encoding}, so it is cut. "
                "Fetch or write it again, or correct encoding."
            )
        found = " ".join(f"0x{each:02x}" for each in data[start : max(error.end, start + 1)][:4])
        more = " (gb18030 knows more characters)" if self.encoding in ("gbk", "gb2312") else ""
        return text, DatasetError(
            f"{where}{found} is no character of {self.encoding}, which is what encoding says. "
            f"Write the encoding the file really has{more}, or mend the place."
        )

    @property
    def share(self) -> float:
        """How much of the file on the disk has been read, 0 to 1."""
        if isinstance(self._raw, Forward):
            return self._raw.share
        return float(self._raw.tell()) / max(1, self._size)

    def close(self) -> None:
        """Close the stream below."""
        self._raw.close()
