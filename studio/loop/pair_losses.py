"""Losses of pairs of answers, each from its paper: log-probabilities of both answers → a loss for each pair.

Letters of shapes: P pairs. c is the chosen answer, r the rejected one; log p is the policy's summed
log-probability of an answer, log q the reference's. Where a loss is averaged, both are divided by the answer's
tokens. x is (log p(c) - log q(c)) - (log p(r) - log q(r)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, relu


@dataclass(frozen=True)
class Scale:
    """The numbers that a command gives to a loss."""

    beta: float
    smoothing: float = 0.0
    gamma: float = 0.0


@dataclass(frozen=True)
class Pairs:
    """The answers of P pairs as policy and reference see them; without a reference its numbers are zero.

    `drift_c` and `drift_r` are means of log p - log q over all chosen and all rejected answers of the step.
    """

    policy_c: torch.Tensor
    policy_r: torch.Tensor
    reference_c: torch.Tensor
    reference_r: torch.Tensor
    drift_c: float = 0.0
    drift_r: float = 0.0

    @property
    def gain_c(self) -> torch.Tensor:
        """log p - log q of the chosen answers (P,)."""
        return self.policy_c - self.reference_c

    @property
    def gain_r(self) -> torch.Tensor:
        """log p - log q of the rejected answers (P,)."""
        return self.policy_r - self.reference_r


def sigmoid(pairs: Pairs, scale: Scale) -> torch.Tensor:
    """-log sigmoid(beta x): DPO (arXiv 2305.18290, equation 7).

    With smoothing e, a share e of the verdicts is taken to be the wrong way round: conservative DPO (Mitchell,
    "A note on DPO with noisy preferences", 2023): -(1 - e) log sigmoid(beta x) - e log sigmoid(-beta x).
    """
    firm = scale.beta * (pairs.gain_c - pairs.gain_r)
    return -(1 - scale.smoothing) * logsigmoid(firm) - scale.smoothing * logsigmoid(-firm)


def hinge(pairs: Pairs, scale: Scale) -> torch.Tensor:
    """max(0, 1 - beta x): the margin loss of SLiC (arXiv 2305.10425) on DPO's rewards (RSO, arXiv 2309.06657)."""
    return relu(1 - scale.beta * (pairs.gain_c - pairs.gain_r))


def ipo(pairs: Pairs, scale: Scale) -> torch.Tensor:
    """(x - 1 / (2 beta))^2 on averaged log-probabilities: IPO (arXiv 2310.12036, equation 17)."""
    return (pairs.gain_c - pairs.gain_r - 1 / (2 * scale.beta)) ** 2


def kto_pair(pairs: Pairs, scale: Scale) -> torch.Tensor:
    """KTO (arXiv 2402.01306) on pairs: each answer is held against how far the step's other half has moved.

    The mean of 1 - sigmoid(beta (gain of c - z_r)) and 1 - sigmoid(beta (z_c - gain of r)), where z is the drift
    of all chosen or all rejected answers, at least 0. No gradient goes through z.
    """
    z_c, z_r = max(pairs.drift_c, 0.0), max(pairs.drift_r, 0.0)
    wanted = 1 - torch.sigmoid(scale.beta * (pairs.gain_c - z_r))
    unwanted = 1 - torch.sigmoid(scale.beta * (z_c - pairs.gain_r))
    return (wanted + unwanted) / 2


def orpo(pairs: Pairs, scale: Scale) -> torch.Tensor:
    """-log p(c) - beta log sigmoid(log odds(c) - log odds(r)), averaged: ORPO (arXiv 2403.07691, equations 6 and 7).

    odds(y) is p(y) / (1 - p(y)). There is no reference.
    """
    odds = _log_odds(pairs.policy_c) - _log_odds(pairs.policy_r)
    return -pairs.policy_c - scale.beta * logsigmoid(odds)


def simpo(pairs: Pairs, scale: Scale) -> torch.Tensor:
    """-log sigmoid(beta (log p(c) - log p(r)) - gamma), averaged: SimPO (arXiv 2405.14734, equation 6)."""
    return -logsigmoid(scale.beta * (pairs.policy_c - pairs.policy_r) - scale.gamma)


def _log_odds(logp: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)) for log p; a probability of one is taken to be the next smaller number."""
    logp = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    return logp - torch.log(-torch.expm1(logp))


@dataclass(frozen=True)
class PairLoss:
    """A loss and what it needs. `averaged`: log-probabilities are means over tokens; `drift`: means of the step."""

    of: Callable[[Pairs, Scale], torch.Tensor]
    averaged: bool = False
    reference: bool = True
    drift: bool = False


LOSSES = {
    "sigmoid": PairLoss(sigmoid),
    "hinge": PairLoss(hinge),
    "ipo": PairLoss(ipo, averaged=True),
    "kto_pair": PairLoss(kto_pair, drift=True),
    "orpo": PairLoss(orpo, averaged=True, reference=False),
    "simpo": PairLoss(simpo, averaged=True, reference=False),
}
