"""Rewards for the examples: a function takes the samples of a step and gives a number for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Words of an answer that is neither curt nor long.
AIM = 30


def brief(samples: Sequence[Any]) -> list[float]:
    """1 for an answer of about thirty words that ends a sentence, less the farther it is from that."""
    scores = []
    for sample in samples:
        words = len(sample.answer.split())
        ends = sample.answer.rstrip().endswith((".", "!", "?", "。", "！", "？"))
        scores.append(max(0.0, 1.0 - abs(words - AIM) / AIM) * (1.0 if ends else 0.5))
    return scores
