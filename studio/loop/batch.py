"""From rendered rows to batches: documents end to end, or padded where a model needs that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from studio.model.worker import begin_worker

if TYPE_CHECKING:
    from studio.data.rows import Rows

NO_LOSS = -100


class Groups(torch.utils.data.Dataset[list[int]]):
    """What the sampler draws: one row, or the rows of one pack."""

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[int]:
        return list(self.groups[index])


@dataclass(frozen=True)
class Deaf:
    """Begins a worker of the loader as upstream does, and lets it ignore what asks a run to stop.

    The process that trains saves its step and then ends its workers; had they died before, the step would have no rows.
    """

    begin: Callable[[int], None] | None

    def __call__(self, number: int) -> None:
        """Begin worker `number`."""
        begin_worker()
        if self.begin is not None:
            self.begin(number)


@dataclass
class Collator:
    """Turns drawn groups of row numbers into one batch.

    `pad_id` None lays the documents end to end; else each gets a row of its own, padded with it.
    """

    rows: Rows
    pad_id: int | None = None

    def __call__(self, groups: list[list[int]]) -> dict[str, torch.Tensor]:
        """The batch of these groups' rows."""
        rows: list[dict[str, Any]] = [self.rows[index] for group in groups for index in group]
        ids = [row["input_ids"] for row in rows]
        masks = [row["loss_mask"] for row in rows]
        return flat_batch(ids, masks) if self.pad_id is None else padded_batch(ids, masks, self.pad_id)


def _labels(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    labels = ids.masked_fill(~mask, NO_LOSS)
    # Nothing stands before the first token of a document, so nothing predicts it.
    labels[0] = NO_LOSS
    return labels


def flat_batch(ids: Sequence[Any], masks: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Documents end to end: input_ids, position_ids, labels of shape (1, T), boundaries (documents + 1,)."""
    documents = [torch.as_tensor(part, dtype=torch.long) for part in ids]
    labels = [
        _labels(part, torch.as_tensor(mask, dtype=torch.bool)) for part, mask in zip(documents, masks, strict=True)
    ]
    sizes = torch.tensor([0, *(len(part) for part in documents)])
    return {
        "input_ids": torch.cat(documents)[None],
        "position_ids": torch.cat([torch.arange(len(part)) for part in documents])[None],
        "labels": torch.cat(labels)[None],
        "cu_seq_lens_q": sizes.cumsum(0).to(torch.int32),
    }


def padded_batch(ids: Sequence[Any], masks: Sequence[Any], pad_id: int) -> dict[str, torch.Tensor]:
    """One document a row: input_ids, attention_mask, labels of shape (B, T), padded on the right."""
    width = max(len(part) for part in ids)
    batch = {
        "input_ids": torch.full((len(ids), width), pad_id),
        "attention_mask": torch.zeros((len(ids), width), dtype=torch.long),
        "labels": torch.full((len(ids), width), NO_LOSS),
    }
    for place, (part, mask) in enumerate(zip(ids, masks, strict=True)):
        document = torch.as_tensor(part, dtype=torch.long)
        batch["input_ids"][place, : len(document)] = document
        batch["attention_mask"][place, : len(document)] = 1
        batch["labels"][place, : len(document)] = _labels(document, torch.as_tensor(mask, dtype=torch.bool))
    return batch


def document_lengths(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """How long the document of each token is: (T,) for documents end to end, (B, 1) for padded ones."""
    if "cu_seq_lens_q" not in inputs:
        return inputs["attention_mask"].sum(dim=1, keepdim=True)
    ends = inputs["cu_seq_lens_q"]
    sizes = ends[1:] - ends[:-1]
    return sizes.repeat_interleave(sizes)
