"""What a run keeps besides its curve: the answers that it rewarded, and how a reward model judges pairs.

`rollouts.jsonl` grows with the run. It is read once from front to end; only where each line lies, its step and
its reward are kept, and a page reads the lines that it shows.
"""

from __future__ import annotations

import json
import math
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from studio.data.inspect import visible

Order = Literal["newest", "oldest", "highest", "lowest"]
ROLLOUTS, SCORES = "rollouts.jsonl", "scores.json"
# A text is folded after so many characters; asked for whole it still ends somewhere, for the browser's sake.
FOLDED, WHOLE = 2_000, 1_000_000
_MOST_MESSAGES = 100
_LONGEST_ROLE = 80
# So many bytes of a line are held at a time; a longer one is no sample.
_LONGEST_LINE = 32 * 2**20
_MOST_SCORES = 8 * 2**20
_KEPT_FILES = 16
# So much of the end of what was read is compared before more is read behind it.
_MARK = 256


@dataclass
class _Index:
    """Where the samples of one file lie, as far as it was read."""

    inode: int
    offset: int = 0
    mark: bytes = b""
    places: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    rewards: array[float] = field(default_factory=lambda: array("d"))


class Rollouts:
    """Files of samples, indexed once; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, _Index] = OrderedDict()

    def page(self, path: Path, *, step: int | None, order: Order, start: int, count: int) -> dict[str, Any]:
        """`count` samples from `start` (the first is 0) in an order, of all steps or of the one nearest to `step`.

        `spread` is what the chosen samples are worth: the lowest, the mean and the highest reward.
        """
        with self._lock:
            try:
                with path.open("rb") as file:
                    index = self._read(path, file)
                    return _page(file, index, step=step, order=order, start=start, count=count)
            except OSError:
                self._kept.pop(path, None)
                return {"total": 0, "step": None, "steps": None, "spread": None, "rows": []}

    def whole(self, path: Path, number: int) -> dict[str, Any] | None:
        """One sample with its whole texts, by its number in the file; None when there is none."""
        with self._lock:
            try:
                with path.open("rb") as file:
                    index = self._read(path, file)
                    return _row(file, index, number, WHOLE) if 0 <= number < len(index.places) else None
            except OSError:
                return None

    def _read(self, path: Path, file: BinaryIO) -> _Index:
        """The index up to the last whole line."""
        found = os.fstat(file.fileno())
        index = self._kept.pop(path, None)
        if index is None or index.inode != found.st_ino or not _goes_on(file, index, found.st_size):
            index = _Index(found.st_ino)
        file.seek(index.offset)
        while line := file.readline(_LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                break
            if (row := _sample(line)) is not None:
                index.places.append(index.offset)
                index.steps.append(row["step"])
                index.rewards.append(_number(row.get("reward")))
            index.offset += len(line)
            index.mark = line[-_MARK:]
        self._kept[path] = index
        while len(self._kept) > _KEPT_FILES:
            self._kept.popitem(last=False)
        return index


def _goes_on(file: BinaryIO, index: _Index, size: int) -> bool:
    """Whether what was read still stands in front of what is new: a resumed run writes its last steps again."""
    if index.offset > size:
        return False
    file.seek(index.offset - len(index.mark))
    return file.read(len(index.mark)) == index.mark


def _sample(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int and abs(row["step"]) < 2**62 else None


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def _page(file: BinaryIO, index: _Index, *, step: int | None, order: Order, start: int, count: int) -> dict[str, Any]:
    if not index.places:
        return {"total": 0, "step": None, "steps": None, "spread": None, "rows": []}
    steps = index.steps
    chosen: list[int] = list(range(len(steps)))
    if step is not None:
        wanted = step
        step = min(set(steps), key=lambda each: (abs(each - wanted), each))
        chosen = [number for number in chosen if steps[number] == step]
    known = [value for number in chosen if math.isfinite(value := index.rewards[number])]
    if order in ("highest", "lowest"):
        side = -1 if order == "highest" else 1
        # One without a reward stands last in either order.
        chosen.sort(key=lambda number: (math.isnan(index.rewards[number]), side * index.rewards[number], -number))
    elif order == "newest":
        chosen.reverse()
    shown = chosen[max(start, 0) : max(start, 0) + count]
    mean = math.fsum(value / len(known) for value in known)
    spread = {"lowest": min(known), "mean": mean, "highest": max(known)} if known else None
    return {
        "total": len(chosen), "step": step, "steps": {"first": min(steps), "last": max(steps)}, "spread": spread,
        "rows": [row for number in shown if (row := _row(file, index, number, FOLDED)) is not None],
    }  # fmt: skip


def _row(file: BinaryIO, index: _Index, number: int, most: int) -> dict[str, Any] | None:
    """A sample as the page shows it; None when its line is another one by now."""
    file.seek(index.places[number])
    row = _sample(file.readline(_LONGEST_LINE))
    if row is None:
        return None
    messages = row.get("messages")
    told = [each for each in messages if isinstance(each, Mapping)] if isinstance(messages, list) else []
    return {
        "number": number, "step": row["step"],
        **{name: _plain(row.get(name)) for name in ("reward", "kl", "tokens")},
        "messages": [
            {"role": visible(str(each.get("role", ""))[:_LONGEST_ROLE]), **_text(each.get("content"), most)}
            for each in told[-_MOST_MESSAGES:]
        ],
        "left_out": max(len(told) - _MOST_MESSAGES, 0),
        "answer": _text(row.get("answer"), most),
    }  # fmt: skip


def _plain(value: Any) -> float | None:
    """A number that JSON has a word for, else None."""
    return value if type(value) in (int, float) and math.isfinite(_number(value)) else None


def _text(value: Any, most: int) -> dict[str, Any]:
    """A text cut to what is shown, with everything that could hide or turn it written out, and its whole length."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return {"text": visible(text[:most]), "length": len(text), "folded": len(text) > most}


def read_scores(path: Path) -> dict[str, Any]:
    """The splits that a reward model was measured on, those alone whose numbers can be drawn; {} for none."""
    try:
        if path.stat().st_size > _MOST_SCORES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return {}
    splits = found.get("splits") if isinstance(found, dict) else None
    told = splits.items() if isinstance(splits, dict) else ()
    return {visible(str(name)[:_LONGEST_ROLE]): split for name, each in told if (split := _drawable(each))}


def _drawable(split: Any) -> dict[str, Any]:
    """What is known of a split, without what is not; {} where its histogram cannot be drawn."""
    if not isinstance(split, dict) or not isinstance(edges := split.get("edges"), list):
        return {}
    known: dict[str, Any] = {name: _plain(split.get(name)) for name in ("pairs", "accuracy", "margin")}
    lists = {name: _numbers(split.get(name)) for name in ("interval", "edges", "chosen", "rejected")}
    counts, bins = (lists["chosen"], lists["rejected"]), len(edges) - 1
    if None in (known["pairs"], known["accuracy"], lists["edges"], *counts):
        return {}
    if any(len(count or ()) != bins for count in counts):
        return {}
    return {name: value for name, value in {**known, **lists}.items() if value is not None}


def _numbers(values: Any) -> list[Any] | None:
    """The same list when it holds nothing but finite numbers."""
    return values if isinstance(values, list) and all(_plain(each) is not None for each in values) else None
