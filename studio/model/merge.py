"""What an adapter does to one weight, as steps on float32 values.

Letters in shapes: O outputs, I inputs, R rank, V vocabulary, E embedding width.
Every step changes the weight in place where it can, so that one float32 copy is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from studio.errors import ModelError
from studio.model import shards
from studio.model.weights import Tensor


class Step(Protocol):
    """One change of a weight."""

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight after the step, float32."""


@dataclass(frozen=True)
class Replace:
    """The whole weight is the one the adapter holds (modules_to_save, trained biases)."""

    value: Tensor

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The adapter's own values."""
        return shards.read(self.value).float()


@dataclass(frozen=True)
class Add:
    """`scale` times a tensor of the same shape is added (the bias of a LoRA)."""

    value: Tensor
    scale: float

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with the addition."""
        return weight.add_(shards.read(self.value).float(), alpha=self.scale)


@dataclass(frozen=True)
class Rows:
    """Some rows are replaced (trainable tokens)."""

    indices: tuple[int, ...]
    value: Tensor

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with the adapter's rows."""
        return weight.index_copy_(0, torch.tensor(self.indices), shards.read(self.value).float())


@dataclass(frozen=True)
class LowRank:
    """LoRA: weight + scale × up × down; with a magnitude it is DoRA.

    `down` is (R, I) and `up` (O, R); of an embedding `down` is (R, V) and `up` (E, R). The weight
    is (O, I), or transposed: (I, O), and an embedding's (V, E).
    """

    down: Tensor
    up: Tensor
    scale: float
    transposed: bool
    magnitude: Tensor | None = None

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The merged weight."""
        down, up = shards.read(self.down).float(), shards.read(self.up).float()
        view_OI = weight.T if self.transposed else weight
        if view_OI.shape != (up.shape[0], down.shape[1]):
            raise ModelError(
                f"{self.up.name} in {self.up.file} is for a weight of {up.shape[0]} by {down.shape[1]}, but "
                f"the base has {view_OI.shape[0]} by {view_OI.shape[1]}. Name the base it was trained on."
            )
        view_OI.addmm_(up, down, alpha=self.scale)
        if self.magnitude is not None:
            # DoRA's direction is the merged weight scaled to length one for each output.
            length_O = torch.linalg.vector_norm(view_OI, dim=1)
            magnitude_O = shards.read(self.magnitude).float().reshape(-1)
            view_OI.mul_((magnitude_O / length_O).unsqueeze(1))
        return weight
