"""What batches give: a summed loss over items, and values to tell, each as its sum and its count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object


@dataclass(frozen=True)
class Measured:
    """What one batch gave: the loss summed over `items`, and values to tell, each as its sum and its count."""

    loss: torch.Tensor
    items: int
    told: dict[str, tuple[Any, int]] = field(default_factory=dict)


def added(left: dict[str, tuple[Any, int]], right: dict[str, tuple[Any, int]]) -> dict[str, tuple[Any, int]]:
    """Sums and counts of both, by name."""

    def both(name: str) -> tuple[Any, int]:
        (total, count), (more, further) = left.get(name, (0.0, 0)), right.get(name, (0.0, 0))
        return total + more, count + further

    return {name: both(name) for name in {**left, **right}}


def means(told: dict[str, tuple[Any, int]], accelerator: Any) -> dict[str, float]:
    """The mean of each over all processes; one without a count is left out."""
    # A process without a row tells nothing, and must add its nothing to what the others tell.
    names = sorted({*gather_object(sorted(told))} if accelerator.num_processes > 1 else told)
    sums = torch.tensor([[float(total), count] for total, count in (told.get(name, (0.0, 0)) for name in names)],
                        dtype=torch.float64, device=accelerator.device).reshape(-1, 2)  # fmt: skip
    sums = accelerator.reduce(sums, "sum")
    return {name: total / count for name, (total, count) in zip(names, sums.tolist(), strict=True) if count}
