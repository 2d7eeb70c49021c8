"""Ids of an answer → text that may be shown: whole characters, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What a decoder writes for bytes that are no character, or not a whole one yet.
BROKEN = "\ufffd"
# A character has up to four bytes; some decoders write a sign for each of those that came.
UNFINISHED = 3
# Tokens that are decoded anew with each further one while no character is whole, and how many of them are kept
# then: more than the parts of UNFINISHED characters.
LONG, KEPT = 64, 16


class Writer:
    """The text of one answer, token by token.

    A token may be a part of a character, and a stop string may begin in one token and end in another:
    what is not decided yet is held back. `stopped` says that a stop string came. `before` are the last ids
    of the text that goes on, where it begins in the middle of a sentence.
    """

    def __init__(
        self, fast: Tokenizer, stop: Sequence[str] = (), *, keep_special: bool = False, before: Sequence[int] = ()
    ) -> None:
        self.stopped = False
        self._fast = fast
        self._stop = tuple(text for text in stop if text)
        added = {} if keep_special else fast.get_added_tokens_decoder()
        # Left out here and not by the decoder: at the beginning of what it gets it may take a blank away.
        self._skipped = frozenset(id for id, token in added.items() if token.special)
        self._ids: list[int] = []
        # The ids before `_whole` end with a whole character. Decoding starts at the place before that, since
        # decoders treat the beginning of a text in their own way; `_told` characters of it are told.
        self._from = self._whole = self._told = 0
        self._held = ""
        if before:
            self._ids = list(before)
            self._whole, self._told = len(self._ids), len(self._text(self._ids))

    def push(self, id: int) -> str:
        """What may be shown after one more token; often nothing."""
        if id in self._skipped:
            return ""
        self._ids.append(id)
        return self._let_go(self._decoded(last=False), last=False)

    def finish(self) -> str:
        """What was held back and turned out to belong to the answer; a broken character at its end is left out."""
        return self._let_go(self._decoded(last=True), last=True)

    def _decoded(self, *, last: bool) -> str:
        """The text that is not told yet, without a character whose end is missing."""
        text = self._text(self._ids[self._from :])
        broken = len(text) - len(text.rstrip(BROKEN))
        sure = text[: len(text) - (broken if last else min(broken, UNFINISHED))]
        new = sure[self._told :]
        self._told = max(self._told, len(sure))
        if not broken:
            self._from, self._whole = self._whole, len(self._ids)
            self._told = len(self._text(self._ids[self._from :]))
        elif len(self._ids) - self._from > LONG:
            # A model that only writes broken bytes must not be slower with each.
            self._from = self._whole = len(self._ids) - KEPT
            text = self._text(self._ids[self._from :])
            self._told = len(text) - min(len(text) - len(text.rstrip(BROKEN)), UNFINISHED)
        return new

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._fast.decode(list(ids), skip_special_tokens=False)) if ids else ""

    def _let_go(self, new: str, *, last: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        kept = 0 if last else max((overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` could be the beginning of `stop`."""
    most = min(len(text), len(stop) - 1)
    return next((size for size in range(most, 0, -1) if text.endswith(stop[:size])), 0)
