"""How likely held-out text is to a model: nats of its tokens, and from them perplexity and bits per character.

    perplexity          exp(nats / tokens): depends on the tokenizer
    bits per character  nats / ln 2 / characters: does not, as long as the whole text is predicted

So that it is, the first token of a text is predicted too, after the token that begins a document, or where the
tokenizer has none, after the one that ends the document before it. The end of a text is not predicted: it is no text.
(While training, `studio.model.bits` counts the targets of the rows as they are learned: there the first token is no
target where the tokenizer has none that begins a document, and the end token is one. Both follow its formula.)

A text longer than the window is read in windows that overlap: each adds `stride` tokens, and sees what the window
holds before them. `text_found` takes a model that is in memory already, so that it serves while training too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from studio.data.render import View, render
from studio.errors import ModelError, RowError
from studio.evaluate.intervals import Measure
from studio.evaluate.sums import Sums, Values, ratio
from studio.evaluate.text_rows import HeldOut
from studio.model.bits import Extents, bits, extents
from studio.model.tokenizer import LightTokenizer

if TYPE_CHECKING:
    from studio.model.generate import Speaker

# Windows that are computed before the next rows are encoded.
AT_ONCE = 64
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Window:
    """Tokens that the model sees at once; those from place `first` on are counted where `mask` says so."""

    document: int
    ids: tuple[int, ...]
    first: int
    mask: tuple[bool, ...] = ()


@dataclass
class Told:
    """What one row came to: nats of its counted tokens, and how many tokens, characters and bytes these are."""

    nats: float = 0.0
    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    windows: int = 0
    cut: bool = False

    @property
    def bits_per_character(self) -> float:
        """NaN for a row without a character."""
        return bits(self.nats) / self.characters if self.characters else math.nan


def head_of(tokenizer: LightTokenizer) -> tuple[int, ...]:
    """The ids that stand in front of a document: those that the tokenizer puts there, else the end token."""
    return tokenizer.head or (tokenizer.eos_id,)


def windows(ids: Sequence[int], size: int, stride: int, document: int = 0, first: int = 1) -> Iterator[Window]:
    """Windows of at most `size` ids in which each id from place `first` on is counted once."""
    end = min(size, len(ids))
    yield Window(document, tuple(ids[:end]), first)
    while end < len(ids):
        new = min(end + stride, len(ids))
        begin = max(0, new - size)
        yield Window(document, tuple(ids[begin:new]), end - begin)
        end = new


@dataclass(frozen=True)
class Reader:
    """What makes windows of rows: the tokenizer of a model, its template for conversations, window and stride."""

    speaker: Speaker
    size: int
    stride: int

    def windows(self, rows: Sequence[HeldOut], told: Sequence[Told]) -> Iterator[Window]:
        """The windows of all rows in order; what a row holds is noted in `told`. Raises RowError with its place."""
        head = head_of(self.speaker.tokenizer)
        spans = extents(self.speaker.tokenizer)
        for number, (row, found) in enumerate(zip(rows, told, strict=True)):
            some = self._text(row, number, head, found) if row.kind == "text" else self._talk(row, number, spans, found)
            for window in some:
                found.windows += 1
                yield window

    def _text(self, row: HeldOut, number: int, head: tuple[int, ...], told: Told) -> Iterator[Window]:
        text = row.example.text
        told.characters, told.bytes = len(text), len(text.encode())
        ids = (*head, *self.speaker.tokenizer.fast.encode(text, add_special_tokens=False).ids)
        return windows(ids, self.size, self.stride, number, len(head))

    def _talk(self, row: HeldOut, number: int, spans: Extents, told: Told) -> Iterator[Window]:
        """The answers of a conversation, as a row of the stage sft has them."""
        view = View(self.size, wants="answers")
        (made,) = render([row.example], self.speaker.tokenizer, self.speaker.template, view)
        if isinstance(made, RowError):
            raise made.at(row.file, row.row)
        for each in made:
            counted = [id for id, learned in zip(each.input_ids[1:], each.loss_mask[1:], strict=True) if learned]
            characters, widths = spans.of(counted)
            told.characters += characters
            told.bytes += widths
            told.cut = told.cut or each.truncated
            if counted:
                yield Window(number, tuple(each.input_ids), 1, tuple(each.loss_mask))


@dataclass(frozen=True)
class TextFound:
    """Rows in numbers, in their order; `members` are the rows of each source when there are several."""

    rows: Sequence[HeldOut]
    told: Sequence[Told]
    members: Mapping[str, list[int]] = field(default_factory=dict)

    @property
    def sums(self) -> dict[str, Sums]:
        """Every measure as sums over rows: nats, tokens, characters, bytes."""
        parts = np.array(
            [(each.nats, each.tokens, each.characters, each.bytes) for each in self.told], dtype=np.float64
        )
        ln2 = math.log(2)
        return {
            "bits_per_character": Sums(parts[:, [0, 2]] / [ln2, 1], ratio, "lower"),
            "bits_per_byte": Sums(parts[:, [0, 3]] / [ln2, 1], ratio, "lower"),
            "perplexity": Sums(parts[:, [0, 1]], _perplexity, "lower"),
            "tokens_per_character": Sums(parts[:, [1, 2]], ratio, "lower"),
        }

    def measures(self) -> dict[str, Measure]:
        """Over everything."""
        return {name: each.measure() for name, each in self.sums.items()}

    def groups(self) -> dict[str, dict[str, Measure]]:
        """By source, where there are several."""
        sums = self.sums
        return {
            group: {name: each.of_rows(rows).measure() for name, each in sums.items()}
            for group, rows in self.members.items()
        }

    def against(self, base: TextFound, *, same_tokens: bool) -> dict[str, dict[str, Measure]]:
        """Group → measure → difference from the base; perplexity only where both have the same tokenizer."""
        mine, theirs = self.sums, base.sums
        names = [name for name in mine if same_tokens or name != "perplexity"]
        found = {"all": {name: mine[name].against(theirs[name]) for name in names}}
        for group, rows in self.members.items():
            found[group] = {name: mine[name].of_rows(rows).against(theirs[name].of_rows(rows)) for name in names}
        return found

    def values(self) -> dict[str, list[float]]:
        """A number for each row whose mean is the measure: the measure, linear in what the row adds to its sums.

        A difference of two models by rows then is that of the measures, with the interval of a ratio (Taylor's).
        """
        return {name: _linear(each).tolist() for name, each in self.sums.items()}

    def shown(self) -> list[dict[str, Any]]:
        """The rows for people to look at."""
        return [
            {"source": row.source, "file": row.file, "row": row.row, "text": _head(row), "tokens": each.tokens,
             "characters": each.characters, "bits_per_character": _finite(each.bits_per_character),
             "perplexity": _finite(math.exp(min(each.nats / each.tokens, 700)) if each.tokens else math.nan),
             "windows": each.windows, "cut": each.cut}
            for row, each in zip(self.rows, self.told, strict=True)
        ]  # fmt: skip


def text_found(
    speaker: Speaker, rows: Sequence[HeldOut], *, size: int, stride: int, batch_size: int = 8,
    tell: Callable[[int, int], None] | None = None,
) -> TextFound:  # fmt: skip
    """Held-out rows under a model in memory. `tell` gets rows done and in all.

    Raises RowError with its place for a conversation that the template refuses, ModelError for a model without numbers.
    """
    told = [Told() for _ in rows]
    waiting: list[Window] = []
    for window in Reader(speaker, size, stride).windows(rows, told):
        waiting.append(window)
        if len(waiting) == AT_ONCE:
            _count(speaker.model, waiting, told, batch_size)
            waiting = []
            if tell is not None:
                tell(window.document, len(rows))
    _count(speaker.model, waiting, told, batch_size)
    if tell is not None:
        tell(len(rows), len(rows))
    names = list(dict.fromkeys(row.source for row in rows))
    members = {name: [at for at, row in enumerate(rows) if row.source == name] for name in names}
    return TextFound(rows, told, members if len(names) > 1 else {})


def _count(model: Any, some: Sequence[Window], told: Sequence[Told], batch_size: int) -> None:
    """Add what some windows come to."""
    from studio.evaluate.likelihood import token_logprobs

    if not some:
        return
    for window, values in zip(some, token_logprobs(model, [list(each.ids) for each in some], batch_size=batch_size),
                              strict=True):  # fmt: skip
        # The value at a place is that of the token behind it.
        chosen = [
            value
            for place, value in enumerate(values, 1)
            if place >= window.first and (not window.mask or window.mask[place])
        ]
        if not all(map(math.isfinite, chosen)):
            raise ModelError("the model gives log-probabilities that are no numbers: its weights are damaged, or its "
                             "precision is too small. Try --infer_dtype float32.")  # fmt: skip
        told[window.document].nats -= math.fsum(chosen)
        told[window.document].tokens += len(chosen)


def _perplexity(sums: Values) -> Values:
    with np.errstate(over="ignore"):
        found: Values = np.exp(ratio(sums))
    return found


def _linear(sums: Sums) -> Values:
    """value + slope · (what a row adds above - ratio · what it adds below) / the mean of what rows add below."""
    above, below = sums.parts.T
    share = above.sum() / below.sum()
    value = sums.value
    slope = 1.0 if sums.of is ratio else value
    found: Values = value + slope * (above - share * below) / below.mean()
    return found


def _head(row: HeldOut) -> str:
    text = row.example.text or next((str(each["content"]) for each in row.example.messages), "")
    return text[:SHOWN_CHARACTERS]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
