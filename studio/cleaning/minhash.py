"""MinHash with LSH: rows that share most of their word sequences get, but for chance, a common key.

A. Broder, "On the resemblance and containment of documents", 1997; bands as in J. Leskovec, A. Rajaraman, J. Ullman,
"Mining of Massive Datasets", chapter 3. Hash functions are multiply-add-shift (M. Dietzfelbinger, 1996).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from studio.cleaning.units import Counts, Hashes, mixed

# Hash functions at most: each costs as much as all others.
_MOST = 72
_FOUND = 0.99
_SEED = 20_260_101
# Sequences worked on at a time: the arrays stay in the processor's cache.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class Bands:
    """So many keys a row, each made of so many hash functions."""

    bands: int
    rows: int

    def chance(self, similarity: float) -> float:
        """How likely two rows of a similarity have a key in common."""
        return 1 - float((1 - similarity**self.rows) ** self.bands)


def bands_for(threshold: float) -> Bands:
    """The bands with which at least 99 of 100 pairs at the threshold meet, and as few as can be below it."""
    if threshold == 1:
        return Bands(1, 8)
    found = Bands(1, 1)
    for rows in range(1, 9):
        bands = math.ceil(math.log(1 - _FOUND) / math.log(1 - threshold**rows))
        if bands * rows <= _MOST:
            found = Bands(bands, rows)
    return found


def keys_of(shingles: Hashes, starts: Counts, how: Bands) -> Hashes:
    """The keys [texts, bands] of texts by the hashes of their sequences; a text has at least one of them."""
    functions = how.bands * how.rows
    random = np.random.default_rng(_SEED)
    times = random.integers(0, 2**63, functions, np.uint64) * np.uint64(2) + np.uint64(1)
    plus = random.integers(0, 2**63, functions, np.uint64)
    texts = len(starts) - 1
    least = np.empty((functions, texts), np.uint64)
    for first, last in _blocks(starts):
        part = shingles[starts[first] : starts[last]]
        at = starts[first:last] - starts[first]
        room = np.empty_like(part)
        for number in range(functions):
            np.multiply(part, times[number], out=room)
            np.add(room, plus[number], out=room)
            # The upper half of the bits is the hash.
            np.right_shift(room, np.uint64(32), out=room)
            np.minimum.reduceat(room, at, out=least[number, first:last])
    keys = np.empty((texts, how.bands), np.uint64)
    for band in range(how.bands):
        key = np.full(texts, band + 1, np.uint64)
        for row in range(how.rows):
            key = mixed(key * np.uint64(0x9E3779B97F4A7C15) + least[band * how.rows + row])
        keys[:, band] = key
    return keys


def _blocks(starts: Counts) -> list[tuple[int, int]]:
    """Ranges of texts with about _BLOCK sequences each."""
    found, first = [], 0
    texts = len(starts) - 1
    while first < texts:
        last = int(np.searchsorted(starts, starts[first] + _BLOCK, "right")) - 1
        last = min(max(last, first + 1), texts)
        found.append((first, last))
        first = last
    return found


def similarity(one: Hashes, other: Hashes) -> float:
    """The share of all different sequences of two texts that both have (Jaccard)."""
    both = len(np.intersect1d(np.unique(one), np.unique(other), assume_unique=True))
    every = len(np.unique(one)) + len(np.unique(other)) - both
    return both / every if every else 1.0
