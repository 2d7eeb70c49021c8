"""The plan of a run: what it will do and cost, what was decided for it, and what forbids it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from studio.data.mixing import Share
from studio.errors import ArgumentError, DiskFullError
from studio.estimate import Figure
from studio.loop.zero import Zero
from studio.material import Material
from studio.model.hardware import Choice
from studio.model.quantise import Rounding


@dataclass
class Plan:
    """What a run will do and cost, what was decided for it, and what forbids it."""

    groups: list[list[int]]
    held_out: list[list[int]]
    steps: int
    rounding: Rounding | None = None
    zero: Zero | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    no_space: bool = False
    # What one epoch has of each dataset, and how many epochs there are.
    shares: tuple[Share, ...] = ()
    times: float = 1.0

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again instead of kept."""
        return any(choice.name == "gradient_checkpointing" and choice.value == "on" for choice in self.choices)

    def refuse(self) -> None:
        """Raise what forbids the start, all of it at once."""
        if self.no_space and len(self.complaints) == 1:
            raise DiskFullError(self.complaints[0])
        if self.complaints:
            raise ArgumentError(self.complaints)

    def as_json(self, material: Material) -> dict[str, Any]:
        """As plain values, for `--json`."""
        total = material.report.total
        return {
            "ok": not self.complaints,
            "data": {
                "rows": total.rows, "kept": total.kept, "refused": total.refused,
                "truncated": total.truncated, "fully_masked": total.fully_masked,
                "tokens": total.tokens, "label_tokens": total.label_tokens,
                "held_out_rows": len(material.held_out_rows) if material.held_out_rows else 0,
            },
            **{name: {"value": f.value, "text": f.text, "basis": f.basis} for name, f in self.figures.items()},
            "mix": [share.over(self.times) for share in self.shares],
            "choices": [choice.__dict__ for choice in self.choices],
            "notes": [*material.notes, *self.notes],
            "complaints": self.complaints,
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """As lines for people."""
        lines = [f"{name.replace('_', ' ')}: {figure.text} ({figure.basis})" for name, figure in self.figures.items()]
        seen = [share.sentence(self.times) for share in self.shares] if len(self.shares) > 1 else []
        return [*lines, *seen, *map(str, self.choices), *self.notes]
