"""What a tokenizer has no token for, and would leave out of a text without a trace.

Byte-level tokenizers and those with a token for every byte can write everything. Others have an
unknown token in place of what they do not know. A BPE model with neither drops such characters, and
the offsets of all tokens behind them are wrong: what bears loss could not be told any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The bytes of well-formed UTF-8.
_UTF8 = frozenset({*range(0x80, 0xC0), *range(0x80), *range(0xC2, 0xF5)})
# These split a text at white space and leave it out; their decoders put it back.
_SPLITTERS = ("Whitespace", "BertPreTokenizer", "CharDelimiterSplit")


@cache
def byte_alphabet() -> dict[str, bytes]:
    """Byte-level BPE writes each byte as a printable character; this is the way back.

    Printable Latin-1 stands for itself; the other bytes are the characters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    back = {chr(byte): bytes([byte]) for byte in printable}
    return back | {chr(0x100 + place): bytes([byte]) for place, byte in enumerate(others)}


@dataclass(frozen=True, eq=False)
class Coverage:
    """What a tokenizer that can lose characters does know: `known` bytes, or `characters`."""

    fast: Tokenizer
    known: bytes
    characters: frozenset[str]

    def lost(self, text: str) -> list[str]:
        """The characters that encoding `text` leaves out, each once, in their order."""
        if not self._unknown(text):
            return []
        # What stands in an added token is not looked up in the vocabulary.
        parts = self._added.split(text) if self._added else [text]
        return list(dict.fromkeys(character for part in parts for character in self._unknown(part)))

    def _unknown(self, text: str) -> list[str]:
        if self.fast.normalizer and not (self.known and text.isascii()):
            text = self.fast.normalizer.normalize_str(text)
        if not self.known:
            return [] if self.characters.issuperset(text) else [each for each in text if each not in self.characters]
        if not text.encode().translate(None, self.known):
            return []
        return [each for each in text if each.encode().translate(None, self.known)]

    @cached_property
    def _added(self) -> re.Pattern[str] | None:
        contents = [token.content for token in self.fast.get_added_tokens_decoder().values()]
        contents.sort(key=len, reverse=True)
        return re.compile("|".join(map(re.escape, contents))) if contents else None


def coverage_of(fast: Tokenizer) -> Coverage | None:
    """What the tokenizer knows, or None when it leaves nothing out: it has bytes, or an unknown token."""
    from tokenizers import models

    model = fast.model
    if not isinstance(model, models.BPE) or model.unk_token:
        return None
    rules = repr(fast.pre_tokenizer)
    known = {byte[0] for character, byte in byte_alphabet().items() if fast.token_to_id(character) is not None}
    if "ByteLevel(" in rules:
        return None if known >= _UTF8 else Coverage(fast, bytes(sorted(known)), frozenset())
    if "ByteLevel(" in repr(fast.normalizer) and known >= _UTF8:
        return None
    if model.byte_fallback and _has_bytes(fast):
        return None
    vocabulary = fast.get_vocab(with_added_tokens=False)
    first, last = model.continuing_subword_prefix or "", model.end_of_word_suffix or ""
    characters = {token for token in vocabulary if len(token) == 1}
    characters |= {token.removeprefix(first).removesuffix(last) for token in vocabulary if first or last}
    if "Metaspace(" in rules and "▁" in characters:
        characters.add(" ")
    if any(name in rules for name in _SPLITTERS):
        characters |= {character for character in map(chr, range(0x3001)) if character.isspace()}
    return Coverage(fast, b"", frozenset(characters))


def unknown_token(fast: Tokenizer, named: str) -> str:
    """The token that stands for what the tokenizer does not know, "" when it needs none.

    `named` is the unk_token of the small files: a unigram model does not tell its own.
    """
    from tokenizers import models

    model = fast.model
    if getattr(model, "byte_fallback", False) and _has_bytes(fast):
        return ""
    told = isinstance(model, models.BPE | models.WordPiece | models.WordLevel)
    return (model.unk_token or "") if told else named


def _has_bytes(fast: Tokenizer) -> bool:
    """Whether it has the tokens <0x00> to <0xF4>, in which it writes what it does not know."""
    return all(fast.token_to_id(f"<0x{byte:02X}>") is not None for byte in _UTF8)
