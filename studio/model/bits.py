"""How much text each token stands for, so that losses of different tokenizers can be held against each other.

    bits per character = nats of the targets / ln 2 / characters that begin in the targets

and bits per byte with their UTF-8 bytes. A character may lie in several tokens; it counts in the one that has its
first byte. The counts of all tokens of a text therefore sum to its characters, also where a document is cut into
rows. The first token of a row is no target, since nothing predicts it: neither its bits nor its characters count.
Tokens that are no text, such as the one that ends a document, bring their bits and no character.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.model.tokenizer import LightTokenizer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from tokenizers import Tokenizer

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# What SentencePiece writes for a blank.
BLANK = "\u2581"


@dataclass(frozen=True)
class Extents:
    """Characters that begin in each token, and its bytes: two arrays (V,) by id."""

    characters: NDArray[np.int64]
    bytes: NDArray[np.int64]

    def of(self, ids: ArrayLike) -> tuple[int, int]:
        """Characters and bytes of all these ids together; an id without a token has none."""
        known = np.asarray(ids, dtype=np.int64).reshape(-1)
        known = known[(known >= 0) & (known < len(self.characters))]
        return int(self.characters[known].sum()), int(self.bytes[known].sum())


def extents(tokenizer: LightTokenizer) -> Extents:
    """What each token of a tokenizer stands for.

    Exact for byte-level BPE. A SentencePiece model writes a blank before a text, which counts as a character of it;
    for other kinds a token counts as what it is decoded to by itself. A token for what is unknown is one character.
    """
    fast = tokenizer.fast
    characters, widths = (np.zeros(tokenizer.size, dtype=np.int64) for _ in range(2))
    byte_level = tokenizer.byte_widths is not None
    added = fast.get_added_tokens_decoder()
    for text, id in fast.get_vocab(with_added_tokens=True).items():
        if id not in added:
            held = _bytes_of(text) if byte_level else _piece(fast, text, id)
            widths[id], characters[id] = len(held), _begun(held)
    marks = {*tokenizer.special.values()}
    for id, token in added.items():
        if not (token.special or token.content in marks):
            widths[id], characters[id] = len(token.content.encode()), len(token.content)
    if tokenizer.unknown_id is not None and not byte_level:
        widths[tokenizer.unknown_id] = characters[tokenizer.unknown_id] = 1
    return Extents(characters, widths)


def bits(nats: float) -> float:
    """A sum of natural logarithms, as bits."""
    return nats / math.log(2)


def told_bits(nats: float, ids: ArrayLike, extents: Extents) -> dict[str, tuple[float, int]]:
    """Bits per character and per byte of targets whose cross-entropy sums to `nats`, each as its sum and its count."""
    characters, widths = extents.of(ids)
    return {"bits_per_character": (bits(nats), characters), "bits_per_byte": (bits(nats), widths)}


def _begun(held: bytes) -> int:
    """How many characters of UTF-8 begin in these bytes: those that do not go on with one."""
    return sum(byte & 0xC0 != 0x80 for byte in held)


def _piece(fast: Tokenizer, text: str, id: int) -> bytes:
    """The bytes of a token that is not byte-level."""
    if match := BYTE.fullmatch(text):
        return bytes([int(match[1], 16)])
    if BLANK in text:
        return text.replace(BLANK, " ").encode()
    return str(fast.decode([id], skip_special_tokens=False)).encode()


def _bytes_of(text: str) -> bytes:
    """The bytes that a token of byte-level BPE is written for; a sign of no byte stands for itself."""
    return b"".join(_SIGNS.get(sign) or sign.encode() for sign in text)


def _signs() -> dict[str, bytes]:
    """The alphabet of byte-level BPE: bytes that can be printed stand for themselves, the others from U+0100 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    shown: dict[Any, bytes] = {chr(byte): bytes([byte]) for byte in printed}
    return shown | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}


_SIGNS = _signs()
