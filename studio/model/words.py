"""Ids of a text, word by word, with the words that were met before looked up: the same ids, several times faster.

A byte-level BPE tokenizer splits a text into words by a regular expression and encodes each by itself, so a word has
the same ids wherever it stands. Splitting in one pass and looking words up costs a fraction of what `tokenizers` needs
on one core; it gains by threads, so this way is taken where few of them may be used. A tokenizer whose rules are not
among those known here, and a text with characters of which the two libraries might think otherwise, go the other way.
"""

from __future__ import annotations

import functools
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from studio.model.coverage import byte_alphabet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

# `tokenizers` with more threads than this is as fast.
FEW_THREADS = 4
# Words that are kept, and the longest of them: others are encoded each time.
_MOST_WORDS, _LONGEST_WORD = 400_000, 60

# GPT-2's words, as the ByteLevel rule of `tokenizers` finds them.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same between digits that stand alone: a digit ends the text for the words before it.
_GPT2_DIGITS = r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
# Characters whose kind (letter, number, space, other) has been the same in Unicode for long.
_KNOWN = (
    "\t\n\r\u0020-\u007e\u00a0-\u0377\u037a-\u037f\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u0527\u05d0-\u05ea"
    "\u0621-\u064a\u0660-\u0669\u0e01-\u0e3a\u0e3f-\u0e5b\u1e00-\u1f15\u2010-\u2027\u2030-\u205e\u20a0-\u20b5\u2100-\u214f"
    "\u2190-\u23f3\u2460-\u26ff\u2701-\u27bf\u3000-\u303f\u3041-\u3096\u3099-\u30ff\u4e00-\u9fa5\uac00-\ud7a3"
    "\uff01-\uffbe\U0001f300-\U0001f320\U0001f330-\U0001f335\U0001f400-\U0001f43e\U0001f600-\U0001f64f"
)


class Words:
    """The words of one tokenizer with their ids, as far as they were met."""

    def __init__(self, fast: Tokenizer, words: re.Pattern[str], added: dict[str, int], *, composed: bool) -> None:
        self._fast, self._words, self._added, self._composed = fast, words, added, composed
        self._known = _Known(fast)
        self._odd = re.compile(f"[^{_KNOWN}]")
        longest_first = sorted(added, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if added else None

    def ids(self, text: str) -> list[int] | None:
        """The ids of a text without any that are put around it; None where `tokenizers` must say them."""
        if self._odd.search(text) or (self._composed and not unicodedata.is_normalized("NFC", text)):
            return None
        look = self._known.__getitem__
        if self._marks is None:
            return list(chain.from_iterable(map(look, self._words.findall(text))))
        found: list[int] = []
        for at, part in enumerate(self._marks.split(text)):
            if at % 2:
                found.append(self._added[part])
            elif part:
                found += chain.from_iterable(map(look, self._words.findall(part)))
        return found


class WordIds:
    """What `tokenizers` calls an encoding, as far as rendering asks: ids, and the characters of a token."""

    __slots__ = ("_ends", "_text", "_widths", "ids")

    def __init__(self, ids: list[int], text: str, widths: NDArray[np.int32]) -> None:
        self.ids, self._text, self._widths = ids, text, widths
        self._ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def token_to_chars(self, token: int) -> tuple[int, int]:
        """The first character that a token has a byte of, and the one behind its last."""
        if self._ends is None:
            self._ends = self._widths[self.ids].cumsum()
        start, end = int(self._ends[token - 1]) if token else 0, int(self._ends[token])
        if self._text.isascii():
            return start, end
        written = self._text.encode()
        # A character that is cut has begun already.
        behind = len(written[:end].decode(errors="ignore"))
        return len(written[:start].decode(errors="ignore")), behind + (
            end < len(written) and written[end] & 0xC0 == 0x80
        )


class _Known(dict[str, Sequence[int]]):
    """Word → ids; a word that is missing is encoded."""

    def __init__(self, fast: Tokenizer) -> None:
        super().__init__()
        self._model: Any = fast.model
        self._letters = {byte[0]: letter for letter, byte in byte_alphabet().items()}

    def __missing__(self, word: str) -> Sequence[int]:
        written = word.encode().decode("latin-1").translate(self._letters)
        ids = tuple(token.id for token in self._model.tokenize(written))
        if len(word) <= _LONGEST_WORD:
            if len(self) >= _MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids


def few_threads() -> bool:
    """Whether `tokenizers` may use so few threads that looking words up is faster."""
    if os.environ.get("TOKENIZERS_PARALLELISM", "").lower() in ("false", "0", "off", "no", "f", "n"):
        return True
    asked = os.environ.get("RAYON_NUM_THREADS", "")
    return (int(asked) if asked.isdigit() and int(asked) else os.cpu_count() or 1) <= FEW_THREADS


def words_of(fast: Tokenizer) -> Words | None:
    """The words of a byte-level BPE tokenizer; None when its rules are not among the known ones."""
    pattern = _pattern(_rules(fast.pre_tokenizer))
    added = fast.get_added_tokens_decoder()
    plain = all(not (token.lstrip or token.rstrip or token.single_word) for token in added.values())
    if pattern is None or not plain or len({token.normalized for token in added.values()}) > 1:
        return None
    normalizer = _rules(fast.normalizer)
    if fast.truncation or fast.padding or normalizer not in ({}, {"type": "NFC"}):
        return None
    known = {token.content: number for number, token in added.items() if token.content}
    return Words(fast, re.compile(pattern), known, composed=bool(normalizer))


def _rules(part: Any) -> dict[str, Any]:
    """A part of a tokenizer as tokenizer.json writes it; {} for none."""
    found: dict[str, Any] = {} if part is None else json.loads(part.__getstate__())
    return found


def _pattern(rules: dict[str, Any]) -> str | None:
    """The expression that finds the words; None for rules that are not known."""
    steps = rules.get("pretokenizers", []) if rules.get("type") == "Sequence" else [rules]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    first, by_bytes = steps[:-1], steps[-1]
    if not first:
        return _spelled(_GPT2) if by_bytes.get("use_regex", True) else None
    if len(first) > 1:
        return None
    (rule,) = first
    if rule.get("type") == "Digits" and rule.get("individual_digits") and by_bytes.get("use_regex", True):
        return _spelled(_GPT2_DIGITS)
    if rule.get("type") == "Split" and not by_bytes.get("use_regex", True):
        expression = (rule.get("pattern") or {}).get("Regex", "")
        whole = rule.get("behavior") == "Isolated" and not rule.get("invert")
        return _spelled(expression) if expression in KNOWN_SPLITS and whole else None
    return None


# How Qwen 2 and 3 and Llama 3 find words: each text is wholly taken up by them.
KNOWN_SPLITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def _spelled(expression: str) -> str:
    """The expression as `re` reads it: the kinds of characters written out, as far as they are known here.

    Contractions are taken in both cases, but not in letters of other scripts that fold to theirs.
    """
    for written, plain in (
        ("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"),
        (r"[^\r\n\p{L}\p{N}]", rf"[^\r\n{_kind('L')}{_kind('N')}]"),
        (r"[^\s\p{L}\p{N}]", f"[^{_kind('Z')}{_kind('L')}{_kind('N')}]"),
        (r"[^\s\p{N}]", f"[^{_kind('Z')}{_kind('N')}]"),
        (r"\p{L}", f"[{_kind('L')}]"),
        (r"\p{N}", f"[{_kind('N')}]"),
        (r"\s", f"[{_kind('Z')}]"),
        (r"\S", f"[^{_kind('Z')}]"),
    ):
        expression = expression.replace(written, plain)
    return expression


@functools.cache
def _kind(kind: str) -> str:
    """The known characters of a kind (L letters, N numbers, Z white space) as a class of `re` without its brackets."""
    known = re.compile(f"[{_KNOWN}]")
    # Tab and line ends are white space, but in Unicode's categories they are controls.
    spaces = "\t\n\r" if kind == "Z" else ""
    told = [
        code
        for code, letter in enumerate(map(chr, range(0x20000)))
        if known.match(letter) and (unicodedata.category(letter)[0] == kind or letter in spaces)
    ]
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _runs(told))


def _runs(codes: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers in order → the first and last of each run."""
    runs: list[tuple[int, int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1] = (runs[-1][0], code)
        else:
            runs.append((code, code))
    return runs
