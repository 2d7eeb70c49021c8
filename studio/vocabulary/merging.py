"""Merges continued: which pairs of tokens follow each other most often in the texts, one after the other.

Byte pair encoding (Sennrich et al. 2016, arXiv 1508.07909), begun not with characters but with what an existing
tokenizer makes of the texts. As old merges come before new ones, its new tokens are merges of its old ones, and a
text in which no new pair occurs is written as before.

The texts are one array of ids with -1 between pieces. An occurrence of a pair comes into being when the later of its
two tokens does, and can only disappear after that. So each pair keeps the places where it began, and is counted anew
only when it seems to be the most frequent.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from studio.vocabulary.scripts import Rule
from studio.vocabulary.tokenfile import TokenFile

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Ids = NDArray[np.int32]
Pair = tuple[int, int]
CUT, GONE = -1, -2
# Characters that are encoded at a time.
BATCH = 1 << 20
TELL_EVERY = 50


@dataclass
class Merged:
    """New merges in their order: the two tokens and what they become; `before` and `after` count tokens of the runs."""

    merges: list[tuple[str, str]] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)
    parts: dict[str, tuple[str, str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    before: int = 0
    after: int = 0


def runs(texts: Sequence[str], fast: Tokenizer, usable: NDArray[np.bool_], tell: Callable[[float], None]) -> Ids:
    """All texts as ids, with CUT between pieces and in place of tokens that no new one may hold."""
    parts = [np.array([CUT], dtype=np.int32)]
    total, done = sum(map(len, texts)), 0
    for batch in batches(texts):
        for encoding in fast.encode_batch(list(batch), add_special_tokens=False):
            parts.append(_cut(encoding, usable))
        done += sum(map(len, batch))
        tell(done / max(total, 1))
    return np.concatenate([*parts, np.array([CUT], dtype=np.int32)])


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in their order, about BATCH characters at a time: what tokens remember takes a hundred times as much.

    A text that is longer stands alone.
    """
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _cut(encoding: Encoding, usable: NDArray[np.bool_]) -> Ids:
    """The ids of a text, cut between the pieces that its rules make and at tokens that are not usable."""
    ids = np.array(encoding.ids, dtype=np.int32)
    if not ids.size:
        return ids
    words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int32)
    ids = np.where(usable[ids], ids, CUT).astype(np.int32)
    ids = np.append(np.insert(ids, np.flatnonzero(words[1:] != words[:-1]) + 1, CUT), CUT).astype(np.int32)
    # A token between two cuts has no neighbour to join.
    keep = np.ones(ids.size, dtype=bool)
    keep[1:] = (ids[1:] != CUT) | (ids[:-1] != CUT)
    return ids[keep]


def usable_ids(file: TokenFile, rule: Rule, more: int = 0) -> NDArray[np.bool_]:
    """Which ids may be a part of a new token: added tokens never, the `more` that were put behind always."""
    table = np.zeros(file.size + more, dtype=bool)
    for token, number in file.vocab.items():
        table[number] = not file.is_byte(token) and rule.usable(file.content(token))
    table[[*file.added]] = False
    table[file.size :] = True
    return table


class Corpus:
    """Ids in a chain, which grow together where a pair is merged."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        places = np.arange(ids.size, dtype=np.int32)
        self._next, self._before = places + 1, places - 1
        self.pairs: dict[Pair, Ids] = {}

    @property
    def count(self) -> int:
        """Tokens that are left."""
        return int(np.count_nonzero(self.ids >= 0))

    def first_pairs(self, least: int) -> list[tuple[Pair, int]]:
        """Every pair that occurs at least so often, and how often."""
        at = np.flatnonzero((self.ids[:-1] >= 0) & (self.ids[1:] >= 0)).astype(np.int32)
        keys = self.ids[at].astype(np.int64) << 32 | self.ids[at + 1]
        return self._keep(keys, at, least)

    def _keep(self, keys: NDArray[np.int64], at: Ids, least: int) -> list[tuple[Pair, int]]:
        order = np.argsort(keys, kind="stable")
        keys, at = keys[order], at[order]
        edges = np.flatnonzero(np.diff(keys, prepend=-1)) if keys.size else np.zeros(0, dtype=np.int64)
        sizes = np.diff(edges, append=keys.size)
        found = []
        for start, size in zip(edges[sizes >= least].tolist(), sizes[sizes >= least].tolist(), strict=True):
            key = int(keys[start])
            pair = (key >> 32, key & 0xFFFFFFFF)
            places = at[start : start + size]
            if pair in self.pairs:
                places = np.union1d(self.pairs[pair], places)
            self.pairs[pair] = places
            found.append((pair, len(places)))
        return found

    def places(self, pair: Pair) -> Ids:
        """Where a pair still stands; of a token that follows itself twice only the first two count."""
        a, b = pair
        at = self.pairs[pair]
        at = at[(self.ids[at] == a) & (self.ids[self._next[at]] == b)]
        # Where the first of three goes into another token, the last two are a pair again.
        self.pairs[pair] = at
        return self._apart(np.sort(at)) if a == b else at

    def _apart(self, at: Ids) -> Ids:
        kept: list[int] = []
        taken = -1
        for place in at.tolist():
            if place != taken:
                kept.append(place)
                taken = int(self._next[place])
            else:
                taken = -1
        return np.array(kept, dtype=np.int32)

    def merge(self, at: Ids, new: int, least: int) -> list[tuple[Pair, int]]:
        """Join the pair at these places into `new`; gives the pairs that came of it and how often they stand."""
        second = self._next[at]
        after = self._next[second]
        self.ids[at], self.ids[second] = new, GONE
        self._next[at], self._before[after] = after, at
        left, right = self._before[at], after
        first, last = self.ids[left], self.ids[right]
        here, there = (first >= 0) & (first != new), last >= 0
        keys = np.concatenate([
            first[here].astype(np.int64) << 32 | new,
            np.int64(new) << 32 | last[there].astype(np.int64),
        ])  # fmt: skip
        return self._keep(keys, np.concatenate([left[here], at[there]]), least)


def continued(
    ids: Ids, file: TokenFile, rule: Rule, wanted: int, least: int, *,
    known: dict[str, int] | None = None, tell: Callable[[int], None],
) -> Merged:  # fmt: skip
    """Merge the most frequent pair, and again, until there are `wanted` new tokens or no pair stands `least` times.

    `known` are tokens that were added before, with their ids. A pair whose text is a token already becomes that token.
    """
    corpus, found = Corpus(ids), Merged()
    names = {**file.vocab, **(known or {})}
    tokens = {number: token for token, number in names.items()}
    first = max(tokens, default=-1) + 1
    found.before = corpus.count
    heap: list[tuple[int, Pair]] = []
    done: set[Pair] = set()

    def offer(pairs: Iterable[tuple[Pair, int]]) -> None:
        for (a, b), count in pairs:
            if rule.fits(file.content(tokens[a] + tokens[b])):
                heapq.heappush(heap, (-count, (a, b)))
            else:
                corpus.pairs.pop((a, b), None)

    offer(corpus.first_pairs(least))
    while heap and len(found.tokens) < wanted:
        said, pair = heapq.heappop(heap)
        if pair not in corpus.pairs:
            continue
        at = corpus.places(pair)
        if len(at) < least:
            del corpus.pairs[pair]
        elif len(at) < -said:
            heapq.heappush(heap, (-len(at), pair))
        else:
            del corpus.pairs[pair]
            a, b = tokens[pair[0]], tokens[pair[1]]
            if a + b not in names:
                names[a + b] = found.tokens[a + b] = first + len(found.tokens)
                tokens[names[a + b]] = a + b
                found.parts[a + b], found.counts[a + b] = (a, b), len(at)
            # A token that comes about in two ways may meet an older merge again, which comes first as it is.
            if pair not in done:
                found.merges.append((a, b))
            done.add(pair)
            offer(corpus.merge(at, names[a + b], least))
            if len(found.merges) % TELL_EVERY == 0:
                tell(len(found.tokens))
    found.after = corpus.count
    return found


def characters_first(texts: Iterable[str], file: TokenFile, rule: Rule, share: float, most: int) -> dict[str, int]:
    """Characters of the texts that a BPE of characters has no token for: the most frequent that make up `share` of all.

    In their order, with how often they stand; at most `most`.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    seen = {c: n for c, n in counts.items() if rule.fits(c.encode()) and not c.isspace()}
    wanted = {c: n for c, n in seen.items() if file.spelled(c) not in file.vocab}
    goal, have = share * sum(seen.values()), sum(n for c, n in seen.items() if c not in wanted)
    found: dict[str, int] = {}
    for character, count in sorted(wanted.items(), key=lambda item: (-item[1], item[0])):
        if have >= goal or len(found) >= most:
            break
        found[character] = count
        have += count
    return found


def counts_of(merged: Merged) -> dict[str, Any]:
    """The most and the least frequent of the new tokens, for who wants to look."""
    ordered = sorted(merged.counts.items(), key=lambda item: -item[1])
    return {"most": ordered[:20], "least": ordered[-20:]}
