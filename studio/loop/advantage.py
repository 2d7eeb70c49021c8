"""From rewards and values to advantages, and what keeps both in bounds: pure functions over one batch of answers.

Letters: N answers, T places. Answers are filled up on the right; `mask_NT` is True where an answer has a token.
Sums that go over all processes are made by `total`, which adds a tensor up over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Total = Callable[[Tensor], Tensor]


def token_rewards(scores_N: Tensor, kl_NT: Tensor, mask_NT: Tensor, coefficient: float) -> Tensor:
    """Rewards (N, T): minus `coefficient` times log p - log reference at each token, the score at the last one too.

    InstructGPT, arXiv 2203.02155, equation 2, spread over the tokens as in arXiv 1909.08593, section 2.
    """
    rewards_NT = torch.where(mask_NT, -coefficient * kl_NT, 0.0)
    last_N = mask_NT.sum(dim=1) - 1
    return rewards_NT.scatter_add(1, last_N[:, None], scores_N[:, None].to(rewards_NT))


def advantages(
    rewards_NT: Tensor, values_NT: Tensor, mask_NT: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns, both (N, T) and zero outside of the mask.

    delta_t = r_t + gamma V_(t+1) - V_t and A_t = delta_t + gamma lambda A_(t+1), with nothing behind the last token
    (arXiv 1506.02438, equation 16). The return is A_t + V_t.
    """
    found_NT = torch.zeros_like(values_NT)
    later_N = torch.zeros_like(values_NT[:, 0])
    next_value_N = torch.zeros_like(later_N)
    for place in reversed(range(values_NT.shape[1])):
        here_N = mask_NT[:, place]
        delta_N = rewards_NT[:, place] + gamma * next_value_N - values_NT[:, place]
        later_N = torch.where(here_N, delta_N + gamma * lam * later_N, 0.0)
        next_value_N = torch.where(here_N, values_NT[:, place], 0.0)
        found_NT[:, place] = later_N
    return found_NT, torch.where(mask_NT, found_NT + values_NT, 0.0)


def moments(values: Tensor, total: Total) -> tuple[float, float, int]:
    """Mean, variance (divided by the count) and count of values over all processes, in float64."""
    wide = values.double()
    sums = total(torch.stack([wide.sum(), torch.tensor(float(wide.numel()), dtype=wide.dtype, device=wide.device)]))
    count = int(sums[1])
    mean = float(sums[0]) / max(count, 1)
    spread = float(total(((wide - mean) ** 2).sum()))
    return mean, spread / max(count, 1), count


def whitened(values_NT: Tensor, mask_NT: Tensor, total: Total, *, centre: bool = True) -> Tensor:
    """Values of standard deviation 1, and of mean 0 unless it is kept (`centre` False); zero outside of the mask."""
    mean, variance, _ = moments(values_NT[mask_NT], total)
    scaled_NT = (values_NT - mean) * (variance + 1e-8) ** -0.5
    return torch.where(mask_NT, scaled_NT if centre else scaled_NT + mean, 0.0)


def explained_variance(values: Tensor, returns: Tensor, total: Total) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 one that says the mean, below that worse."""
    _, variance, _ = moments(returns, total)
    _, left, _ = moments(returns - values, total)
    return 1 - left / variance if variance > 0 else 0.0


def correlation(left: Tensor, right: Tensor, total: Total) -> float:
    """Pearson's correlation over all processes; 0 where one of the two does not vary."""
    (mean, spread, _), (other, width, _) = moments(left, total), moments(right, total)
    sums = total(
        torch.stack([((left.double() - mean) * (right.double() - other)).sum(), left.double().sum() * 0 + len(left)])
    )
    both = float(sums[0]) / max(float(sums[1]), 1)
    return both / (spread * width) ** 0.5 if spread > 1e-12 and width > 1e-12 else 0.0


@dataclass
class RunningScale:
    """Mean and spread of all scores so far, batch by batch (Chan, Golub and LeVeque 1979, equation 2.1)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, mean: float, variance: float, count: int) -> None:
        """Take in the moments of a batch."""
        whole = self.count + count
        if whole == 0:
            return
        apart = mean - self.mean
        self.squares += variance * count + apart**2 * self.count * count / whole
        self.mean += apart * count / whole
        self.count = whole

    def scaled(self, scores_N: Tensor) -> Tensor:
        """Scores with the running mean taken off, divided by the running standard deviation."""
        deviation: float = (self.squares / max(self.count - 1, 1)) ** 0.5
        return (scores_N - self.mean) / max(deviation, 1e-8)


class KlControl(Protocol):
    """Holds the coefficient of the KL penalty."""

    coefficient: float

    def update(self, kl: float, answers: int) -> None:
        """Take in the mean KL of a batch of answers."""


@dataclass
class FixedKl:
    """A coefficient that stays."""

    coefficient: float

    def update(self, kl: float, answers: int) -> None:
        """Nothing."""


@dataclass
class AdaptiveKl:
    """A coefficient that follows a target: up where answers stray further from the reference, down where they do not.

    arXiv 1909.08593, section 2.2: multiplied by 1 + clip(kl / target - 1, -0.2, 0.2) * answers / horizon.
    """

    coefficient: float
    target: float
    horizon: float

    def update(self, kl: float, answers: int) -> None:
        """Move the coefficient once for a batch."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coefficient *= 1 + error * answers / self.horizon


def plain(scale: RunningScale, control: KlControl) -> dict[str, Any]:
    """What a checkpoint keeps of both."""
    return {"kl_coefficient": control.coefficient, "score_scale": asdict(scale)}
