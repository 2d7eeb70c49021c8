"""Lines into shards of one size, each packed with zstd, synced and listed; and all lines in a random order first."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from studio.data.shards import CHECKSUM, INDEX, KEY, SCHEMA, Shard

# Lines go to the packer in pieces of this size.
_PIECE = 1 << 18
# What is shuffled is scattered to so many files at most, each of about so many bytes; one of them is in memory.
_BUCKETS, _BUCKET_BYTES = 1024, 128 << 20


@dataclass
class ShardWriter:
    """Writes `shard-00000.jsonl.zst` and so on into a folder; `shards` are those that are done.

    A shard ends with the row that brings it to `most_bytes` before packing, or to `most_rows`.
    """

    folder: Path
    most_bytes: int
    most_rows: int | None = None
    level: int = 3
    threads: int = 0
    shards: list[Shard] = field(default_factory=list)
    _open: _Open | None = None

    def add(self, line: bytes) -> None:
        """Take one row, with its line end."""
        if self._open is None:
            name = f"shard-{len(self.shards):05}.jsonl.zst"
            self._open = _Open(self.folder / name, self.level, self.threads)
        self._open.add(line)
        if self._open.unpacked >= self.most_bytes or self._open.rows == self.most_rows:
            self.end()

    def end(self) -> None:
        """Close the shard in work, if there is one."""
        if self._open is not None:
            self.shards.append(self._open.close())
            self._open = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        elif self._open is not None:
            self._open.give_up()

    def write_index(self, facts: Mapping[str, Any]) -> None:
        """List all shards in `index.json`, with other facts; what has it is complete."""
        head = {
            KEY: SCHEMA,
            "rows": sum(shard.rows for shard in self.shards),
            "packed": sum(shard.packed for shard in self.shards),
            "unpacked": sum(shard.unpacked for shard in self.shards),
            **facts,
        }
        path = self.folder / INDEX
        with path.open("w", encoding="utf-8") as out:
            # A line for each shard: a person can look one up, and there may be very many.
            out.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "shards": [\n')
            out.write(",\n".join(json.dumps(shard) for shard in self.shards))
            out.write("\n]}\n")
            out.flush()
            os.fsync(out.fileno())


class _Open:
    """A shard in work."""

    def __init__(self, path: Path, level: int, threads: int) -> None:
        import zstandard

        self.path, self.rows, self.unpacked = path, 0, 0
        self._file = _Hashed(path.open("wb"))
        # The checksum lets every reader find damage inside.
        packer = zstandard.ZstdCompressor(level=level, threads=threads, write_checksum=True)
        self._packer: Any = packer.stream_writer(cast(BinaryIO, self._file), closefd=False)
        self._held: list[bytes] = []
        self._size = 0

    def add(self, line: bytes) -> None:
        self._held.append(line)
        self._size += len(line)
        self.rows += 1
        self.unpacked += len(line)
        if self._size >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        self._packer.write(b"".join(self._held))
        self._held.clear()
        self._size = 0

    def close(self) -> Shard:
        """The shard as the index lists it, on the disk."""
        self._flush()
        self._packer.close()
        packed, digest, ending = self._file.close()
        return Shard(self.path.name, self.rows, packed, self.unpacked, digest, ending)

    def give_up(self) -> None:
        """Close the file; what it holds is of no use."""
        self._file.inner.close()


class _Hashed:
    """A file that is hashed as it is written."""

    def __init__(self, inner: BinaryIO) -> None:
        self.inner, self._hash, self._size = inner, hashlib.sha256(), 0
        self._ending = b""

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self._size += len(data)
        self._ending = (self._ending + bytes(data[-CHECKSUM:]))[-CHECKSUM:]
        return self.inner.write(data)

    def flush(self) -> None:
        self.inner.flush()

    def close(self) -> tuple[int, str, str]:
        """Bytes, hash and the last four bytes in hex (the frame's checksum), once all is on the disk."""
        self.inner.flush()
        os.fsync(self.inner.fileno())
        self.inner.close()
        return self._size, self._hash.hexdigest(), self._ending.hex()


class Scattered:
    """Lines in a random order, each order as likely, with the memory of one part of them.

    Each line goes to a part at random, and each part is put in random order when it is given back. The parts lie
    packed in a folder; `size_bytes` is about how many bytes there will be.
    """

    def __init__(self, folder: Path, size_bytes: int, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._random = random.Random(seed)
        self.parts = min(max(-(-size_bytes // _BUCKET_BYTES), 1), _BUCKETS)
        self._held: list[list[bytes]] = [[] for _ in range(self.parts)]
        self._sizes = [0] * self.parts
        folder.mkdir()

    def add(self, line: bytes) -> None:
        """Take one line."""
        part = int(self._random.random() * self.parts)
        self._held[part].append(line)
        self._sizes[part] += len(line)
        if self._sizes[part] >= _PIECE:
            self._flush(part)

    def _flush(self, part: int) -> None:
        import zstandard

        with (self._folder / f"{part}.zst").open("ab") as out:
            out.write(zstandard.ZstdCompressor(level=1).compress(b"".join(self._held[part])))
        self._held[part].clear()
        self._sizes[part] = 0

    def lines(self) -> Iterator[bytes]:
        """All lines, each once; a part is removed when it has been given."""
        import zstandard

        for part in range(self.parts):
            path = self._folder / f"{part}.zst"
            lines = list(self._held[part])
            self._held[part].clear()
            if path.exists():
                with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(
                    file, read_across_frames=True
                ) as stream:  # fmt: skip
                    lines = [*stream.readall().splitlines(keepends=True), *lines]
                path.unlink()
            random.Random(self._seed * _BUCKETS + part).shuffle(lines)
            yield from lines
        with contextlib.suppress(OSError):
            self._folder.rmdir()
