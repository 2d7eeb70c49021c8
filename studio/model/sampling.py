"""The next token of an answer: penalties, what may not come again, temperature, top-k, top-p, and a chance of its own.

Letters: B answers of the batch, V ids of the vocabulary.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from studio.arguments.generation import GenerationArguments
from studio.errors import ModelError

# As many of the likeliest tokens nearly always hold the one that is drawn; sorting all would cost more
# than the model's own step.
LIKELY = 256
# The id where there is none to choose.
NOTHING = -1


class Chooser:
    """How one answer chooses its tokens.

    Its chance is its own: one number for each token, so that the same seed gives the same answer
    whoever else is answered at the same time, as far as the model's numbers are the same. In bfloat16
    they can differ by a rounding between a batch of one and a larger one, and then a token may differ.
    """

    def __init__(self, asked: GenerationArguments, prompt: Sequence[int], seed: int | None) -> None:
        self.asked = asked
        self._chance = random.Random(seed)
        self._prompt = prompt
        self._seen_V: Tensor | None = None
        self._counts_V: Tensor | None = None
        self._counts = asked.presence_penalty != 0 or asked.frequency_penalty != 0
        self._repeats = asked.repetition_penalty != 1
        self._ngrams = _Ngrams(asked.no_repeat_ngram_size, prompt) if asked.no_repeat_ngram_size else None

    @property
    def plain(self) -> bool:
        """Whether it always takes the likeliest token."""
        return not (self.asked.do_sample or self._counts or self._repeats or self._ngrams)

    def choose(self, logits_V: Tensor) -> int:
        """The id of the next token; `logits_V` is float32. Raises ModelError when they are no numbers."""
        logits_V = self._penalised(logits_V)
        chosen = self._drawn(logits_V) if self.asked.do_sample else sure(likeliest(logits_V[None])[0])
        if self._seen_V is not None:
            self._seen_V[chosen] = True
        if self._counts_V is not None:
            self._counts_V[chosen] += 1
        if self._ngrams is not None:
            self._ngrams.add(chosen)
        return chosen

    def _penalised(self, logits_V: Tensor) -> Tensor:
        if self._repeats:
            if self._seen_V is None:
                self._seen_V = torch.zeros_like(logits_V, dtype=torch.bool)
                self._seen_V[torch.tensor(list(self._prompt), device=logits_V.device)] = True
            penalty = self.asked.repetition_penalty
            less_V = torch.where(logits_V < 0, logits_V * penalty, logits_V / penalty)
            logits_V = torch.where(self._seen_V, less_V, logits_V)
        if self._counts:
            if self._counts_V is None:
                self._counts_V = torch.zeros_like(logits_V)
            taken_V = self._counts_V * self.asked.frequency_penalty
            logits_V = logits_V - taken_V - (self._counts_V > 0) * self.asked.presence_penalty
        if self._ngrams is not None and (banned := self._ngrams.banned):
            logits_V = logits_V.index_fill(0, torch.tensor(banned, device=logits_V.device), -torch.inf)
        return logits_V

    def _drawn(self, logits_V: Tensor) -> int:
        """One id by chance: from the likeliest down, the first at which the summed probability passes a point."""
        scaled_V = logits_V / self.asked.temperature
        limit = min(self.asked.top_k or len(scaled_V), len(scaled_V))
        return self._at(self._chance.random(), scaled_V, limit, min(LIKELY, limit))

    def _at(self, point: float, scaled_V: Tensor, limit: int, width: int) -> int:
        """The id at `point` (from 0 up to 1) of the probability that is kept, sought among the `width` likeliest."""
        top = torch.topk(scaled_V, width)
        # With top_k the probabilities are those among the k likeliest, else those among all.
        among = scaled_V if limit == len(scaled_V) else torch.topk(scaled_V, limit).values
        shares = (top.values - among.logsumexp(0)).exp().double().cpu()
        if not bool(shares[0] >= 0):
            raise _no_numbers()
        sums = shares.cumsum(0)
        enough = int(torch.searchsorted(sums, self.asked.top_p)) if self.asked.top_p < 1 else limit
        mass = float(sums[min(enough, width - 1)]) if enough < width or width == limit else 1.0
        at = int(torch.searchsorted(sums, point * mass, right=True))
        if width < limit and max(at, enough if self.asked.top_p < 1 else 0) >= width:
            return self._at(point, scaled_V, limit, limit)
        return int(top.indices[min(at, width - 1)])


class _Ngrams:
    """Which ids followed each run of `size - 1` ids so far."""

    def __init__(self, size: int, ids: Sequence[int]) -> None:
        self._last: deque[int] = deque(maxlen=size - 1)
        self._size, self._count = size, 0
        self._followed: dict[tuple[int, ...], set[int]] = {}
        for id in ids:
            self.add(id)

    def add(self, id: int) -> None:
        """One id more."""
        if self._count >= self._size - 1:
            self._followed.setdefault(tuple(self._last), set()).add(id)
        self._last.append(id)
        self._count += 1

    @property
    def banned(self) -> list[int]:
        """The ids that would make a run of `size` which is there already."""
        return list(self._followed.get(tuple(self._last), ())) if self._count >= self._size - 1 else []


def likeliest(logits_BV: Tensor) -> list[int]:
    """The id of the largest logit of each answer, for `sure`; NOTHING where they are no numbers."""
    found = logits_BV.max(dim=-1)
    chosen: list[int] = found.indices.masked_fill(found.values.isnan(), NOTHING).tolist()
    return chosen


def sure(id: int) -> int:
    """The same id. Raises ModelError for NOTHING."""
    if id == NOTHING:
        raise _no_numbers()
    return id


def _no_numbers() -> ModelError:
    return ModelError(
        "a model must compute numbers; this one gives NaN for the next token. Its weights are broken, or too "
        "large for their precision: load it with --infer_dtype float32."
    )
