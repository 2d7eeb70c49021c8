"""What weights a model folder holds, read from the safetensors headers alone.

Light: no torch, no weights in memory. The same reading says in one sentence what is wrong with a
folder: a shard that is missing, cut short, empty or not what it claims. Pickled weights
(`pytorch_model.bin`) are never opened here; `pickled` converts them.
"""

from __future__ import annotations

import json
import math
import shlex
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

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".mdl")
# Pickles that lie beside weights and hold none.
NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scheduler.bin", "scaler.pt",
              "adapter_model.bin", "value_head.bin")  # fmt: skip

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
    end = data_start
    for tensor in sorted(found.values(), key=lambda tensor: (tensor.start, tensor.nbytes)):
        if tensor.start != end:
            raise ModelError(
                f"{file} must hold its tensors one after the other; {tensor.name} begins {tensor.start - end:+,} "
                f"bytes from the end of the one before. {GET_AGAIN}"
            )
        end += tensor.nbytes
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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


def pickled(folder: Path) -> list[str]:
    """Names of the pickled weights in a folder; what a trainer leaves beside them is not counted."""
    names = (path.name for path in folder.iterdir() if path.suffix in PICKLED and path.name not in NO_WEIGHTS)
    return sorted(name for name in names if not name.startswith(("rng_state", ".")))


def is_meta(folder: Path) -> bool:
    """Whether a folder holds a model in the form in which Meta gives its own away."""
    return (folder / "params.json").is_file() and any(folder.glob("consolidated.*.pth"))


def remedy(folder: Path) -> str:
    """How a folder of pickled weights is made into one that is read here."""
    return (
        "Take the safetensors files of the same model; or convert these once, which is done in a process of its "
        f"own that runs no code from them: studio export --model_name_or_path {shlex.quote(str(folder))} "
        f"--convert_pickle True --export_dir {shlex.quote(f'models/{folder.name}-safetensors')}"
    )


def _no_weights(folder: Path) -> str:
    if found := pickled(folder):
        return (
            f"weights must be safetensors; {folder} holds only pickled ones ({', '.join(found[:3])}), which can "
            f"run code when opened. {remedy(folder)}"
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
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file} must start with a JSON header; it does not parse ({error}). {GET_AGAIN}") from None
    return header, 8 + length


def _tensor(file: Path, name: str, entry: Any, data_start: int) -> Tensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(length) for length in entry["shape"])
        first, end = (int(offset) for offset in entry["data_offsets"])
        due = math.ceil(math.prod(shape) * ITEM_BYTES.get(dtype, 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ModelError(
            f"{file} must give dtype, shape and place of each tensor; for {name} it gives {entry!r}. {GET_AGAIN}"
        ) from None
    if dtype not in ITEM_BYTES:
        raise ModelError(f"{file} holds {name} as {dtype!r}, which is no known dtype. {GET_AGAIN}")
    if first < 0 or min(shape, default=0) < 0 or end - first != due:
        raise ModelError(
            f"{file} gives {name} {end - first:,} bytes, which does not fit {dtype} of shape {list(shape)}. {GET_AGAIN}"
        )
    return Tensor(name, dtype, shape, file, end - first, data_start + first)
