"""What a recipe asks of several datasets: which these are, and how their rows are mixed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studio.arguments.data import DataArguments
from studio.data.catalog import Catalog, DatasetEntry, entry_of_file
from studio.data.mixing import Mix
from studio.data.policy import Policy, entries_of, read_policy, sizes_of
from studio.workspace import Workspace


def policy_of(data: DataArguments, place: Workspace) -> Policy | None:
    """The file of shares, where one is asked for. Raises DatasetError."""
    return read_policy(data.sample_policy_file, place) if data.sample_policy_file else None


def sources_of(data: DataArguments, catalog: Catalog, place: Workspace) -> list[DatasetEntry]:
    """The datasets and files to train on: those that are named, or those of the file of shares. Raises DatasetError."""
    if (policy := policy_of(data, place)) is not None:
        return entries_of(policy, place, data.dataset_dir)
    return [*(catalog[name] for name in data.dataset), *(entry_of_file(path, place) for path in data.train_file)]


def probabilities_of(data: DataArguments) -> tuple[float, ...]:
    """`interleave_probs` as numbers, as they are written; () where none are."""
    return tuple(float(each) for each in data.interleave_probs)


def mix_of(
    data: DataArguments, entries: Sequence[DatasetEntry], place: Workspace
) -> tuple[Mix, dict[str, str], list[str]]:
    """How the rows of `entries` are mixed, the SHA-256 of the file of shares by its path, and what to tell.

    Raises DatasetError for shares that cannot be.
    """
    if (policy := policy_of(data, place)) is not None:
        sizes = sizes_of(entries, policy, place.cache)
        passes = policy.passes(sizes)
        total = math.fsum(policy.shares.values())
        notes = [
            f"{policy.shown}: one epoch has {total:.4g} times the {sum(sizes):,} bytes of all sources: "
            + ", ".join(f"{each:.3g} times {name}" for name, each in zip(policy.shares, passes, strict=True))
        ]
        asked = tuple(share / total for share in policy.shares.values())
        return Mix(passes=tuple(passes), asked=asked), {policy.shown: policy.sha256}, notes
    if data.mix_strategy == "concat" or len(entries) < 2:
        return Mix(), {}, []
    given = probabilities_of(data)
    total = math.fsum(given)
    notes = []
    if given and abs(total - 1) >= 1e-9:
        notes = [f"interleave_probs sum to {total:.6g}; each is divided by that: "
                 + ", ".join(f"{each / total:.4g}" for each in given)]  # fmt: skip
    return Mix(data.mix_strategy, given), {}, notes
