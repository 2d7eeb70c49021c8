"""How many rows and tokens of each dataset a run has learned from, exact across several processes and a resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from studio.data.mixing import Share
    from studio.data.rows import Rows


class Seen:
    """Counts by dataset: rows and tokens that went through the model to learn from.

    Rows are those of `studio.data.rows.Rows`: a long text has several, a pair two. A prompt counts once each time it is
    answered, however many answers it is given, with its own tokens.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        # Since this process began, and (in the main process) before.
        self.counts = torch.zeros(len(names), 2, dtype=torch.int64)

    def add(self, source: int, rows: int, tokens: int) -> None:
        """So many rows and tokens of a dataset more."""
        self.counts[source] += torch.tensor([rows, tokens])

    def total(self, accelerator: Any) -> torch.Tensor:
        """Rows and tokens of each dataset over all processes (datasets, 2); all of them take part."""
        if accelerator.num_processes == 1:
            return self.counts
        total: torch.Tensor = accelerator.reduce(self.counts.to(accelerator.device), "sum")
        return total.cpu()

    def as_json(self, total: torch.Tensor) -> dict[str, dict[str, int]]:
        """{name: {"rows", "tokens"}}; a dataset that is named twice stands once."""
        found: dict[str, dict[str, int]] = {}
        for name, (rows, tokens) in zip(self.names, total.tolist(), strict=True):
            kept = found.setdefault(name, {"rows": 0, "tokens": 0})
            kept["rows"] += rows
            kept["tokens"] += tokens
        return found


class SeenRows(Seen):
    """The same for rows that lie in memory, by their numbers."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows.names)
        self._owner = torch.as_tensor(rows.table["dataset"][:], dtype=torch.int64)
        self._lengths = torch.as_tensor(rows.lengths, dtype=torch.int64)

    def take(self, groups: Iterable[Sequence[int]]) -> None:
        """The rows of these groups were learned from."""
        numbers = torch.tensor([row for group in groups for row in group], dtype=torch.int64)
        owner = self._owner[numbers]
        self.counts[:, 0] += torch.bincount(owner, minlength=len(self.names))
        self.counts[:, 1].index_add_(0, owner, self._lengths[numbers])


def seen_shares(shares: Sequence[Share], total: torch.Tensor) -> list[Share]:
    """What was asked of each dataset beside what was learned from it; `total` is (datasets, 2)."""
    rows, tokens = (max(int(each), 1) for each in total.sum(0))
    return [
        replace(
            share, rows=own, tokens=length, passes=own / max(share.size_rows, 1),
            share_rows=own / rows, share_tokens=length / tokens,
        )
        for share, (own, length) in zip(shares, total.tolist(), strict=True)
    ]  # fmt: skip


def restored(seen: Seen, kept: Mapping[str, Any]) -> None:
    """Take up the counts of a checkpoint, `{"names", "counts"}`; others are left where the datasets differ."""
    if list(kept.get("names", ())) == list(seen.names):
        seen.counts += torch.tensor(kept["counts"], dtype=torch.int64)
