"""Log-probabilities of labels, without the logits of a whole batch in memory at once.

Letters of shapes: B rows, T tokens, L tokens that bear loss, P of these in a piece, D width, V vocabulary, N documents.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.nn.functional import linear, log_softmax
from torch.utils.checkpoint import checkpoint

from studio.loop.batch import NO_LOSS
from studio.loop.causal import label_logits
from studio.loop.head import gives_logits, passing, vocabulary_of
from studio.loop.reference import unwrapped

# How many logits are held in float32 at once: 64 MiB on a CPU; a GPU is only busy with more.
ON_CPU, ON_GPU = 2**24, 2**27


class LabelLogProbs:
    """Computes log p(label | what stands before it) for each label of a batch, (L,) in float32.

    The head goes over some labels at a time. Where a model does something more with its logits than the head does
    (a cap, a scale), and where it is compiled (`whole`), they are computed at once instead.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        # Whether a model's logits are what its head gives, by head.
        self._plain: weakref.WeakKeyDictionary[torch.nn.Module, bool] = weakref.WeakKeyDictionary()

    def __call__(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The log-probabilities of a batch, in the order of its tokens."""
        bare = unwrapped(model)
        head = bare.get_output_embeddings()
        if self.whole or head is None:
            return _gathered(*label_logits(model, inputs))
        if head not in self._plain:
            self._plain[head] = gives_logits(bare)
        if not self._plain[head]:
            return _gathered(*label_logits(model, inputs))
        with passing(head):
            states_LD, targets_L = label_logits(model, inputs)
        return _through(head, states_LD, targets_L)


def document_sums(logps_L: torch.Tensor, labels_per_document: list[int]) -> torch.Tensor:
    """The sum over each document, (N,), for log-probabilities in the order of the tokens."""
    return torch.stack([part.sum() for part in logps_L.split(labels_per_document)])


def labels_per_document(inputs: dict[str, torch.Tensor]) -> list[int]:
    """How many labels each document of a batch has."""
    bearing_BT = inputs["labels"] != NO_LOSS
    if "cu_seq_lens_q" not in inputs:
        counts: list[int] = bearing_BT.sum(dim=1).tolist()
        return counts
    before = torch.cat([bearing_BT.new_zeros(1, dtype=torch.long), bearing_BT[0].cumsum(0)])
    counts = before[inputs["cu_seq_lens_q"].long()].diff().tolist()
    return counts


def _through(head: Any, states_LD: torch.Tensor, targets_L: torch.Tensor) -> torch.Tensor:
    """Log-probabilities by way of the head, some labels at a time."""
    if not len(targets_L):  # a process may draw a batch without labels; it must still take part
        return states_LD.float().sum(-1)[:0]
    size = max(16, (ON_GPU if states_LD.is_cuda else ON_CPU) // vocabulary_of(head))
    if type(head) is torch.nn.Linear and not any(weight.requires_grad for weight in head.parameters()):
        apply: Any = _FrozenHead.apply
        logps: torch.Tensor = apply(states_LD.to(head.weight.dtype), head.weight, head.bias, targets_L, size)
        return logps
    pieces = list(zip(states_LD.split(size), targets_L.split(size), strict=True))

    def part(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _gathered(head(states), targets)

    if len(pieces) == 1 or not torch.is_grad_enabled():
        return torch.cat([part(*piece) for piece in pieces])
    # Their logits are computed again for the gradients, a piece at a time.
    return torch.cat([checkpoint(part, *piece, use_reentrant=False) for piece in pieces])


def _gathered(logits_LV: torch.Tensor, targets_L: torch.Tensor) -> torch.Tensor:
    if not len(targets_L):
        return logits_LV.float().sum(-1)[:0]
    return log_softmax(logits_LV.float(), dim=-1).gather(-1, targets_L[:, None])[:, 0]


class _FrozenHead(torch.autograd.Function):
    """Log-probabilities behind a head that does not learn; neither logits nor anything of size V is kept.

    d log p(y) / d state = W[y] - sum over v of p(v) W[v] is (L, D), known as soon as the probabilities are: it is
    computed with them and kept in their place, so the head is gone through once, as with whole logits.
    """

    @staticmethod
    def forward(
        ctx: Any, states_LD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None,
        targets_L: torch.Tensor, size: int,
    ) -> torch.Tensor:  # fmt: skip
        """By pieces of `size` labels."""
        slopes_LD = torch.empty_like(states_LD) if ctx.needs_input_grad[0] else None
        logps_L = states_LD.new_empty(len(targets_L), dtype=torch.float32)
        for start in range(0, len(targets_L), size):
            part = slice(start, start + size)
            targets_P1 = targets_L[part, None]
            logps_PV = log_softmax(linear(states_LD[part], weight_VD, bias_V).float(), dim=-1)
            logps_L[part] = logps_PV.gather(-1, targets_P1)[:, 0]
            if slopes_LD is not None:
                # p(v), less one for the label itself: small where the label is likely, so it is rounded only now.
                rest_PV = logps_PV.exp_()
                rest_PV.scatter_add_(-1, targets_P1, torch.full_like(targets_P1, -1, dtype=torch.float32))
                torch.mm(rest_PV.to(weight_VD.dtype).neg_(), weight_VD, out=slopes_LD[part])
        if slopes_LD is not None:
            ctx.save_for_backward(slopes_LD)
        return logps_L

    @staticmethod
    def backward(ctx: Any, *slope_L: torch.Tensor) -> Any:
        """The gradient of the states (L, D)."""
        (slopes_LD,) = ctx.saved_tensors
        return (slopes_LD * slope_L[0][:, None]).to(slopes_LD.dtype), None, None, None, None
