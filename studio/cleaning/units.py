"""Texts as units: words, and single characters of languages that are written without spaces. Many texts at once.

A unit is a run of letters, marks and digits, a single character of a script without spaces (Han, Kana, Thai and the
like), or a sign that changes a meaning (`+`, `-`, `=`, `€`). Other punctuation and white space are none. Letters count
as small ones, full-width forms as usual ones. Units are 64-bit hashes: all work is done by numpy on whole arrays.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

SPACE, WORD, SINGLE, SIGN, POINT = range(5)
# Planes 0 and 1; what lies above is Han, then tags.
_TABLE = 0x20000
_SIGNS = frozenset("+-*/%=<>^~|&$#@\\")
_UNSPACED = (
    (0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3031, 0x3035),
    (0x3041, 0x30FF), (0x3105, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF), (0xFF66, 0xFF9F),
)  # fmt: skip
_STEP, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_POWERS: Hashes = np.cumprod(np.full(256, _STEP, np.uint64), dtype=np.uint64)


@dataclass(frozen=True)
class Units:
    """The units of some texts, those of one text after those of the one before.

    `hashes` [units] and `lengths` [units] in characters; `starts` [texts + 1] is where the units of each text begin.
    `single` [texts] is the share of units that are characters of scripts without spaces, `signs` [texts] the share of
    characters that are neither letters, digits nor white space.
    """

    hashes: Hashes
    lengths: Counts
    starts: Counts
    single: npt.NDArray[np.float64]
    signs: npt.NDArray[np.float64]

    def of(self, text: int) -> Hashes:
        """The units of one text, in order."""
        return self.hashes[self.starts[text] : self.starts[text + 1]]

    def digest(self, text: int, raw: str) -> bytes:
        """16 bytes that are equal for texts of equal units; `raw` counts where a text has none."""
        own = self.of(text)
        content = own.tobytes() if len(own) else raw.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=16).digest()


def units_of(texts: Sequence[str]) -> Units:
    """The units of texts."""
    classes, folded = _tables()
    # A NUL ends each text, so that no unit goes on in the next.
    codes = np.frombuffer("".join(f"{text}\0" for text in texts).encode("utf-32-le", "surrogatepass"), "<u4")
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64)
    inside = np.minimum(codes, _TABLE - 1)
    kinds = classes[inside]
    kinds[codes >= _TABLE] = SINGLE
    code = np.where(codes < _TABLE, folded[inside], codes)
    begins = (kinds == SINGLE) | (kinds == SIGN)
    begins[:1] |= kinds[:1] == WORD
    begins[1:] |= (kinds[1:] == WORD) & (kinds[:-1] != WORD)
    bounds = np.concatenate(([0], ends))
    counted = _per_text(kinds != SPACE, bounds)
    signs = _per_text((kinds == SIGN) | (kinds == POINT), bounds) / np.maximum(counted, 1)
    within = np.flatnonzero((kinds == WORD) | begins)
    at = np.flatnonzero(begins[within])
    if not len(at):
        nothing = np.zeros(len(texts) + 1, np.int64)
        return Units(np.zeros(0, np.uint64), np.zeros(0, np.int64), nothing, np.zeros(len(texts)), signs)
    lengths = np.diff(np.append(at, len(within)))
    place = np.arange(len(within)) - np.repeat(at, lengths)
    hashes = mixed(np.add.reduceat(mixed(code[within].astype(np.uint64)) * _POWERS[place & 255], at))
    first = within[at]
    starts = np.searchsorted(first, bounds).astype(np.int64)
    alone = _per_text(kinds[first] == SINGLE, starts)
    return Units(hashes, lengths, starts, alone / np.maximum(np.diff(starts), 1), signs)


def shingles(units: Units, sizes: npt.NDArray[np.int64]) -> tuple[Hashes, Counts]:
    """Hashes of all sequences of `sizes[text]` units, and where those of each text begin [texts + 1].

    A text with fewer units has one sequence: all of them. One without units has none.
    """
    count = np.diff(units.starts)
    end = np.repeat(units.starts[1:], count)
    size = np.repeat(sizes, count)
    at = np.arange(len(units.hashes))
    total = np.zeros(len(units.hashes), np.uint64)
    longest = int(sizes.max(initial=0))
    padded = np.concatenate((units.hashes, np.zeros(longest, np.uint64)))
    for step in range(longest):
        here = padded[step : step + len(at)]
        total += np.where((at + step < end) & (step < size), here, np.uint64(0)) * _POWERS[step & 255]
    whole = at + size <= end
    whole[units.starts[:-1][count > 0]] = True
    bounds = np.concatenate(([0], np.cumsum(whole)))[units.starts]
    return mixed(total[whole]), bounds.astype(np.int64)


def grams(hashes: Hashes, size: int) -> Hashes:
    """Hashes of all sequences of `size` units, at the place of their first; unaware of where texts end."""
    count = max(len(hashes) - size + 1, 0)
    total = np.zeros(count, np.uint64)
    for step in range(size):
        total += hashes[step : step + count] * _POWERS[step & 255]
    return mixed(total)


def mixed(values: Hashes) -> Hashes:
    """Each value spread over all 64 bits (the finaliser of SplitMix64, G. Steele and others, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * _MIX
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _per_text(flags: npt.NDArray[Any], bounds: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How many flags are set between each bound and the next."""
    sums = np.concatenate(([0], np.cumsum(flags, dtype=np.int64)))
    return cast("npt.NDArray[np.int64]", np.diff(sums[bounds]))


@functools.cache
def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """For each character of the first planes its class, and the one that it counts as."""
    classes = np.empty(_TABLE, np.uint8)
    folded = np.arange(_TABLE, dtype=np.uint32)
    for code in range(_TABLE):
        char = chr(code)
        kind = unicodedata.category(char)
        if kind[0] in "LNM":
            classes[code] = WORD
            small = char.lower()
            if len(small) == 1 and ord(small) < _TABLE:
                folded[code] = ord(small)
        elif kind[0] in "ZC":
            classes[code] = SPACE
        else:
            classes[code] = SIGN if kind[0] == "S" or char in _SIGNS else POINT
    for first, last in _UNSPACED:
        part = classes[first : last + 1]
        part[part == WORD] = SINGLE
    # The full-width forms of ASCII.
    for code in range(0xFF01, 0xFF5F):
        classes[code], folded[code] = classes[code - 0xFEE0], folded[code - 0xFEE0]
    return classes, folded
