"""A text file as the readers see it: UTF-8, whatever it is packed in and encoded as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from studio.data.compressed import MAX_UNPACKED_ROW, PACKINGS, Forward, Unpacked
from studio.data.converted import Converted
from studio.errors import DatasetError


class Bytes(Protocol):
    """What readers need of an open file."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""

    def seek(self, offset: int, /) -> int:
        """Go to a byte."""

    def tell(self) -> int:
        """The byte that comes next."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc: Any) -> None: ...


class TextFile:
    """A file and the encoding its entry says ("" is UTF-8); places are bytes of its UTF-8 content.

    A packed or converted file can only be read forwards, so going to a far place reads up to it;
    `progress` hears the share, 0 to 1.
    """

    def __init__(self, path: Path, encoding: str = "", progress: Callable[[float], None] | None = None) -> None:
        self.path, self.encoding, self.progress = path, encoding, progress
        self.packed = path.suffix.lower() in PACKINGS
        self._open: Forward | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def ending(self) -> str:
        """The ending that says how the rows are written, such as .jsonl, also of a.jsonl.gz."""
        return (self.path.with_suffix("") if self.packed else self.path).suffix.lower()

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return self.path.stat().st_size

    def open(self) -> Bytes:
        """The content, from its start."""
        if not self.packed and not self.encoding:
            return self.path.open("rb")
        raw = Unpacked(self.path, self.progress) if self.packed else self.path.open("rb")
        if not self.encoding and isinstance(raw, Unpacked):
            self._open = raw
        else:
            self._open = Converted(self.path, raw, self.encoding, self.progress)
        return self._open

    def share(self, offset: int) -> float:
        """How much of the file has been read when a reader is at `offset`, 0 to 1."""
        return self._open.share if self._open else offset / max(1, self.size)

    def must_not_burst(self, size: int, line: int) -> None:
        """Raise DatasetError when one row of a packed file has gone beyond what a row may be."""
        if self.packed and size > MAX_UNPACKED_ROW:
            raise DatasetError(
                f"{self}: line {line}: the row that starts here unpacks to more than "
                f"{MAX_UNPACKED_ROW // 1_000_000} MB, so reading stops. Mend the file, or do without it."
            )
