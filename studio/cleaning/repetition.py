"""Text that repeats itself, by the rules of Gopher: lines, paragraphs and sequences of words.

Rules and thresholds: J. Rae and others, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
arXiv 2112.11446, table A1. The rules there follow one that asks for 50 words, so shorter texts are not judged here.
A word counts as three characters in scripts without spaces, so a sequence of n words is one of 3n characters there: at
two, articles fall over the name of what they are about.
Shares are of the characters of words: spaces and punctuation count for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from studio.cleaning.units import Counts, Hashes, Units, grams

FEWEST_WORDS = 50
CHARACTERS_OF_A_WORD = 3
_PARAGRAPHS = re.compile(r"\n\s*\n")
# A mark of the text and one of the sequence share 64 bits: two sequences of 100,000 in a text are taken for one with a
# chance of 0.0003.
_ROW_BITS = 20


@dataclass(frozen=True)
class Limits:
    """The highest shares; `top` and `repeated` lead from n to the share."""

    lines: float
    line_characters: float
    top: Mapping[int, float]
    repeated: Mapping[int, float]


def repeating(texts: Sequence[str], units: Units, limits: Limits) -> list[str]:
    """For each text the rule that it breaks, in words; "" for one that breaks none."""
    counts = np.diff(units.starts)
    scale = np.where(units.single >= 0.5, CHARACTERS_OF_A_WORD, 1)
    judged = counts >= FEWEST_WORDS * scale
    found = [_in_lines(text, limits) if judge else "" for text, judge in zip(texts, judged, strict=True)]
    for number in np.flatnonzero(judged & _suspects(units, limits, scale)):
        if not found[number]:
            own = slice(units.starts[number], units.starts[number + 1])
            found[number] = _in_words(units.hashes[own], units.lengths[own], int(scale[number]), limits)
    return found


def _in_lines(text: str, limits: Limits) -> str:
    if "\n" not in text:
        return ""
    for what, parts in (("paragraphs", _PARAGRAPHS.split(text)), ("lines", text.split("\n"))):
        # A line that ends in a colon names who speaks, as in plays.
        kept = [part for part in map(str.strip, parts) if part and part[-1] not in ":：∶"]
        again = len(kept) - len(set(kept))
        if not again:
            continue
        if again / len(kept) > limits.lines:
            return f"repeated {what}"
        characters = sum(map(len, kept))
        if (characters - sum(map(len, set(kept)))) / characters > limits.line_characters:
            return f"characters in repeated {what}"
    return ""


def _suspects(units: Units, limits: Limits, scale: Counts) -> npt.NDArray[np.bool_]:
    """Texts that may break a rule on words: none that does is missed.

    A sequence of n words is at most as frequent as its first two, and one that stood before begins with as many words
    as the shortest rule asks for that stood before. So two sorted lists for all texts tell most of them innocent.
    """
    texts = len(units.starts) - 1
    counts = np.diff(units.starts)
    suspects = np.zeros(texts, np.bool_)
    if not len(units.hashes):
        return suspects
    longest = np.zeros(texts, np.int64)
    longest[counts > 0] = np.maximum.reduceat(units.lengths, units.starts[:-1][counts > 0])
    characters = np.diff(np.concatenate(([0], np.cumsum(units.lengths)))[units.starts])
    for size, limit, top in _shortest(limits):
        if not limit:
            continue
        for factor in (1, CHARACTERS_OF_A_WORD):
            mine = scale == factor
            if mine.any():
                most, again = _repeats(units, size * factor, texts)
                # The longest sequence of the rules, all of it in the longest words.
                seen = most * max(limits.top) if top else again * size
                suspects |= mine & (seen * factor * longest > limit * characters)
    return suspects


def _shortest(limits: Limits) -> list[tuple[int, float, bool]]:
    """(n of the shortest rule, lowest limit, whether it is on the most frequent) of both kinds of rules."""
    return [
        (min(rules), min(rules.values()), top) if rules else (0, 0.0, top)
        for rules, top in ((limits.top, True), (limits.repeated, False))
    ]


def _repeats(units: Units, size: int, texts: int) -> tuple[Counts, Counts]:
    """For each text how often its most frequent sequence stands there, and how many stood there before."""
    # Rows share the array, so a sequence must end in the text where it begins.
    made = grams(units.hashes, size)
    row = np.repeat(np.arange(texts), np.diff(units.starts))[: len(made)]
    whole = np.arange(len(made)) + size <= units.starts[row + 1]
    most, again = np.zeros(texts, np.int64), np.zeros(texts, np.int64)
    for block in range(0, texts, 1 << _ROW_BITS):
        mine = whole & (row >= block) & (row < block + (1 << _ROW_BITS))
        bits = np.uint64(64 - _ROW_BITS)
        keys = np.sort(((row[mine] - block).astype(np.uint64) << bits) | (made[mine] >> np.uint64(_ROW_BITS)))
        first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, int)
        times = np.diff(np.append(first, len(keys)))
        owner = (keys[first] >> bits).astype(np.int64) + block
        np.maximum.at(most, owner, np.where(times > 1, times, 0))
        np.add.at(again, owner, times - 1)
    return most, again


def _in_words(hashes: Hashes, lengths: Counts, scale: int, limits: Limits) -> str:
    total = int(lengths.sum())
    before = np.concatenate(([0], np.cumsum(lengths)))
    for n, limit in sorted(limits.top.items()):
        made = grams(hashes, n * scale)
        _, first, times = np.unique(made, return_index=True, return_counts=True)
        sizes = (before[first + n * scale] - before[first]) * times
        # Twice is no habit yet: a text of 50 words would fall over one name of two long words.
        if (sizes[times > 2] > limit * total).any():
            return f"most frequent {n}-gram"
    for n, limit in sorted(limits.repeated.items()):
        size = n * scale
        made = grams(hashes, size)
        _, first = np.unique(made, return_index=True)
        again = np.ones(len(made), np.int8)
        again[first] = 0
        # Each character counts once, in however many sequences it stands.
        edges = np.zeros(len(hashes) + 1, np.int64)
        starts = np.flatnonzero(again)
        np.add.at(edges, starts, 1)
        np.add.at(edges, starts + size, -1)
        if lengths[np.cumsum(edges[:-1]) > 0].sum() > limit * total:
            return f"repeated {n}-grams"
    return ""
