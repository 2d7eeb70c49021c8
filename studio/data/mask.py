"""Which tokens bear loss: those that lie wholly inside a span of characters.

Two ways to the same answer. The offsets of the encoding say it for every tokenizer, but making
them costs up to half as much again as encoding. A byte-level tokenizer does not need them: each
token stands for a known number of bytes, and the sum must come out at the length of the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studio.model.templates import Span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Encoding


def mask_by_bytes(ids: list[int], widths: NDArray[np.int32], text: str, spans: Sequence[Span]) -> list[bool] | None:
    """One bool a token, from `widths`: the bytes of every id of the vocabulary.

    None when the bytes cannot be told from the ids alone: a normaliser would change the text, or
    a token swallowed white space.
    """
    count = len(ids)
    ascii_only = text.isascii()
    if not ascii_only and not unicodedata.is_normalized("NFC", text):
        return None
    ends = widths[ids].cumsum()
    if count == 0 or ends[-1] != (len(text) if ascii_only else len(text.encode())):
        return None
    mask = [False] * count
    for start, end in spans:
        if not ascii_only:
            start, end = len(text[:start].encode()), len(text[:end].encode())
        # Token t begins where t - 1 ends.
        first = int(ends.searchsorted(start)) + 1 if start else 0
        behind = int(ends.searchsorted(end, side="right"))
        if behind > first:
            mask[first:behind] = [True] * (behind - first)
    return mask


def mask_by_offsets(encoding: Encoding, spans: Sequence[Span], length: int) -> list[bool]:
    """One bool a token, for a text of `length` characters.

    A token without width (a space that a normaliser made) bears loss when it stands between two
    tokens of one span that do, and always when the span is the whole text.
    """
    count = len(encoding)
    mask = [False] * count
    for start, end in spans:
        if start == 0 and end == length:
            return [True] * count
        first, behind = _tokens_inside(encoding, count, start, end)
        if behind > first:
            mask[first:behind] = [True] * (behind - first)
    return mask


def _tokens_inside(encoding: Encoding, count: int, start: int, end: int) -> Span:
    """The [first, behind) tokens wholly inside [start, end) characters.

    Asks only for the tokens at the borders: a list of all offsets costs more than encoding.
    """
    first = None
    # A character that a normaliser removed belongs to no token.
    for at in range(start, end):
        if (first := encoding.char_to_token(at)) is not None:
            break
    if first is None:
        return 0, 0
    while not _inside(encoding, first, start, end):
        first += 1
        if first == count or _chars(encoding, first)[0] >= end:
            return 0, 0
    # From the last character that has a token, over all tokens of that character, back to one inside.
    last = next(token for at in range(end - 1, start - 1, -1) if (token := encoding.char_to_token(at)) is not None)
    while last + 1 < count and _chars(encoding, last + 1)[0] < end:
        last += 1
    while not _inside(encoding, last, start, end):
        last -= 1
    return first, last + 1


def _inside(encoding: Encoding, token: int, start: int, end: int) -> bool:
    begins, ends = _chars(encoding, token)
    return start <= begins < ends <= end


def _chars(encoding: Encoding, token: int) -> Span:
    chars: Any = encoding.token_to_chars(token)
    return chars or (0, 0)
