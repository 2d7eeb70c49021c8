"""What an export did, in numbers: for the terminal, export.json and the model card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIGABYTE = 1e9
# From this share on the way to keep small changes is told.
MUCH_LOST = 0.5


@dataclass(frozen=True)
class Change:
    """What became of one weight that an adapter touches, in numbers of its values.

    `max_rounding` is the largest distance between a written value and the merged one in float32.
    Where the adapter learned on a rounded base, two sums of squares over a sample of the values: by how much
    the adapter moves them, and by how much that rounding did.
    """

    name: str
    count: int
    moved: int
    changed: int
    max_change: float
    max_rounding: float = 0.0
    moved_square: float = 0.0
    rounding_square: float = 0.0


@dataclass(frozen=True)
class Report:
    """The result of an export. `moved` values change in float32; `changed` still do after the cast."""

    target: Path
    base: Path
    adapters: tuple[Path, ...]
    dtype: str
    tensors: int
    weights: int
    nbytes: int
    touched: tuple[Change, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def moved(self) -> int:
        """How many values the float32 merge changes."""
        return sum(change.moved for change in self.touched)

    @property
    def changed(self) -> int:
        """How many of them differ from the base's after the cast."""
        return sum(change.changed for change in self.touched)

    @property
    def max_change(self) -> float:
        """The largest change of any value, in float32."""
        return max((change.max_change for change in self.touched), default=0.0)

    @property
    def max_rounding(self) -> float:
        """The largest distance between a written value and the merged one in float32."""
        return max((change.max_rounding for change in self.touched), default=0.0)

    @property
    def lost_share(self) -> float:
        """The share of moved values that the cast puts back where they were."""
        return 1 - self.changed / self.moved if self.moved else 0.0

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        size = f"{self.tensors} tensors, {self.weights:,} weights, "
        size += f"{self.nbytes / GIGABYTE:.2f} GB as {self.dtype}"
        if not self.adapters:
            return f"{size}; no adapter, so the weights are the base's."
        told = (
            f"{size}; the merge moved {self.moved:,} weights by at most {self.max_change:.3g}, and {self.changed:,} "
            f"still differ after the cast ({self.lost_share:.1%} of the moved are lost by it)."
        )
        return told + (" infer_dtype float32 keeps them." if self.lost_share > MUCH_LOST else "")

    def as_dict(self) -> dict[str, Any]:
        """The report as it is written to export.json."""
        return {
            "schema": 1,
            "base": str(self.base),
            "adapters": [str(adapter) for adapter in self.adapters],
            "dtype": self.dtype,
            "tensors": self.tensors,
            "weights": self.weights,
            "bytes": self.nbytes,
            "moved": self.moved,
            "changed": self.changed,
            "lost_share": self.lost_share,
            "max_change": self.max_change,
            "max_rounding": self.max_rounding,
            "touched": [asdict(change) for change in self.touched],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }
