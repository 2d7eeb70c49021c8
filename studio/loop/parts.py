"""What the flow has made by the time a stage's trainer is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.jobs.signals import StopFlag

if TYPE_CHECKING:
    import transformers

    from studio.data.rows import Rows
    from studio.loop.incidents import Incidents
    from studio.loop.saving import CheckpointWriter
    from studio.loop.watch import Watch
    from studio.material import Material
    from studio.recipe import Recipe
    from studio.workspace import Workspace


@dataclass(frozen=True)
class Parts:
    """Model, rows and groups of row numbers (packs, single rows or the two of a pair), and where all goes.

    `resume` is the checkpoint to go on from.
    """

    recipe: Recipe
    settings: transformers.TrainingArguments
    model: Any
    rows: Rows
    groups: list[list[int]]
    held_out_rows: Rows | None
    held_out: list[list[int]]
    pad_id: int | None
    writer: CheckpointWriter
    watch: Watch
    stop: StopFlag
    folder: Path
    resume: Path | None
    incidents: Incidents
    material: Material
    place: Workspace
    say: Callable[[str], None]
