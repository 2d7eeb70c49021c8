"""`progress.jsonl` of a run: one `Point` a line, written as it happens, read while it grows."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path
from types import TracebackType
from typing import Any

from studio.errors import StudioError
from studio.workspace import write_text


@dataclass(frozen=True)
class Point:
    """How a run stood after `step`; a value that was not measured is None.

    `more` holds the values of the stage (`eval_loss`, `rewards_margin`, …). In the file they stand
    beside the others, so that each line is one flat JSON object.
    """

    step: int
    total_steps: int | None = None
    epoch: float | None = None
    elapsed_s: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    memory_gib: float | None = None
    eta_s: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The point as one line of JSON, without its line end.

        JSON has no word for numbers that are not finite; they are written as text ("nan", "inf").
        """
        flat = asdict(self)
        more = flat.pop("more")
        taken = more.keys() & flat.keys()
        if taken:
            raise ValueError(f"a stage's value may not take the name of a common one: {sorted(taken)}")
        # `step` and `loss` stand in every line; readers of other tools count on them.
        known = {name: value for name, value in flat.items() if value is not None or name == "loss"}
        flat_values = {name: _plain(value) for name, value in (known | more).items()}
        return json.dumps(flat_values, ensure_ascii=False, allow_nan=False)

    @classmethod
    def parse(cls, line: str) -> Point:
        """The point of one line. Raises ValueError when the line is not one."""
        values = json.loads(line)
        if not isinstance(values, dict) or type(values.get("step")) is not int:
            raise ValueError("a line of progress is a JSON object with a whole number as its step")
        values = {name: _number(value) for name, value in values.items()}
        known = {name: values.pop(name) for name in _COMMON if name in values}
        return cls(**known, more=values)


_COMMON = tuple(each.name for each in fields_of(Point) if each.name != "more")


class Progress:
    """The open end of a progress file: `append` puts a point there that a reader sees at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        _drop_torn_end(path)
        self._out: io.TextIOWrapper = path.open("a", encoding="utf-8", buffering=1)

    def append(self, point: Point) -> None:
        """Write one line and hand it to the system, whole."""
        self._out.write(point.line() + "\n")
        self._out.flush()

    def close(self) -> None:
        """Close the file; closing twice is no harm."""
        self._out.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> list[Point]:
    """All points of a file, in order; none when there is no file yet.

    A last line without its line end is still being written, or was cut off with the process: it is
    not read. Raises StudioError for any other line that is not a point.
    """
    points: list[Point] = []
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            points.append(Point.parse(line))
        except ValueError as error:
            raise StudioError(
                f"{path}: each line must be a JSON object with a step; line {number} is {line[:80]!r} "
                f"({error}). Remove that line, or move the file aside."
            ) from None
    return points


def cut_after(path: Path, step: int) -> None:
    """Drop the points after `step`, all or none: a resumed run writes these steps again."""
    if path.exists():
        write_text(path, "".join(point.line() + "\n" for point in read(path) if point.step <= step))


def smooth(values: Sequence[float], keep: float = 0.9) -> list[float]:
    """A running mean of a curve, as long as the curve; `keep` in [0, 1) is how much of the past stays.

    The weights are those of an exponential mean, corrected at the start, where few values have been
    seen. Values that are not finite are passed through and leave the mean alone.
    """
    smoothed: list[float] = []
    mean = weight = 0.0
    for value in values:
        if not math.isfinite(value):
            smoothed.append(value)
            continue
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        smoothed.append(mean / weight)
    return smoothed


def _whole_lines(path: Path) -> list[str]:
    """The lines of the file that have their line end; bytes that are no UTF-8 stay visible."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return whole.decode("utf-8", "backslashreplace").split("\n") if whole else []


def _drop_torn_end(path: Path) -> None:
    """Cut a line that a killed process left unfinished, so that the next one does not join it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _number(value: Any) -> Any:
    return float(value) if value in ("nan", "inf", "-inf") else value
