"""What a source of rewards is given and what it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from studio.errors import RewardError, counted


@dataclass(frozen=True)
class Sample:
    """An answer to be judged: the conversation in front of it, the answer as text, and both as ids.

    `row` is what the dataset says of the prompt besides: `answer` (the one that its row gives, or "") and `tools`.
    """

    messages: tuple[Mapping[str, Any], ...]
    answer: str
    prompt_ids: Sequence[int] = ()
    answer_ids: Sequence[int] = ()
    row: Mapping[str, Any] = field(default_factory=dict)


class Reward(Protocol):
    """A source of rewards; `name` is what logs call it."""

    name: str

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One finite number for each sample, in their order. Raises StudioError."""


def numbers(given: Any, count: int, said: str) -> list[float]:
    """What a source of rewards gave, as `count` finite numbers; `said` is how sentences call the source.

    Raises RewardError for anything else.
    """
    remedy = f"It must give one finite number for each of the {counted(count, 'answer')}."
    try:
        values = [float(each) if not isinstance(each, str | bytes) else float("no") for each in given]
    except (TypeError, ValueError, OverflowError):
        raise RewardError(f"{said} gave {str(given)[:120]!r}, which are no numbers. {remedy}") from None
    if len(values) != count:
        raise RewardError(f"{said} gave {counted(len(values), 'number')}. {remedy}")
    if wrong := [value for value in values if not math.isfinite(value)]:
        raise RewardError(f"{said} gave {wrong[0]}. {remedy}")
    return values
