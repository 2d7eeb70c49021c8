"""The clipped losses of PPO over the tokens of a minibatch: pure functions.

Letters: L tokens of answers. Losses are sums over the tokens; whoever calls divides by the tokens of the minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clipped:
    """A loss summed over tokens, and how many of them lie where clipping took their gradient."""

    loss: Tensor
    clipped: Tensor


def policy_loss(logps_L: Tensor, before_L: Tensor, advantages_L: Tensor, clip: float) -> Clipped:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A) with r = exp(log p - log p before): arXiv 1707.06347, equation 7."""
    ratio_L = (logps_L - before_L).exp()
    free_L = -advantages_L * ratio_L
    held_L = -advantages_L * ratio_L.clamp(1 - clip, 1 + clip)
    return Clipped(torch.maximum(free_L, held_L).sum(), (held_L > free_L).sum())


def value_loss(values_L: Tensor, before_L: Tensor, returns_L: Tensor, clip: float) -> Clipped:
    """Half of max((V - R)^2, (V' - R)^2), V' clipped to +-clip around the value before, as in PPO's own code."""
    held_L = torch.minimum(torch.maximum(values_L, before_L - clip), before_L + clip)
    free, held = (values_L - returns_L) ** 2, (held_L - returns_L) ** 2
    return Clipped(0.5 * torch.maximum(free, held).sum(), (held > free).sum())


def moved(logps_L: Tensor, before_L: Tensor) -> Tensor:
    """How far the policy moved since it wrote the answers: the sum of (r - 1) - log r, which estimates the KL.

    It is never negative and its mean is KL(before || now) where the tokens were drawn from the policy before.
    """
    change_L = logps_L - before_L
    return (change_L.exp() - 1 - change_L).sum()
