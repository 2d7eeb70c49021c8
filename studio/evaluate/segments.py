"""Text into the units that are compared: words where a script has spaces, characters where it has none. Light."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Scripts that are written without spaces: Han, kana, bopomofo, and Thai, Lao, Burmese, Khmer.
_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_OTHERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3105-\u312f"
_UNIT = re.compile(f"[{_HAN}{_KANA}{_OTHERS}]|[^\\W_{_HAN}{_KANA}{_OTHERS}]+")
_PIECE = re.compile(f"{_UNIT.pattern}|[^\\w\\s]|_")
# No language has words so long.
_LONGEST = 40
_IS_HAN, _IS_KANA, _IS_OTHER = (re.compile(f"[{marks}]") for marks in (_HAN, _KANA, _OTHERS))
_LETTER = re.compile(r"[^\W\d_]")
# From so large a share of its letters on a text counts as one of that script; names and terms stay below it.
_SHARE, _KANA_SHARE = 0.2, 0.05
_QUOTES = "\"'`“”‘’«»「」『』"
_ENDS = ".,;:!?。，、；：！？…"


def units(text: str) -> list[str]:
    """The units of a text in small letters: runs of letters and digits, and each character of Chinese and its like.

    Punctuation is left out. For English these are the words that the reference implementation of ROUGE takes.
    """
    return _UNIT.findall(text.lower())


def pieces(text: str) -> list[str]:
    """The units of a text with its punctuation, each mark by itself; a word without end becomes its characters.

    So that a model which writes "!!!!!!" or "aaaaaaaa" for ever is seen to repeat itself.
    """
    found: list[str] = []
    for piece in _PIECE.findall(text.lower()):
        found += piece if len(piece) > _LONGEST else [piece]
    return found


def bleu_tokenizer(texts: Iterable[str]) -> str:
    """sacrebleu's tokenizer for texts: "zh" for Chinese, "char" for other scripts without spaces, else "13a"."""
    joined = "".join(texts)
    letters = len(_LETTER.findall(joined)) or 1
    if len(_IS_KANA.findall(joined)) / letters >= _KANA_SHARE or len(_IS_OTHER.findall(joined)) / letters >= _SHARE:
        return "char"
    return "zh" if len(_IS_HAN.findall(joined)) / letters >= _SHARE else "13a"


def normalised(text: str) -> str:
    """A text as exact match compares it: NFKC, small letters, one space for each white space, no outer marks.

    The marks that go from both ends are quotation marks and the punctuation of sentences.
    """
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return plain.strip(_QUOTES + _ENDS + " ")
