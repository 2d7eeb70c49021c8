"""What weights a model folder holds, read from the safetensors headers alone.

Light: no torch, no weights in memory. The same reading says in one sentence what is wrong with a
folder: a shard that is missing, cut short, empty or not what it claims. Pickled weights
(`pytorch_model.bin`) are never opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import ModelError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"

# Bytes of one value, by the dtype names of the format. Types below one byte count in bits / 8.
ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2,
    "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "F6_E2M3": 0.75, "F6_E3M2": 0.75, "F4": 0.5,
}  # fmt: skip

# The format's own limit on the length of a header.
HEADER_LIMIT_BYTES = 100_000_000

GET_AGAIN = "Download the model again, or copy it anew from where it is whole."


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: `nbytes` bytes from byte `start` of `file`, dtype as in the format."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    nbytes: int
    start: int

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it holds plain floating-point numbers, which may be cast."""
        return self.dtype in ("F64", "F32", "F16", "BF16")


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder by name, from one file or from the shards of an index.

    Raises ModelError when the folder holds no safetensors, or a file is missing or damaged.
    """
    if not folder.is_dir():
        raise ModelError(f"a model must be a folder; {folder} is not one. Check the path.")
    if (folder / INDEX).is_file():
        return _sharded(folder)
    if (folder / SINGLE).is_file():
        return tensors_in(folder / SINGLE)
    raise ModelError(_no_weights(folder))


def main_dtype(found: Iterable[Tensor]) -> str:
    """The floating-point dtype most of the numbers are stored in, or '' without any."""
    counts: dict[str, int] = {}
    for tensor in found:
        if tensor.is_float:
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.count
    return max(counts, key=lambda dtype: counts[dtype], default="")


def tensors_in(file: Path) -> dict[str, Tensor]:
    """Every tensor of one safetensors file by name. Raises ModelError when it is damaged."""
    header, data_start = _header(file)
    found = {name: _tensor(file, name, entry, data_start) for name, entry in header.items()}
    end = max((tensor.start + tensor.nbytes for tensor in found.values()), default=data_start)
    size = file.stat().st_size
    if size < end:
        raise ModelError(
            f"{file} must hold {end:,} bytes, but it is cut short: {end - size:,} bytes are missing. {GET_AGAIN}"
        )
    if size > end:
        raise ModelError(f"{file} must hold {end:,} bytes, but it holds {size - end:,} more. {GET_AGAIN}")
    return found


def _sharded(folder: Path) -> dict[str, Tensor]:
    index = folder / INDEX
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        listed = {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{index} must be JSON with a weight_map from tensor to file; it is not ({error}). {GET_AGAIN}"
        ) from None
    shards: dict[str, dict[str, Tensor]] = {}
    for shard in sorted(set(listed.values())):
        if Path(shard).name != shard:
            raise ModelError(f"{index} must name files of its own folder; it names {shard!r}. {GET_AGAIN}")
        if not (folder / shard).is_file():
            raise ModelError(f"{index.name} names the shard {shard}, which is not in {folder}. {GET_AGAIN}")
        shards[shard] = tensors_in(folder / shard)
    for name, shard in listed.items():
        if name not in shards[shard]:
            raise ModelError(f"{index} says that {shard} holds {name}, but it does not. {GET_AGAIN}")
    return {name: shards[shard][name] for name, shard in listed.items()}


def _no_weights(folder: Path) -> str:
    if any(folder.glob("pytorch_model*.bin")) or any(folder.glob("*.pt")):
        return (
            f"weights must be safetensors; {folder} holds only pickled ones (.bin or .pt), which can run "
            "code when opened. Take the safetensors files of the same model, or convert these once, "
            "apart, where you trust them: AutoModelForCausalLM.from_pretrained(old).save_pretrained(new)."
        )
    if (folder / ADAPTER).is_file():
        return f"{folder} holds an adapter and no model. Name its base as the model and this folder as the adapter."
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    if shards:
        return f"{folder} holds {shards[0]}, but neither {SINGLE} nor {INDEX}. {GET_AGAIN}"
    return f"{folder} must hold {SINGLE} or {INDEX}; it holds neither. Check the path."


def _header(file: Path) -> tuple[dict[str, Any], int]:
    size = file.stat().st_size
    if size == 0:
        raise ModelError(f"{file} must hold weights, but it is empty (0 bytes). {GET_AGAIN}")
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise ModelError(f"{file} is a git-LFS pointer, not the weights. Fetch them with: git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > HEADER_LIMIT_BYTES:
            raise ModelError(f"{file} must be a safetensors file; its start is not one's. {GET_AGAIN}")
        text = stream.read(length)
    if len(text) < length:
        raise ModelError(
            f"{file} is cut short within its header: {length - len(text):,} bytes of it are missing. {GET_AGAIN}"
        )
    try:
        header = json.loads(text)
        header = {name: entry for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{file} must start with a JSON header; it does not parse ({error}). {GET_AGAIN}") from None
    return header, 8 + length


def _tensor(file: Path, name: str, entry: Any, data_start: int) -> Tensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(length) for length in entry["shape"])
        first, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(
            f"{file} must give dtype, shape and place of each tensor; for {name} it gives {entry!r}. {GET_AGAIN}"
        ) from None
    if dtype not in ITEM_BYTES:
        raise ModelError(f"{file} holds {name} as {dtype!r}, which is no known dtype. {GET_AGAIN}")
    if first < 0 or min(shape, default=0) < 0 or end - first != math.ceil(math.prod(shape) * ITEM_BYTES[dtype]):
        raise ModelError(
            f"{file} gives {name} {end - first:,} bytes, which does not fit {dtype} of shape {list(shape)}. {GET_AGAIN}"
        )
    return Tensor(name, dtype, shape, file, end - first, data_start + first)
