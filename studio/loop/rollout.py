"""The policy writes answers: prompts filled up on the left, keys and values kept, a chance of its own for each answer.

Letters: B answers in work, T tokens so far, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from studio.arguments.generation import SamplingArguments
from studio.errors import DivergedError, ModelError
from studio.loop.critic import inner
from studio.model.decode import forward

# Attention that reads a mask of ours while answers are written.
MASKED = {"studio_documents": "sdpa"}
# Logits that may differ by rounding, as a share of their largest.
ROUNDING = {torch.float32: 1e-3}
ROUGHLY = 5e-2


class RolloutStopped(Exception):
    """A stop was asked for while answers were written; what there is of them is thrown away."""


@dataclass(frozen=True)
class Written:
    """An answer as ids, its end token among them where it `ended` by itself."""

    ids: list[int]
    ended: bool


def seed_of(base: int, step: int, place: int) -> int:
    """The seed of one answer: of the run, the step and the answer's place in it, so that a step can be taken again."""
    return int(np.random.SeedSequence([base, step, place]).generate_state(1)[0])


class Writer(Protocol):
    """What writes answers: this module's own loop, or another engine."""

    def write(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], halt: Callable[[], bool], together: int
    ) -> list[Written]:
        """An answer to each prompt, drawn with its own seed, at most so many of them `together`.

        Raises RolloutStopped as soon as `halt` says so.
        """


class OwnWriter:
    """Writes with the model that learns."""

    def __init__(self, model: Any, asked: SamplingArguments, stop_ids: Sequence[int], pad_id: int) -> None:
        self.model, self.asked, self.pad_id = model, asked, pad_id
        self.stop_ids = torch.tensor(sorted(stop_ids))
        self._even: bool | None = None

    def write(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], halt: Callable[[], bool], together: int
    ) -> list[Written]:
        """An answer to each prompt, in their order."""
        found: list[Written | None] = [None] * len(prompts)
        with torch.no_grad(), writing(self.model):
            if self._even is None:
                self._even = fills_up(self.model, self.pad_id)
            for places in self._batches(prompts, together):
                batch = _Batch(self, [prompts[at] for at in places], [seeds[at] for at in places])
                for at, written in zip(places, batch.run(halt), strict=True):
                    found[at] = written
        return [written for written in found if written is not None]

    def _batches(self, prompts: Sequence[Sequence[int]], together: int) -> Iterator[list[int]]:
        """Numbers of the prompts to work on together: those of like length, and of one length where padding tells."""
        order = sorted(range(len(prompts)), key=lambda at: (len(prompts[at]), at))
        batch: list[int] = []
        for at in order:
            uneven = bool(batch) and not self._even and len(prompts[at]) != len(prompts[batch[0]])
            if batch and (len(batch) == together or uneven):
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch


class _Batch:
    """Answers that are written together; those that ended leave the batch when half of it has."""

    def __init__(self, writer: OwnWriter, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> None:
        self.writer, self.model = writer, writer.model
        self.device = next(self.model.parameters()).device
        self.prompts = prompts
        most = writer.asked.max_new_tokens
        # Drawn beforehand, each answer from its own seed: who else is in the batch changes nothing.
        chances = [torch.rand(most, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self.chances_BT = torch.stack(chances).to(self.device)
        self.cache = DynamicCache(config=inner(self.model).config)

    def run(self, halt: Callable[[], bool]) -> list[Written]:
        """Write until every answer has ended or is as long as may be."""
        most, stop_ids = self.writer.asked.max_new_tokens, self.writer.stop_ids.to(self.device)
        ids_BT, mask_BT = filled_left(self.prompts, self.writer.pad_id, self.device)
        count = len(self.prompts)
        written_BT = torch.full((count, most), -1, device=self.device)
        ended_B = torch.zeros(count, dtype=torch.bool, device=self.device)
        rows_B = torch.arange(count, device=self.device)
        step_BT = ids_BT
        for place in range(most):
            if halt():
                raise RolloutStopped
            logits_BV = self._forward(step_BT, mask_BT)
            chosen_B = choose(logits_BV, self.writer.asked, self.chances_BT[rows_B, place])
            written_BT[rows_B, place] = chosen_B
            stops_B = torch.isin(chosen_B, stop_ids)
            ended_B[rows_B] |= stops_B
            live_B = ~ended_B[rows_B]
            left = int(live_B.sum())
            if not left:
                break
            mask_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1)
            step_BT = chosen_B[:, None]
            if 2 * left <= len(rows_B):
                kept = live_B.nonzero()[:, 0]
                self.cache.batch_select_indices(kept)
                rows_B, mask_BT, step_BT = rows_B[kept], mask_BT[kept], step_BT[kept]
        return [_cut(row, stop_ids.tolist()) for row in written_BT.tolist()]

    def _forward(self, step_BT: Tensor, mask_BT: Tensor) -> Tensor:
        places_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -step_BT.shape[1] :]
        return forward(self.model, step_BT, self.cache, attention_mask=mask_BT, position_ids=places_BT)


def choose(logits_BV: Tensor, asked: SamplingArguments, chances_B: Tensor) -> Tensor:
    """Ids (B,) at the point `chances_B` (from 0 up to 1) of each row's summed probability.

    Raises DivergedError where the logits are no numbers.
    """
    scaled_BV = logits_BV.double() / asked.temperature
    if asked.top_k and asked.top_k < scaled_BV.shape[1]:
        least_B1 = scaled_BV.topk(asked.top_k, dim=1).values[:, -1:]
        scaled_BV = scaled_BV.masked_fill(scaled_BV < least_B1, -torch.inf)
    shares_BV = scaled_BV.softmax(dim=1)
    if asked.top_p < 1:
        sorted_BV, order_BV = shares_BV.sort(dim=1, descending=True, stable=True)
        # A token stays while those before it do not reach top_p yet; the first one always does.
        out_BV = sorted_BV.cumsum(dim=1) - sorted_BV >= asked.top_p
        shares_BV = shares_BV.masked_fill(out_BV.gather(1, order_BV.argsort(dim=1)), 0.0)
    sums_BV = shares_BV.cumsum(dim=1)
    whole_B = sums_BV[:, -1]
    if not bool(torch.isfinite(whole_B).all()):
        raise DivergedError(
            "training diverged: the model gives NaN for the next token of an answer. Lower --learning_rate, or go on "
            "from an earlier checkpoint with it."
        )
    points_B1 = (chances_B.double() * whole_B)[:, None]
    return torch.searchsorted(sums_BV, points_B1, right=True)[:, 0].clamp(max=sums_BV.shape[1] - 1)


def filled_left(rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, T), rows filled up on the left so that all end together."""
    width = max(len(row) for row in rows)
    ids = [[pad_id] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def fills_up(model: Any, pad_id: int) -> bool:
    """Whether a prompt that is filled up gives what it gives alone; models with a running state do not."""
    size = inner(model).get_input_embeddings().weight.shape[0]
    rows = [[id % size for id in ids] for ids in ((11, 7, 5), (3, 2, 13, 17, 19, 23))]
    device = next(model.parameters()).device
    config = inner(model).config

    def last(chosen: list[list[int]]) -> Tensor:
        ids_BT, mask_BT = filled_left(chosen, pad_id, device)
        places_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)
        cache = DynamicCache(config=config)
        return forward(model, ids_BT, cache, attention_mask=mask_BT, position_ids=places_BT)

    try:
        alone_V, together_V = last(rows[:1])[0], last(rows)[0]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"this model cannot write answers while it learns: its forward pass refuses a mask and positions "
            f"({' '.join(str(error).split())[:160]}). Choose another model."
        ) from error
    allowed = ROUNDING.get(inner(model).dtype, ROUGHLY) * max(float(alone_V.abs().max()), 1.0)
    return float((alone_V - together_V).abs().max()) <= allowed


@contextlib.contextmanager
def writing(model: Any) -> Iterator[None]:
    """The model ready to write: in evaluation mode, with attention that reads a mask. Afterwards as it was."""
    base, was_training = inner(model), model.training
    name = base.config._attn_implementation
    model.eval()
    if name in MASKED:
        base.set_attn_implementation(MASKED[name])
    try:
        yield
    finally:
        if name in MASKED:
            base.set_attn_implementation(name)
        model.train(was_training)


def _cut(row: list[int], stops: list[int]) -> Written:
    """The ids of an answer up to its first end token, or up to where it was broken off."""
    ids: list[int] = []
    for id in row:
        if id < 0:
            break
        ids.append(id)
        if id in stops:
            return Written(ids, True)
    return Written(ids, False)
