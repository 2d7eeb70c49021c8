"""Scripts by their blocks of Unicode, and which pieces of text belong to those that a vocabulary is to learn."""

from __future__ import annotations

import bisect
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from studio.errors import ArgumentError

AUTO, ANY = "auto", "any"
_SHARED_CJK = ((0x3000, 0x303F), (0xFF00, 0xFFEF), (0xFE30, 0xFE4F))
BLOCKS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "han": ((0x2E80, 0x2FDF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF), *_SHARED_CJK),
    "kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF), *_SHARED_CJK),
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    "cyrillic": ((0x0400, 0x052F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "greek": ((0x0370, 0x03FF), (0x1F00, 0x1FFF)),
    "arabic": ((0x0600, 0x06FF), (0x0750, 0x077F), (0x08A0, 0x08FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFE)),
    "hebrew": ((0x0590, 0x05FF), (0xFB1D, 0xFB4F)),
    "armenian": ((0x0530, 0x058F),),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF)),
    "ethiopic": ((0x1200, 0x139F),),
    "devanagari": ((0x0900, 0x097F), (0xA8E0, 0xA8FF)),
    "bengali": ((0x0980, 0x09FF),),
    "gurmukhi": ((0x0A00, 0x0A7F),),
    "gujarati": ((0x0A80, 0x0AFF),),
    "tamil": ((0x0B80, 0x0BFF),),
    "telugu": ((0x0C00, 0x0C7F),),
    "kannada": ((0x0C80, 0x0CFF),),
    "malayalam": ((0x0D00, 0x0D7F),),
    "sinhala": ((0x0D80, 0x0DFF),),
    "thai": ((0x0E00, 0x0E7F),),
    "lao": ((0x0E80, 0x0EFF),),
    "tibetan": ((0x0F00, 0x0FFF),),
    "myanmar": ((0x1000, 0x109F), (0xAA60, 0xAA7F)),
    "khmer": ((0x1780, 0x17FF),),
    "mongolian": ((0x1800, 0x18AF),),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
}
# What takes at least this share of the letters besides Latin ones is the language that a text is written in.
MUCH = 0.1


@dataclass(frozen=True)
class Rule:
    """Which texts may become tokens: all ("any"), or runs of the characters of `names`, with one space before.

    Such a token occurs in no text without a character of these scripts, so that other text keeps its ids. Tokens
    that are part of a character count where all characters that they can begin are of these scripts.
    """

    names: tuple[str, ...]
    longest: int

    @property
    def all(self) -> bool:
        """Whether every text may become a token."""
        return self.names == (ANY,)

    @cached_property
    def _ranges(self) -> list[tuple[int, int]]:
        return sorted({block for name in self.names for block in BLOCKS[name]})

    @cached_property
    def _starts(self) -> list[int]:
        return [first for first, _ in self._ranges]

    def has(self, point: int) -> bool:
        """Whether a code point belongs to the scripts."""
        return self._covers(point, point)

    def _covers(self, first: int, last: int) -> bool:
        at = bisect.bisect_right(self._starts, first)
        return any(low <= first and last <= high for low, high in self._ranges[max(at - 2, 0) : at])

    def touches(self, text: str) -> bool:
        """Whether a text has a character of the scripts; with "any" each has."""
        return self.all or any(self.has(ord(character)) for character in set(text))

    def fits(self, content: bytes) -> bool:
        """Whether a piece of text, or a part of one character, may be a token."""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return self._begins_one(content)
        if len(text) > self.longest:
            return False
        if self.all:
            return True
        inner = text.removeprefix(" ")
        return bool(inner) and all(self.has(ord(character)) for character in inner)

    def _begins_one(self, content: bytes) -> bool:
        """Whether bytes are a part of one character, and, but for "any", the beginning of one of the scripts."""
        part = content.removeprefix(b" ")
        if self.all and all(0x80 <= byte < 0xC0 for byte in part):
            return len(part) < 4
        span = _span(part)
        return span is not None and (self.all or self._covers(*span))

    def usable(self, content: bytes) -> bool:
        """Whether a token may be a part of one that fits; a text is cut at those that are not."""
        try:
            content.decode()
        except UnicodeDecodeError:
            return True
        return content == b" " or self.fits(content)


def _span(part: bytes) -> tuple[int, int] | None:
    """The characters that begin with these bytes, first and last; None when it is not the beginning of one."""
    if not part or not 0xC2 <= part[0] <= 0xF4 or not all(0x80 <= byte < 0xC0 for byte in part[1:]):
        return None
    size = 2 if part[0] < 0xE0 else 3 if part[0] < 0xF0 else 4
    missing = size - len(part)
    if missing < 1:
        return None
    point = part[0] & (0xFF >> (size + 1))
    for byte in part[1:]:
        point = point << 6 | byte & 0x3F
    return point << 6 * missing, (point + 1 << 6 * missing) - 1


def script_of(character: str) -> str:
    """The script of a letter; "" for what is none, "other" for one that is not listed."""
    if unicodedata.category(character)[0] not in "LM":
        return ""
    point = ord(character)
    return next((name for name, blocks in BLOCKS.items() if any(a <= point <= b for a, b in blocks)), "other")


def letters(texts: Iterable[str]) -> Counter[str]:
    """How many letters of each script there are."""
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    found: Counter[str] = Counter()
    for character, count in characters.items():
        if name := script_of(character):
            found[name] += count
    return found


def chosen(asked: Sequence[str], texts: Iterable[str]) -> tuple[tuple[str, ...], str]:
    """The scripts to learn, and a sentence about it; "auto" takes those of the texts besides Latin.

    Raises ArgumentError when the texts have no character of the scripts that are named.
    """
    found = letters(texts)
    if tuple(asked) == (ANY,):
        return (ANY,), "tokens may be made of any text, so old text may get other ids"
    if tuple(asked) != (AUTO,):
        if not any(found[name] for name in asked):
            raise ArgumentError([
                f"--scripts {','.join(asked)}: the texts must have characters of the new language; they have none. "
                f"Their letters are {_told(found) or 'none at all'}. Name other datasets, or other scripts."
            ])  # fmt: skip
        return tuple(asked), f"only runs of {', '.join(asked)} become tokens; other text keeps its ids"
    total = sum(found.values())
    names = tuple(n for n, c in found.most_common() if n not in ("latin", "other") and c >= MUCH * total)
    if not names:
        raise ArgumentError([
            f"--scripts auto: the texts must be in a script other than Latin; they have {_told(found) or 'none'}."
            " Name the scripts, or any to make tokens of all text."
        ])  # fmt: skip
    return names, f"letters of the texts: {_told(found)}; only runs of {', '.join(names)} become tokens"


def _told(found: Counter[str]) -> str:
    total = max(sum(found.values()), 1)
    return ", ".join(f"{name} {count / total:.1%}" for name, count in found.most_common(4))
