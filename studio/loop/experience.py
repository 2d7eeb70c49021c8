"""What one step learns from: prompts, the answers to them, and what policy, reference and reward say of these.

Letters: N answers of this process, T places of the longest answer; rows are filled up on the right.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from studio.loop.batch import flat_batch, padded_batch
from studio.loop.rollout import Written
from studio.model.tokenizer import LightTokenizer
from studio.rewards.base import Sample


@dataclass(frozen=True)
class Answered:
    """Prompts and the answers to them, with the samples that a reward is asked about."""

    prompts: list[list[int]]
    answers: list[Written]
    samples: list[Sample]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths_N(self) -> Tensor:
        """Tokens of each answer, its end among them."""
        return torch.tensor([len(answer.ids) for answer in self.answers])

    @property
    def mask_NT(self) -> Tensor:
        """Where answers have tokens."""
        lengths_N = self.lengths_N
        return torch.arange(int(lengths_N.max())) < lengths_N[:, None]

    @property
    def tokens(self) -> int:
        """Of prompts and answers."""
        return sum(len(prompt) for prompt in self.prompts) + int(self.lengths_N.sum())

    def batch(self, places: Sequence[int], pad_id: int | None) -> dict[str, Tensor]:
        """Some of the rows as the model reads them while it learns; labels are the tokens of the answers."""
        rows = [(self.prompts[at], self.answers[at].ids) for at in places]
        ids = [[*prompt, *answer] for prompt, answer in rows]
        masks = [[False] * len(prompt) + [True] * len(answer) for prompt, answer in rows]
        return flat_batch(ids, masks) if pad_id is None else padded_batch(ids, masks, pad_id)


@dataclass(frozen=True)
class Experience:
    """Answers with everything that the losses need of them, on the device of the model.

    `scores_N` is what the last token of an answer gets, `rewards_N` what the source of rewards gave,
    `kl_N` log p - log reference summed over an answer.
    """

    answered: Answered
    mask_NT: Tensor
    logps_NT: Tensor
    values_NT: Tensor
    advantages_NT: Tensor
    returns_NT: Tensor
    rewards_N: Tensor
    scores_N: Tensor
    kl_N: Tensor

    def tokens(self, name: str, places: Sequence[int]) -> Tensor:
        """One of the tables at the tokens of some answers (L,), in the order of their batch."""
        table: Tensor = getattr(self, name)
        return table[list(places)][self.mask_NT[list(places)]]


def sample_of(row: Mapping[str, Any], ids: Sequence[int], stops: Collection[int], tokenizer: LightTokenizer) -> Sample:
    """What a reward is asked about one answer to a row; the token that ended the answer is none of its words."""
    source = json.loads(row["source"])
    words = ids[:-1] if ids and ids[-1] in stops else ids
    return Sample(
        tuple(source["messages"]),
        tokenizer.fast.decode(list(words), skip_special_tokens=True),
        list(row["input_ids"]),
        list(ids),
        {"answer": source["answer"], "tools": source["tools"]},
    )


def spread(values_L: Tensor, mask_NT: Tensor) -> Tensor:
    """Values of the tokens, answer after answer, as a table (N, T) that is zero elsewhere."""
    table_NT = torch.zeros(mask_NT.shape, dtype=torch.float32, device=values_L.device)
    table_NT[mask_NT] = values_L.float()
    return table_NT
