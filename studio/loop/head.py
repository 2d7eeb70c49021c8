"""Cross-entropy without the logits of a whole batch: the head goes over some labels at a time.

For a vocabulary of 128,000 the logits of 8,192 tokens and their gradient take 12 GB on a GPU. Here the gradients of a
piece are computed while its logits are there, so nothing of it stays and no product is done twice (the way of Liger,
arXiv 2410.10989). Letters of shapes: L labels, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

# Logits of a piece: 2^27 of them are 0.5 GB in float32.
PIECE = 2**27


def worth_it(labels: int, vocabulary: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether going piece by piece saves memory that matters, where it costs no time and no precision.

    Not on a CPU, where it only costs. Not in float16: a scaler must see the gradients before they are rounded.
    """
    return device.type == "cuda" and dtype != torch.float16 and labels * vocabulary > 2 * PIECE


@contextmanager
def passing(head: torch.nn.Module) -> Iterator[None]:
    """Inside, the head gives what it is given: a model's logits are then the states before its head."""
    own = vars(head).get("forward")
    head.forward = lambda states, *_args, **_kwargs: states
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own


def gives_logits(model: Any) -> bool:
    """Whether a model's logits are its head's as they are; some models scale or bend them afterwards."""
    head = model.get_output_embeddings()
    if head is None:
        return False
    ids = torch.arange(8, device=model.device)[None] % vocabulary_of(head)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            with passing(head):
                states = model(input_ids=ids, use_cache=False).logits
            return bool(torch.equal(logits, head(states)))
    finally:
        model.train(was_training)


def summed_loss(
    head: torch.nn.Module, states_LD: torch.Tensor, targets_L: torch.Tensor, smoothing: float = 0.0, piece: int = 0
) -> torch.Tensor:
    """Summed cross-entropy of head(states) against the targets, by `piece` labels at a time (0: what fits PIECE).

    Gradients reach the states and every weight of the head that learns.
    """
    weights = [weight for weight in head.parameters() if weight.requires_grad]
    size = piece or max(1, PIECE // vocabulary_of(head))
    total: torch.Tensor = _Pieces.apply(head, states_LD, targets_L, smoothing, size, *weights)  # type: ignore[no-untyped-call]
    return total


def vocabulary_of(head: torch.nn.Module) -> int:
    """How many logits a head gives."""
    return int(getattr(head, "out_features", 0) or next(head.parameters()).shape[0])


class _Pieces(torch.autograd.Function):
    """The loss, with gradients that were computed beside it."""

    @staticmethod
    def forward(
        ctx: Any, head: Any, states_LD: torch.Tensor, targets_L: torch.Tensor, smoothing: float, size: int,
        *weights: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Sum over the pieces; see `summed_loss`."""
        total = states_LD.new_zeros((), dtype=torch.float32)
        grad_LD = torch.zeros_like(states_LD)
        grads = [torch.zeros_like(weight) for weight in weights]
        for start in range(0, len(targets_L), size):
            part = slice(start, start + size)
            with torch.enable_grad():
                states = states_LD[part].detach().requires_grad_()
                logits = head(states).float()
                loss = cross_entropy(logits, targets_L[part], reduction="sum", label_smoothing=smoothing)
                del logits
                found = torch.autograd.grad(loss, [states, *weights])
            total += loss.detach()
            grad_LD[part] = found[0]
            for grad, more in zip(grads, found[1:], strict=True):
                grad += more
        ctx.save_for_backward(grad_LD, *grads)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """The gradients of the forward pass, times what comes from above."""
        states, *weights = ctx.saved_tensors
        return None, states * grad, None, None, None, *(weight * grad for weight in weights)
