"""The content of a compressed file as a stream that is read forwards: gzip, zstd and bzip2.

Nothing is unpacked to the disk and memory holds about one piece. A file of several archives in a row
is read through; checksums are compared; a file that is cut or damaged gives what stands before the
place first, and then a sentence with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from studio.errors import DatasetError

PACKINGS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""Endings of compressed files, each with the codec as Arrow names it."""

MAX_UNPACKED_ROW = 64_000_000
"""Bytes after which a row of a compressed file is no row any more: few bytes can unpack to any number."""

# What readers ask for at a time, so that a piece is passed on as it is; and the step towards a damaged place.
_PIECE, _STEP = 1 << 20, 1 << 16


class Forward(ABC):
    """Bytes that come piece by piece; going back starts anew. `progress` hears the share read, 0 to 1.

    An error after some bytes of a reading is kept for the next one, so that no byte before it is lost.
    """

    def __init__(self, progress: Callable[[float], None] | None = None) -> None:
        self._progress = progress
        self._held, self._at = b"", 0
        self._error: DatasetError | None = None

    @abstractmethod
    def begin(self) -> None:
        """Go to the start."""

    @abstractmethod
    def piece(self) -> bytes:
        """The next bytes, none at the end. Raises DatasetError."""

    @property
    @abstractmethod
    def share(self) -> float:
        """How much of the file on the disk has been read, 0 to 1."""

    @abstractmethod
    def close(self) -> None:
        """Close what was opened."""

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the end, or before a place that cannot be read."""
        if self._error:
            raise self._error
        parts, have = [self._held] if self._held else [], len(self._held)
        while have < size:
            try:
                part = self.piece()
            except DatasetError as error:
                self._error = error
                break
            if not part:
                break
            parts.append(part)
            have += len(part)
        data = b"".join(parts)
        data, self._held = data[:size], data[size:]
        if self._error and not data:
            raise self._error
        self._at += len(data)
        return data

    def seek(self, offset: int, /) -> int:
        """Go to a byte of the content by reading up to it."""
        if offset < self._at:
            self.begin()
            self._held, self._at, self._error = b"", 0, None
        while self._at < offset and self.read(min(_PIECE, offset - self._at)):
            if self._progress:
                self._progress(self.share)
        return self._at

    def tell(self) -> int:
        """The byte of the content that comes next."""
        return self._at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Unpacked(Forward):
    """What a compressed file holds. Raises DatasetError where it is cut or damaged."""

    def __init__(self, path: Path, progress: Callable[[float], None] | None = None) -> None:
        super().__init__(progress)
        self.path = path
        self._size = path.stat().st_size
        self._stream: Any = None
        self._size_of_piece = _PIECE
        self.begin()

    def begin(self) -> None:
        """Go to the start."""
        import pyarrow as pa

        # Arrow closes the file it was given when it lets go of it, so each start has one of its own.
        if self._stream is not None:
            self.close()
        # Its own file, not Python's: 2.4 GB/s instead of 1.7 of a zstd file.
        self._file = pa.OSFile(str(self.path))
        self._stream = pa.CompressedInputStream(self._file, PACKINGS[self.path.suffix.lower()])
        self._done = 0

    def piece(self) -> bytes:
        """The next bytes of the content."""
        import pyarrow as pa

        try:
            data: bytes = self._stream.read(self._size_of_piece)
        except (pa.ArrowException, OSError) as error:
            if self._size_of_piece == _STEP:
                raise self._complaint(str(error)) from None
            # What stands before the damage in this piece is read in smaller steps.
            self._size_of_piece = _STEP
            self._again_to(self._done)
            return self.piece()
        self._done += len(data)
        return data

    def _again_to(self, offset: int) -> int:
        """Begin anew and read up to a byte; the lines up to there."""
        self.begin()
        lines = 0
        while self._done < offset:
            data = self._stream.read(min(_STEP, offset - self._done))
            self._done += len(data)
            lines += data.count(b"\n")
        return lines

    def _complaint(self, found: str) -> DatasetError:
        # Counting lines all the time would cost a sixth of the speed.
        done, lines = self._done, self._again_to(self._done)
        where = f"{self.path}: after line {lines:,} ({done:,} bytes of its content)"
        if "Truncated" in found:
            return DatasetError(
                f"{where} the compressed file is cut ({self._size:,} bytes). Fetch it again, or pack it anew."
            )
        if "too much memory" in found:
            return DatasetError(
                f"{self.path}: unpacking needs a window of more than 128 MB (it was packed with --long). "
                "Unpack it, or pack it anew without --long."
            )
        return DatasetError(f"{where} the compressed file is damaged: {found[:120]}. Fetch it again, or pack it anew.")

    @property
    def share(self) -> float:
        """How much of the file on the disk has been read, 0 to 1."""
        return float(self._file.tell()) / max(1, self._size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._file.close()
