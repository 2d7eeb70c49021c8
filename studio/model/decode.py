"""The model's steps for several answers at once: prompts read in pieces, keys and values kept in slots.

Letters: B answers of the batch, T tokens, H heads of keys, D features of a head, V ids.

Each answer has a row of the cache and fills it from the left; a mask hides the columns that a shorter
row has not reached. So an answer joins by copying its keys and values into a free row and leaves by
giving the row to the last one: nobody else's columns move.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from studio.errors import MemoryFullError
from studio.model.hardware import memory_bytes

# Prompt tokens in one forward pass: long enough to be fast, short enough that others wait little.
CHUNK = {"cpu": 512, "cuda": 4096}
# Columns are added in steps, so that a growing answer is copied rarely.
COLUMNS = 128
# Rotary embeddings whose angles depend on the longest row of the batch.
UNEVEN_ROPE = ("dynamic", "longrope")
# The part of the logits' spread by which rounding may move them on average. A model that reads the mask
# in a way of its own moves them by about the whole spread.
ROUNDING = 0.1


class Prefill:
    """Prompts that are read into a cache of their own: a long one in pieces, short ones together.

    Together they are filled up on the right, where a causal model looks only after it has read them.
    """

    def __init__(self, model: Any, rows: Sequence[Sequence[int]], *, whole: bool = False) -> None:
        self.cache = DynamicCache(config=model.config)
        self._model, self._whole = model, whole
        self._ends = [len(row) - 1 for row in rows]
        self._longest = max(self._ends) + 1
        filled = [[*row, *[row[-1]] * (self._longest - len(row))] for row in rows]
        self._ids_BT = torch.tensor(filled, device=model.device)
        self._done = 0

    def advance(self, budget: int) -> tuple[Tensor | None, int]:
        """Read up to `budget` more tokens; the logits (B, V) after each prompt when all are read, and how many."""
        count = self._longest - self._done
        if not self._whole and len(self._ends) == 1:
            count = min(count, budget)
        piece_BT = self._ids_BT[:, self._done : self._done + count]
        # Every prompt's last place, counted within this piece; all but the last piece only fill the cache.
        logits_BV = forward(self._model, piece_BT, self.cache, ends=[end - self._done for end in self._ends])
        self._done += count
        return (logits_BV if self._done == self._longest else None), count * len(self._ends)


def together(rows: Sequence[Sequence[int]], budget: int) -> int:
    """How many of the first rows are read together: as many as the budget holds when filled up, but at least one."""
    longest, count = 0, 0
    for row in rows:
        longest = max(longest, len(row))
        if count and longest * (count + 1) > budget:
            break
        count += 1
    return count


def forward(model: Any, ids_BT: Tensor, cache: Cache, *, ends: Sequence[int] = (), **more: Any) -> Tensor:
    """Float32 logits (B, V) after the last token of each row, or after the place in `ends` that is its last."""
    known = parameters(model)
    several = len(set(ends)) > 1
    # Logits are the largest tensor of a step, so they are made only where somebody reads them.
    places = sorted(set(ends)) if several else []
    if "logits_to_keep" in known:
        more["logits_to_keep"] = torch.tensor(places, device=ids_BT.device) if several else 1
    name = "past_key_values" if "past_key_values" in known else "cache_params"
    found: Tensor = model(input_ids=ids_BT, use_cache=True, **{name: cache}, **more).logits
    if not several:
        return found[:, -1].float()
    if "logits_to_keep" in known:
        ends = [places.index(end) for end in ends]
    return torch.stack([found[row, end] for row, end in enumerate(ends)]).float()


def parameters(model: Any) -> frozenset[str]:
    """The names that the model's forward takes; those of the base below an adapter."""
    kind: Any = type(model.get_base_model() if hasattr(model, "get_base_model") else model)
    return _parameters(kind)


@functools.cache
def _parameters(kind: Any) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


class Apart:
    """Answers that share nothing but their turns: each has a cache and a forward pass of its own."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._caches: list[Cache] = []

    def join(self, cache: Any, number: int, length: int) -> None:
        """Take in the one prompt of a cache that has been read; its number and length say nothing here."""
        self._caches.append(cache)

    def leave(self, row: int) -> None:
        """Let a row go; the last one takes its number."""
        self._caches[row] = self._caches[-1]
        self._caches.pop()

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits (B, V) after one more token for each row."""
        device = self._model.device
        pairs = zip(tokens, self._caches, strict=True)
        return torch.cat([forward(self._model, torch.tensor([[id]], device=device), cache) for id, cache in pairs])


class Slots:
    """Answers that go through the model together, each in its own row of one cache."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lengths: list[int] = []
        self._layers: list[_SlotLayer] = []
        self._mask: Tensor | None = None
        self._cache: Any = None

    def join(self, cache: Any, number: int, length: int) -> None:
        """Take in a row of a cache that has been read. Raises MemoryFullError when there is no room for it."""
        row = len(self._lengths)
        self._reserve(cache.layers, row + 1, max([length, *self._lengths]) + 1)
        for layer, filled in zip(self._layers, cache.layers, strict=True):
            layer.keys[row, :, :length] = filled.keys[number, :, :length]
            layer.values[row, :, :length] = filled.values[number, :, :length]
        self._show(row, length)
        self._lengths.append(length)

    def leave(self, row: int) -> None:
        """Let a row go; the last one takes its number."""
        last = len(self._lengths) - 1
        length = self._lengths[last]
        for part in (part for layer in self._layers for part in (layer.keys, layer.values)):
            part[row] = part[last]
            # Hidden columns go through the sums too: NaN would stay there for the next answer.
            part[last] = 0
        if row != last:
            self._show(row, length)
            self._lengths[row] = length
        self._lengths.pop()
        if not self._lengths:
            # Memory that nobody uses belongs to others.
            self._layers, self._mask = [], None

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits (B, V) after one more token for each row."""
        rows, longest = len(tokens), max(self._lengths) + 1
        self._reserve(self._layers, rows, longest)
        assert self._mask is not None
        device = self._model.device
        at_B = torch.tensor(self._lengths, device=device)
        every_B = torch.arange(rows, device=device)
        self._mask[every_B, 0, 0, at_B] = 0
        for layer in self._layers:
            layer.place(every_B, at_B, longest)
        logits_BV = forward(
            self._model,
            torch.tensor([[id] for id in tokens], device=device),
            self._cache,
            position_ids=at_B[:, None],
            attention_mask=self._mask[:rows, :, :, :longest],
        )
        self._lengths = [length + 1 for length in self._lengths]
        return logits_BV

    def _show(self, row: int, length: int) -> None:
        assert self._mask is not None
        self._mask[row] = -torch.inf
        self._mask[row, ..., :length] = 0

    def _reserve(self, like: Sequence[Any], rows: int, columns: int) -> None:
        """Room for so many rows and columns, with what stands already."""
        have = self._layers[0].keys if self._layers else None
        if have is not None and have.shape[0] >= rows and have.shape[2] >= columns:
            return
        old_rows, old_columns = (have.shape[0], have.shape[2]) if have is not None else (0, 0)
        rows = old_rows if old_rows >= rows else max(rows, 2 * old_rows)
        if old_columns < columns:
            # Half as much again, so that a long answer is copied a few times and not every hundred tokens.
            columns = -(-max(columns + 1, old_columns * 3 // 2) // COLUMNS) * COLUMNS
        else:
            columns = old_columns
        _must_fit(like, rows * columns)
        layers = [_SlotLayer(layer, rows, columns) for layer in like]
        for new, old in zip(layers, self._layers, strict=False):
            new.keys[:old_rows, :, :old_columns] = old.keys
            new.values[:old_rows, :, :old_columns] = old.values
        mask = torch.full((rows, 1, 1, columns), -torch.inf, dtype=like[0].keys.dtype, device=like[0].keys.device)
        if self._mask is not None:
            mask[:old_rows, ..., :old_columns] = self._mask
        self._layers, self._mask, self._cache = layers, mask, Cache(layers=list(layers))


class _SlotLayer(CacheLayerMixin):
    """Keys and values (B, H, T, D) of one layer, written in place."""

    def __init__(self, like: Any, rows: int, columns: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: Tensor = _blank(like.keys, rows, columns)
        self.values: Tensor = _blank(like.values, rows, columns)
        self.is_initialized = True
        self._every_B = self._at_B = torch.empty(0)
        self._rows = self._longest = 0

    def place(self, every_B: Tensor, at_B: Tensor, longest: int) -> None:
        """Where the next step writes, and how many columns it sees."""
        self._every_B, self._at_B = every_B, at_B
        self._rows, self._longest = len(every_B), longest

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one column for each row; all columns that some row has reached."""
        self.keys[self._every_B, :, self._at_B] = key_states[:, :, 0]
        self.values[self._every_B, :, self._at_B] = value_states[:, :, 0]
        return self.keys[: self._rows, :, : self._longest], self.values[: self._rows, :, : self._longest]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to make."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns and their offset, with the new one."""
        return self._longest, 0

    def get_seq_length(self) -> int:
        """Columns before the new one."""
        return self._longest - 1

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def _blank(like: Tensor, rows: int, columns: int) -> Tensor:
    # Zeros and nothing else: a column that is hidden still goes through the sums, times zero.
    return torch.zeros(rows, like.shape[1], columns, like.shape[3], dtype=like.dtype, device=like.device)


def _must_fit(like: Sequence[Any], places: int) -> None:
    each = sum(part.element_size() * part.shape[1] * part.shape[3] for at in like for part in (at.keys, at.values))
    device = like[0].keys.device
    free = _free_on(device) if device.type == "cuda" else memory_bytes()[1]
    if each * places > free:
        raise MemoryFullError(
            f"keys and values of all answers need {each * places / 2**30:.1f} GiB, and {free / 2**30:.1f} are free. "
            "Ask again when others have ended, ask shorter, or start with a smaller --max_concurrent."
        )


def _free_on(device: torch.device) -> int:
    # What torch holds and does not use is free for it.
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + held


def why_apart(model: Any) -> str:
    """Why this model's answers cannot share a batch; empty when they can.

    What cannot be told from its config is tried: two short rows together must give what one gives alone.
    """
    if not {"past_key_values", "position_ids", "attention_mask"} <= parameters(model):
        return "its forward pass takes no positions or no cache of ours"
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention ({model.config._attn_implementation}) takes no mask of ours"
    rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    if str(rope.get("rope_type")) in UNEVEN_ROPE:
        return f"its positions ({rope['rope_type']}) depend on the longest row"
    size = model.get_input_embeddings().weight.shape[0]
    rows = [[id % size for id in ids] for ids in ((11, 7, 5), (3, 2, 13, 17, 19, 23))]
    first = Prefill(model, rows[:1])
    first.advance(len(rows[0]))
    if any(type(layer) is not DynamicLayer for layer in first.cache.layers):
        return "its cache is not one of plain keys and values (sliding window, or a state of another kind)"
    alone, slots = Apart(model), Slots(model)
    alone.join(first.cache, 0, len(rows[0]))
    one_V = alone.step([29 % size])[0]
    try:
        both = Prefill(model, rows)
        both.advance(len(rows[1]))
        for number, ids in enumerate(rows):
            slots.join(both.cache, number, len(ids))
        other_V = slots.step([29 % size, 31 % size])[0]
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        return f"it takes no mask of ours ({type(error).__name__})"
    far = float((one_V - other_V).abs().mean())
    return "" if far <= ROUNDING * float(one_V.std()) else "rows of a batch would change each other's answers"
