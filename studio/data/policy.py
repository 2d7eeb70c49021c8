"""A file of shares, `{"source": share of all bytes}`: how much of each source makes one epoch.

With the sizes S of the sources in bytes, a source of share p gives p times the sum of all S. That is p · ΣS / S
passes over it: whole ones, and of the last one a part. Shares may sum to more or less than one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.sizes import size_of
from studio.errors import DatasetError, StudioError
from studio.registry import did_you_mean
from studio.workspace import Workspace

# A share above it is a slip of the pen: a million times all the bytes there are.
MOST_SHARE = 1_000_000
_EXAMPLE = '{"wiki": 0.5, "data/shards/books": 0.8}'


@dataclass(frozen=True)
class Policy:
    """A file of shares as it was read; `shares` leads from a source to its share of all bytes."""

    shown: str
    shares: dict[str, float]
    sha256: str

    def says(self, key: str = "") -> str:
        """How a complaint about it begins."""
        return f"--sample_policy_file {self.shown}, {json.dumps(key, ensure_ascii=False)}: " if key else (
            f"--sample_policy_file {self.shown}: ")  # fmt: skip

    def passes(self, sizes: Sequence[int]) -> list[float]:
        """How often each source is passed over in one epoch; `sizes` in bytes, in the order of the file."""
        total = sum(sizes)
        return [share * total / size for share, size in zip(self.shares.values(), sizes, strict=True)]

    def probabilities(self, sizes: Sequence[int], row_bytes: Sequence[float]) -> list[float]:
        """How likely the next row comes from each source, so that the shares of bytes come true.

        `row_bytes` are the mean bytes of a row of each source.
        """
        total = sum(sizes)
        rows = [share * total / mean for share, mean in zip(self.shares.values(), row_bytes, strict=True)]
        return [each / math.fsum(rows) for each in rows]


def read_policy(asked: str, place: Workspace) -> Policy:
    """The file that `--sample_policy_file` names. Raises DatasetError that says the key, or the line."""
    path = place.path(asked)
    empty = Policy(place.shown(path), {}, "")
    if not path.is_file():
        raise DatasetError(f"{empty.says()}there is no such file. Write one such as {_EXAMPLE}, or let "
                           "studio data mix write it.")  # fmt: skip
    content = path.read_bytes()
    try:
        pairs = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Pairs, parse_constant=_NotANumber)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{empty.says()}must be UTF-8; byte {error.start} is not. Save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{empty.says()}line {error.lineno}, column {error.colno}: {error.msg}. It must be JSON such as {_EXAMPLE}."
        ) from None
    except ValueError:  # Python reads no number of more digits
        raise DatasetError(f"{empty.says()}a share has thousands of digits. Write one such as 0.5.") from None
    except RecursionError:
        raise DatasetError(f"{empty.says()}is nested too deeply. It must be JSON such as {_EXAMPLE}.") from None
    if not isinstance(pairs, _Pairs) or not pairs:
        raise DatasetError(f"{empty.says()}must be an object that leads from sources to shares, such as {_EXAMPLE}.")
    shares: dict[str, float] = {}
    for key, value in pairs:
        if key in shares:
            raise DatasetError(f"{empty.says(key)}stands twice. Write one line with the share that is meant.")
        shares[key] = _share(value, empty.says(key))
    return Policy(empty.shown, shares, hashlib.sha256(content).hexdigest())


class _Pairs(list[tuple[str, Any]]):
    """The members of an object; a name that stands twice is kept twice."""


@dataclass(frozen=True)
class _NotANumber:
    """NaN or an infinity, which JSON does not have."""

    word: str


def _share(value: Any, says: str) -> float:
    """A share that can be meant. Raises DatasetError."""
    if isinstance(value, _NotANumber):
        raise DatasetError(f"{says}the share must be a number above 0; it is {value.word}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        written = json.dumps(value, ensure_ascii=False, default=lambda each: each.word)[:80]
        raise DatasetError(f"{says}the share must be a number above 0, such as 0.5; it is {written}.")
    if value == 0:
        raise DatasetError(f"{says}the share is 0. Take the line out: whether its bytes count in the total would be "
                           "unclear.")  # fmt: skip
    if value < 0 or value == math.inf:
        raise DatasetError(f"{says}the share must be a number above 0; it is {str(value)[:40]}.")
    if value > MOST_SHARE:
        raise DatasetError(f"{says}the share must be at most {MOST_SHARE:,} times all bytes; it is {str(value)[:40]}.")
    return float(value)


def entries_of(policy: Policy, place: Workspace, dataset_dir: str) -> list[DatasetEntry]:
    """The sources of a policy in the order of the file: datasets of the registry, else files, folders or patterns.

    Raises DatasetError for a source that is neither, and for two that share a file.
    """
    catalog = read_catalog(place, dataset_dir)
    found: list[DatasetEntry] = []
    owner: dict[Path, str] = {}
    for key in policy.shares:
        entry = catalog[key] if key in catalog else _entry_of_path(key, policy, place, catalog.names)
        if entry.num_samples:
            raise DatasetError(f"{policy.says(key)}its entry in {entry.origin} has num_samples {entry.num_samples:,}, "
                               "and the share says how much of it is read. Take num_samples out.")  # fmt: skip
        for path in entry.files():
            if path in owner:
                raise DatasetError(f"{policy.says(key)}it reads {place.shown(path)}, and so does {owner[path]!r}. Its "
                                   "bytes would count twice: keep one of them.")  # fmt: skip
            owner[path] = key
        found.append(entry)
    return found


def _entry_of_path(key: str, policy: Policy, place: Workspace, known: Sequence[str]) -> DatasetEntry:
    pattern = any(mark in key for mark in "*?[")
    try:
        if not pattern and not place.path(key).exists():
            near = did_you_mean(key, known)
            raise DatasetError(f"{policy.says(key)}is neither a dataset of the registry nor a file, a folder or a "
                               f"pattern of files in the workspace.{near}")  # fmt: skip
        return entry_of_file(key, place).model_copy(update={"name": key})
    except StudioError as error:
        if str(error).startswith(policy.says(key)):
            raise
        raise DatasetError(f"{policy.says(key)}{error}") from None


def sizes_of(entries: Sequence[DatasetEntry], policy: Policy, cache: Path) -> list[int]:
    """The bytes of each source. Raises DatasetError for one without any."""
    sizes = [size_of(entry, cache) for entry in entries]
    for key, size in zip(policy.shares, sizes, strict=True):
        if not size:
            raise DatasetError(f"{policy.says(key)}it has no bytes, so no share can come from it. Take the line out.")
    return sizes
