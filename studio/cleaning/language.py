"""Which language a text is in, by py3langid: its model is in the package, and nothing is fetched."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from studio.errors import ArgumentError
from studio.registry import did_you_mean

# Characters that are looked at: the identifier reads byte by byte, so most rows have to pass on few of them.
_HEAD, _LONGER_HEAD = 240, 1_200
# Below this the first guess is no more than that.
FEWEST_LETTERS = 15
# Written Chinese of older times or other regions is often taken for these: who asks for zh means them too.
_CHINESE = frozenset(("zh", "wuu", "yue", "lzh"))
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
# Japanese and Korean have Han characters as well.
_NEIGHBOURS = re.compile("[\u3041-\u30ff\uac00-\ud7af]")


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def check_codes(codes: Sequence[str]) -> None:
    """Raise ArgumentError for codes of languages that cannot be told."""
    known = _identifier().labels if codes else []
    said = [
        f"--languages {code}: must be among the {len(known)} languages that can be told "
        f"({', '.join(sorted(known)[:8])} …); it is not.{did_you_mean(code, known)} Correct the code (ISO 639)."
        for code in codes
        if code not in known
    ]
    if said:
        raise ArgumentError(said)


def foreign(text: str, wanted: Sequence[str], confidence: float) -> str:
    """The language of a text that is not among the wanted ones, when that is sure enough; else ""."""
    for size in (_HEAD, _LONGER_HEAD):
        head = text[:size]
        if len(head) < 4 * FEWEST_LETTERS and sum(map(str.isalpha, head)) < FEWEST_LETTERS:
            return ""
        if "zh" in wanted and _is_han(head):
            return ""
        code, sure = _identifier().classify(head)
        if code in wanted or sure < confidence or (code in _CHINESE and "zh" in wanted):
            return ""
        if len(text) <= size:
            break
    return str(code)


def _is_han(text: str) -> bool:
    """Whether half of a text or more is Han, and nothing in it is Japanese or Korean."""
    return not text.isascii() and 2 * len(_HAN.findall(text)) >= len(text) and not _NEIGHBOURS.search(text)
