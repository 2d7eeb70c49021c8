"""What an export will cost: its weights, files and disk, told from the safetensors headers alone.

Light: no torch. The export itself plans again, from the tensors; what grows there (a vocabulary that was
trained, an output layer that parts from the embedding) is not counted here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio.errors import ModelError
from studio.model.adapter import CONFIG, open_adapter
from studio.model.find import find_adapters, find_model
from studio.model.pickled import files_of, refuse_needless
from studio.model.weights import ITEM_BYTES, Tensor, main_dtype, tensors
from studio.recipe import ExportSet
from studio.workspace import Workspace

# Tokenizer, card and records, generously.
SMALL_FILES_BYTES = 64 << 20
GIGABYTE = 10**9
# What torch calls the numbers of a file.
TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@dataclass(frozen=True)
class Outlay:
    """What will be written from what. `weights` and `dtype` are 0 and "" where only a pickle would tell them."""

    base: Path
    adapters: tuple[Path, ...]
    weights: int
    tensors: int
    dtype: str
    nbytes: int
    files: int
    scratch: int = 0
    detour: str = ""

    @property
    def needed(self) -> int:
        """Bytes of disk, with the small files and what lies beside the result for a while."""
        return self.nbytes + self.scratch + SMALL_FILES_BYTES


def outlay(asked: ExportSet, place: Workspace) -> Outlay | None:
    """What an export will write; None when a part of it lies on a hub and is not here yet.

    Raises ModelError for a folder that is no model, or is damaged, and StudioError for a path outside the roots.
    """
    named = place.path(asked.model.model_name_or_path)
    if asked.export.convert_pickle:
        return _converted(named)
    if not all(_here(name, place) for name in (asked.model.model_name_or_path, *asked.model.adapter_name_or_path)):
        return None
    folder = find_model(asked.model.model_name_or_path, place)
    names = list(asked.model.adapter_name_or_path)
    if (folder / CONFIG).is_file():
        base = str(open_adapter(folder).config.get("base_model_name_or_path") or "")
        if not base:
            raise ModelError(f"the adapter {folder} does not say its base. Name it with --model_name_or_path.")
        if not _here(base, place):
            return None
        names.insert(0, asked.model.model_name_or_path)
        folder = find_model(base, place)
    adapters = find_adapters(names, place)
    detour = "; ".join(f"{path.name}: {why}" for path in adapters if (why := open_adapter(path).detour))
    return _of_tensors(folder, adapters, tensors(folder), asked, detour)


def _here(name: str, place: Workspace) -> bool:
    """Whether this is a folder, or could only be one: then looking for it asks no hub."""
    return place.path(name).is_dir() or name.startswith((".", "/", "~")) or name.count("/") != 1 or (
        place.path(name.split("/")[0]).is_dir()
    )  # fmt: skip


def _of_tensors(base: Path, adapters: list[Path], found: Mapping[str, Tensor], asked: ExportSet, detour: str) -> Outlay:
    dtype = asked.export.infer_dtype
    sizes = [_written(tensor, dtype) for tensor in found.values()]
    weights = sum(tensor.count for tensor in found.values())
    stored = main_dtype(found.values())
    auto = next((name for name, code in TYPES.items() if code == stored), stored)
    return Outlay(
        base=base,
        adapters=tuple(adapters),
        weights=weights,
        tensors=len(found),
        dtype=auto if dtype == "auto" else dtype,
        nbytes=sum(sizes),
        files=shards(sizes, asked.export.export_size * GIGABYTE),
        # peft's float32 copy lies beside the result for a while.
        scratch=4 * weights if detour else 0,
        detour=detour,
    )


def _written(tensor: Tensor, dtype: str) -> int:
    if dtype == "auto" or not tensor.is_float:
        return tensor.nbytes
    return math.ceil(tensor.count * ITEM_BYTES[TYPES[dtype]])


def shards(sizes: list[int], limit: float) -> int:
    """How many files tensors of these sizes fill, in their order, none above `limit` that holds two."""
    files, held = 1, 0
    for size in sizes:
        if held and held + size > limit:
            files, held = files + 1, 0
        held += size
    return files


def _converted(folder: Path) -> Outlay:
    """Pickled weights, whose files say no more than their size."""
    refuse_needless(folder)
    names = files_of(folder)
    nbytes = sum((folder / name).stat().st_size for name in names if (folder / name).is_file())
    return Outlay(base=folder, adapters=(), weights=0, tensors=0, dtype="", nbytes=nbytes, files=len(names))
