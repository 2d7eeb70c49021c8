"""Reading and writing safetensors one tensor at a time, so that a model is never held whole.

Files are read and written plainly, not mapped into memory: a mapping keeps every page it has
touched in the memory of the process.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from studio.errors import ModelError
from studio.model.weights import INDEX, ITEM_BYTES, SINGLE, Tensor, tensors_in
from studio.workspace import write_json

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """Room for one tensor in the files to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the file."""
        return math.ceil(self.count * ITEM_BYTES[self.dtype])


def read(tensor: Tensor) -> torch.Tensor:
    """The values as stored, in memory of their own. Raises ModelError for a dtype torch has not."""
    if tensor.dtype not in DTYPES:
        raise ModelError(
            f"{tensor.file} holds {tensor.name} as {tensor.dtype}, which cannot be read here. "
            f"Use a version of the model stored as one of {', '.join(DTYPES)}."
        )
    raw = torch.empty(tensor.nbytes, dtype=torch.uint8)
    with tensor.file.open("rb", buffering=0) as file:
        file.seek(tensor.start)
        view, got = memoryview(raw.numpy().data), 0
        while got < tensor.nbytes and (step := file.readinto(view[got:])):
            got += step
    if got < tensor.nbytes:
        raise ModelError(f"{tensor.file} became shorter while it was read. Leave it in peace and try again.")
    return raw.view(DTYPES[tensor.dtype]).reshape(tensor.shape)


def as_bytes(values: torch.Tensor) -> memoryview:
    """The bytes of a tensor in memory order, without a copy where it is contiguous."""
    return values.contiguous().reshape(-1).view(torch.uint8).numpy().data


def into_shards(spaces: Sequence[Space], shard_bytes: float) -> list[list[Space]]:
    """Cut the list into files of at most `shard_bytes`; a larger tensor gets a file of its own."""
    shards: list[list[Space]] = []
    room = 0.0
    for space in spaces:
        if not shards or space.nbytes > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(space)
        room -= space.nbytes
    return shards


def write(folder: Path, spaces: Sequence[Space], shard_bytes: float, compute: Callable[[Space], torch.Tensor]) -> None:
    """Write all tensors in files below `folder`, and the index when there are several.

    `compute` gives the values of one tensor when its turn comes. Each file is read back and
    compared with what was computed. Raises ModelError when it differs.
    """
    shards = into_shards(spaces, shard_bytes)
    names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    files = [SINGLE] if len(shards) == 1 else names
    for file, shard in zip(files, shards, strict=True):
        _check(folder / file, shard, _write_file(folder / file, shard, compute))
    if len(shards) > 1:
        where = {space.name: file for file, shard in zip(files, shards, strict=True) for space in shard}
        total = sum(space.nbytes for space in spaces)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})


def _write_file(path: Path, shard: Sequence[Space], compute: Callable[[Space], torch.Tensor]) -> dict[str, int]:
    """Write one file; gives the checksum of each tensor as it was computed."""
    # Wide values first, so that each tensor starts at a multiple of its item size.
    ordered = sorted(shard, key=lambda space: -ITEM_BYTES[space.dtype])
    sums = {}
    with path.open("wb", buffering=0) as file:
        file.write(_header(ordered))
        for space in ordered:
            values = compute(space)
            if values.dtype != DTYPES[space.dtype] or tuple(values.shape) != space.shape:
                raise ModelError(
                    f"{space.name} must become {space.dtype} of shape {list(space.shape)}; it became "
                    f"{values.dtype} of shape {list(values.shape)}. The adapter does not fit this base."
                )
            block = as_bytes(values)
            sums[space.name] = zlib.crc32(block)
            while block:
                block = block[file.write(block) :]
        os.fsync(file.fileno())
    return sums


def _header(ordered: Sequence[Space]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for space in ordered:
        entries[space.name] = {
            "dtype": space.dtype,
            "shape": space.shape,
            "data_offsets": (at, at + space.nbytes),
        }
        at += space.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check(path: Path, shard: Sequence[Space], sums: dict[str, int]) -> None:
    found = tensors_in(path)
    if sorted(found) != sorted(space.name for space in shard):
        raise ModelError(f"{path} does not hold the tensors that were written. Check the disk and try again.")
    for space in shard:
        tensor = found[space.name]
        same = (tensor.dtype, tensor.shape) == (space.dtype, space.shape)
        if not same or _checksum(tensor) != sums[space.name]:
            raise ModelError(
                f"{space.name} reads back from {path} other than it was written. Check the disk and try again."
            )


def _checksum(tensor: Tensor) -> int:
    total = 0
    for block in _blocks(tensor):
        total = zlib.crc32(block, total)
    return total


def _blocks(tensor: Tensor, size: int = 1 << 22) -> Iterator[bytes]:
    with tensor.file.open("rb", buffering=0) as file:
        file.seek(tensor.start)
        left = tensor.nbytes
        while left and (block := file.read(min(size, left))):
            left -= len(block)
            yield block
