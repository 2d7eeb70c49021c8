"""Embeddings and output head with rows for new tokens, written tensor by tensor.

Letters in shapes: V rows, E embedding width, N new tokens.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from studio.errors import DiskFullError, ModelError
from studio.model import shards
from studio.model.changed import INPUTS, NOISE, OUTPUTS
from studio.model.outlay import SMALL_FILES_BYTES
from studio.model.report import GIGABYTE
from studio.model.shards import Space
from studio.model.weights import Tensor, tensors

BIASES = ("lm_head.bias", "embed_out.bias")
# Rows that are looked at in float32 at a time.
CHUNK = 8192


@dataclass(frozen=True)
class Table:
    """What is to become of the tables: `made_of` holds the old ids of each new token, from id `first` on.

    `rows` is how many the tables have at the end, `start` how new rows begin: subtokens, mean or random.
    """

    first: int
    made_of: Sequence[Sequence[int]]
    rows: int
    start: str
    seed: int

    @property
    def size(self) -> int:
        """The tokens at the end."""
        return self.first + len(self.made_of)


def ends(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a row for each token. Raises ModelError when there are none, or they differ in rows."""
    found = {name: tensor for name, tensor in stored.items() if name.endswith((*INPUTS, *OUTPUTS, *BIASES))}
    if not any(name.endswith(INPUTS) for name in found):
        raise ModelError(
            f"the embeddings must be one of {', '.join(INPUTS)} to get new rows; the model has none of these names. "
            "Choose a model that transformers stores in the usual way."
        )
    if len({tensor.shape[0] for tensor in found.values()}) > 1:
        told = ", ".join(f"{name} {tensor.shape[0]:,}" for name, tensor in found.items())
        raise ModelError(f"embeddings and output head must have the same rows; they have {told}. Get the model anew.")
    return found


def rows_of(folder: Path) -> int:
    """How many rows the embeddings of a model have, from the headers alone. Raises ModelError."""
    return next(iter(ends(tensors(folder)).values())).shape[0]


def rows_for(tokens: int, before: int, multiple: int) -> int:
    """How many rows the tables get: as many as before where the tokens fit, else the next multiple."""
    return before if tokens <= before else -(-tokens // multiple) * multiple


@contextlib.contextmanager
def room_for(target: Path, nbytes: int) -> Iterator[None]:
    """Raise DiskFullError when the disk of `target` has no room for so many bytes, or fills up meanwhile."""
    there = next(folder for folder in target.resolve().parents if folder.exists())
    needed, free = nbytes + SMALL_FILES_BYTES, shutil.disk_usage(there).free
    what = f"the model needs {needed / GIGABYTE:.2f} GB, and the disk of {there}"
    remedy = "Free some space, or choose an --output_dir on another disk."
    if free < needed:
        raise DiskFullError(f"{what} has {free / GIGABYTE:.2f} GB free. {remedy}")
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"{what} filled up. {remedy}") from None


def bytes_for(base: Path, rows: int) -> int:
    """Bytes of all weights of `base` with tables of so many rows."""
    stored = tensors(base)
    more = sum(tensor.nbytes // max(tensor.shape[0], 1) * (rows - tensor.shape[0]) for tensor in ends(stored).values())
    return sum(tensor.nbytes for tensor in stored.values()) + more


def write(base: Path, folder: Path, table: Table, shard_gigabytes: float, tell: Callable[[int, int], None]) -> None:
    """Write the weights of `base` into `folder`, the tables with their new rows. Raises ModelError."""
    stored = tensors(base)
    grown = ends(stored)
    spaces = [
        Space(name, tensor.dtype, (table.rows, *tensor.shape[1:]) if name in grown else tensor.shape)
        for name, tensor in stored.items()
    ]
    total, done = sum(space.nbytes for space in spaces), 0

    def compute(space: Space) -> torch.Tensor:
        nonlocal done
        values = shards.read(stored[space.name])
        done += space.nbytes
        tell(done, total)
        return with_rows(values, table) if space.name in grown else values

    with torch.no_grad():
        shards.write(folder, spaces, shard_gigabytes * GIGABYTE, compute)


def with_rows(old: torch.Tensor, table: Table) -> torch.Tensor:
    """A table (V, E), or a bias (V,), with the rows of the new tokens.

    Rows without a token, and those of tokens that had no row before, are the mean of all.
    """
    values = torch.empty(table.rows, *old.shape[1:], dtype=old.dtype)
    first = min(len(old), table.first)
    values[:first] = old[:first]
    mean, spread = _measures(old[:first])
    values[first:] = mean.to(old.dtype)
    if not table.made_of:
        return values
    chance = torch.Generator().manual_seed(table.seed)
    for at in range(0, len(table.made_of), CHUNK):
        part = table.made_of[at : at + CHUNK]
        noise = torch.randn(len(part), *old.shape[1:], generator=chance)
        if table.start == "subtokens":
            fresh = _means(old, part, mean)
        else:
            fresh = mean + (1.0 if table.start == "random" else NOISE) * spread * noise
        values[table.first + at : table.first + at + len(part)] = fresh.to(old.dtype)
    return values


def _means(old: torch.Tensor, made_of: Sequence[Sequence[int]], mean: torch.Tensor) -> torch.Tensor:
    """For each new token the mean of the rows of its old tokens; that of the whole table where it has none."""
    made_of = [[number for number in ids if number < len(old)] for ids in made_of]
    owners = torch.tensor([place for place, ids in enumerate(made_of) for _ in ids], dtype=torch.long)
    ids = torch.tensor([number for each in made_of for number in each], dtype=torch.long)
    sums = torch.zeros(len(made_of), *old.shape[1:]).index_add_(0, owners, old[ids].float())
    counts = torch.tensor([len(each) for each in made_of]).reshape(-1, *[1] * (old.dim() - 1))
    return torch.where(counts > 0, sums / counts.clamp(min=1), mean)


def _measures(old: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the rows, in float32."""
    total = torch.zeros(old.shape[1:], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for part in old.split(CHUNK):
        wide = part.double()
        total += wide.sum(0)
        squares += wide.square().sum(0)
    mean = total / len(old)
    return mean.float(), (squares / len(old) - mean.square()).clamp(min=0).sqrt().float()


def with_vocabulary(config: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """A config.json with that many rows, wherever it names them."""
    result = {**config}
    if "vocab_size" in result or "text_config" not in result:
        result["vocab_size"] = rows
    if isinstance(inner := result.get("text_config"), dict) and "vocab_size" in inner:
        result["text_config"] = {**inner, "vocab_size": rows}
    return result
