"""Log-probabilities of what may follow a text: rows in batches, what they begin with in common computed once.

Letters: B rows of a batch, T tokens, V ids.

Rows are filled up on the right, where a causal model looks only after it has read them: nothing is padded on the
left, and no mask is needed. The common beginning of the rows of a group is read once into a cache of keys and values,
which every batch continues. A model whose cache is of another kind (sliding window, a state) reads each row whole.

The head of a model in half precision rounds its logits to 8 or 11 bits, so that different letters often come out the
same; `finely` computes them in float32 from the last hidden states, and what a model does with them afterwards
(a factor, a soft cap) follows as ever.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from studio.errors import ModelError
from studio.model.decode import CHUNK, parameters

# A shorter common beginning is not worth a cache of its own.
WORTH = 16
# Float32 logits that are held at a time.
LOGITS_BYTES = 2**28
# Of a head in half precision so much is held in float32 at a time.
HEAD_BYTES = 2**26
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """A text that was read, as ids, and what may follow it: each option is one id or more."""

    context: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]


@contextlib.contextmanager
def looking(model: Any) -> Iterator[None]:
    """The model in evaluation mode and without gradients, and as it was afterwards."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


@contextlib.contextmanager
def finely(model: Any) -> Iterator[None]:
    """The logits of a plain head in float32, of weights in half precision and under autocast too.

    Left as they are: float32 heads, and heads of another kind (quantised, with an adapter of their own, on no device).
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        yield
        return
    hook = head.register_forward_hook(_in_float32)
    try:
        yield
    finally:
        hook.remove()


def _in_float32(head: torch.nn.Linear, given: tuple[Tensor, ...], logits: Tensor) -> Tensor | None:
    """The output of a head (…, V) anew, in pieces of its rows; None to leave it."""
    if logits.dtype not in (torch.bfloat16, torch.float16) or not given or head.weight.is_meta:
        return None
    step = max(1, HEAD_BYTES // (4 * head.in_features))
    with torch.autocast(logits.device.type, enabled=False):
        hidden = given[0].float()
        pieces = [hidden @ rows.float().T for rows in head.weight.split(step)]
        found = torch.cat(pieces, dim=-1)
        return found if head.bias is None else found + head.bias.float()


def score(
    model: Any, requests: Sequence[Request], *, batch_size: int = 8, share: bool = True, tell: Tell | None = None
) -> list[list[float]]:
    """The log-probability (natural) of each option of each request after its context, in float32.

    Options of one id are read from one forward pass; a longer option is a row of its own. With `share` the common
    beginning of all contexts is computed once: give the requests of one subject at a time. `tell` gets requests done
    and in all. Raises ModelError for an empty context or a model that gives no numbers.
    """
    if any(not request.context or not all(request.options) for request in requests):
        raise ModelError("a text to continue must hold a token, and each of its options too; one is empty.")
    found = [[math.nan] * len(request.options) for request in requests]
    rows = [row for number, request in enumerate(requests) for row in _rows(number, request)]
    with looking(model), finely(model):
        head = _common([row.ids[: len(row.ids) - 1 - row.tail] for row in rows]) if share and plain_cache(model) else 0
        beginning = Beginning(model, rows[0].ids[:head]) if head >= WORTH and len(rows) > 1 else Beginning(model, ())
        # Rows of about the same length are filled up least.
        order = sorted(range(len(rows)), key=lambda at: -len(rows[at].ids))
        done: set[int] = set()
        for batch in _batches([rows[at] for at in order], batch_size, _words(model)):
            for row, values in zip(batch, _batch(model, batch, beginning), strict=True):
                for option, value in zip(row.options, values, strict=True):
                    found[row.request][option] = value
                done.add(row.request)
            if tell is not None:
                tell(len(done), len(requests))
    if not all(math.isfinite(value) or value == -math.inf for values in found for value in values):
        raise ModelError("the model gives log-probabilities that are no numbers (NaN): its weights are damaged, or its "
                         "precision is too small. Try --infer_dtype float32.")  # fmt: skip
    return found


@dataclass(frozen=True)
class _Row:
    """One sequence to compute: `ids`, from the place `first` on its own; `options` are those that are read from it.

    `targets` are ids after the last place for options of one id, or the tail of `ids` itself for one longer option.
    """

    request: int
    ids: tuple[int, ...]
    options: tuple[int, ...]
    targets: tuple[int, ...]
    tail: int


def _rows(number: int, request: Request) -> Iterator[_Row]:
    single = [at for at, option in enumerate(request.options) if len(option) == 1]
    if single:
        targets = tuple(request.options[at][0] for at in single)
        yield _Row(number, request.context, tuple(single), targets, 0)
    for at, option in enumerate(request.options):
        if len(option) > 1:
            yield _Row(number, (*request.context, *option[:-1]), (at,), option, len(option) - 1)


def _batches(rows: Sequence[_Row], size: int, words: int) -> Iterator[list[_Row]]:
    """At most `size` rows each, and fewer where their logits, of every place that one of them needs, are many."""
    batch: list[_Row] = []
    places: set[int] = set()
    for row in rows:
        own = {len(row.ids) - step for step in range(row.tail + 1)}
        many = 4 * words * len(places | own) * (len(batch) + 1) > LOGITS_BYTES
        if batch and (len(batch) == size or many):
            yield batch
            batch, places = [], set()
        batch.append(row)
        places |= own
    if batch:
        yield batch


def _words(model: Any) -> int:
    head = model.get_output_embeddings()
    return int(head.weight.shape[0]) if head is not None else 1


def _batch(model: Any, rows: Sequence[_Row], beginning: Beginning) -> list[list[float]]:
    """What the options of each row are worth."""
    ids = [list(row.ids[beginning.length :]) for row in rows]
    firsts = [len(each) - 1 - row.tail for each, row in zip(ids, rows, strict=True)]
    places = sorted({first + step for first, row in zip(firsts, rows, strict=True) for step in range(row.tail + 1)})
    logits_BPV = beginning.logits(ids, places)
    found = []
    for at, (row, first) in enumerate(zip(rows, firsts, strict=True)):
        chosen = [places.index(first + step) for step in range(row.tail + 1)]
        logps_PV = logits_BPV[at, chosen].float().log_softmax(-1)
        if row.tail:
            steps = zip(range(row.tail + 1), row.targets, strict=True)
            found.append([float(sum(logps_PV[step, id] for step, id in steps))])
        else:
            found.append(logps_PV[0, list(row.targets)].tolist())
    return found


class Beginning:
    """What all rows begin with, read once into keys and values that are never changed afterwards."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        self._model, self.length = model, len(ids)
        self._cache = DynamicCache(config=model.config) if ids else None
        step = CHUNK.get(model.device.type, CHUNK["cuda"])
        for start in range(0, self.length, step):
            piece = torch.tensor([list(ids[start : start + step])], device=model.device)
            _forward(model, piece, self._cache, [0])

    def logits(self, rows: Sequence[Sequence[int]], places: Sequence[int]) -> Tensor:
        """Logits (B, P, V) of rows that go on from here, at `places` counted from the end of the beginning."""
        width = max(map(len, rows))
        filled = [[*row, *[row[-1]] * (width - len(row))] for row in rows]
        ids_BT = torch.tensor(filled, device=self._model.device)
        return _forward(self._model, ids_BT, self._copies(len(rows)), places)

    def _copies(self, count: int) -> DynamicCache | None:
        if self._cache is None:
            return None
        copied = DynamicCache(config=self._model.config)
        layers: list[Any] = list(self._cache.layers)
        for number, layer in enumerate(layers):
            # Keys that come later are laid beside these in new memory, so that the rows may share them.
            copied.update(layer.keys.expand(count, -1, -1, -1), layer.values.expand(count, -1, -1, -1), number)
        return copied


def _forward(model: Any, ids_BT: Tensor, cache: DynamicCache | None, places: Sequence[int]) -> Tensor:
    """Logits (B, P, V) at some places of the new tokens."""
    more: dict[str, Any] = {"use_cache": cache is not None}
    if cache is not None:
        more["past_key_values"] = cache
    picks = "logits_to_keep" in parameters(model)
    if picks:
        more["logits_to_keep"] = torch.tensor(list(places), device=ids_BT.device)
    logits: Tensor = model(input_ids=ids_BT, **more).logits
    return logits if picks else logits[:, list(places)]


def plain_cache(model: Any) -> bool:
    """Whether a model keeps plain keys and values of all that it read, which rows may go on from."""
    if not {"past_key_values", "use_cache"} <= parameters(model):
        return False
    cache = DynamicCache(config=model.config)
    with looking(model):
        _forward(model, torch.tensor([[0, 1]], device=model.device), cache, [1])
    return bool(cache.layers) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _common(rows: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all rows begin with in common."""
    if not rows:
        return 0
    low, high = min(rows), max(rows)
    return next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))


def token_logprobs(
    model: Any, rows: Sequence[Sequence[int]], *, batch_size: int = 8, tell: Tell | None = None
) -> list[list[float]]:
    """The log-probability of each token of each row after those before it: one less than the row has tokens.

    The logits of a few rows at a time are held in pieces, so that a large vocabulary needs no more memory.
    """
    found: list[list[float]] = [[] for _ in rows]
    order = sorted((at for at, row in enumerate(rows) if len(row) > 1), key=lambda at: -len(rows[at]))
    with looking(model):
        pieces = plain_cache(model)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            values = _whole_rows(model, [rows[at] for at in places], pieces=pieces)
            for at, each in zip(places, values, strict=True):
                found[at] = each
            if tell is not None:
                tell(min(start + batch_size, len(order)), len(order))
    return found


def _whole_rows(model: Any, rows: Sequence[Sequence[int]], *, pieces: bool) -> list[list[float]]:
    width = max(map(len, rows))
    filled = [[*row, *[row[-1]] * (width - len(row))] for row in rows]
    ids_BT = torch.tensor(filled, device=model.device)
    size = model.get_output_embeddings().weight.shape[0]
    step = max(1, LOGITS_BYTES // (4 * size * len(rows))) if pieces else width
    cache = DynamicCache(config=model.config) if pieces else None
    parts = []
    for start in range(0, width - 1, step):
        end = min(start + step, width - 1)
        logits_BTV = _forward(model, ids_BT[:, start:end], cache, range(end - start)).float()
        wanted_BT1 = ids_BT[:, start + 1 : end + 1, None]
        parts.append((logits_BTV.gather(-1, wanted_BT1)[..., 0] - logits_BTV.logsumexp(-1)).cpu())
    values_BT = torch.cat(parts, dim=1).tolist()
    return [values[: len(row) - 1] for values, row in zip(values_BT, rows, strict=True)]
