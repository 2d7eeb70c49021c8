"""The policy with a value head: log-probabilities of the tokens of answers, and what each place is worth.

Letters: L tokens of answers, E features, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.errors import ResumeError
from studio.loop.batch import NO_LOSS
from studio.loop.causal import label_logits

VALUE_HEAD = "value_head.safetensors"
# Rows of logits whose entropy is computed at a time where it is only told.
ROWS = 256


@dataclass(frozen=True)
class Looked:
    """What the policy says of each token of an answer: its log-probability, the entropy there, the value before it."""

    logps_L: Tensor
    entropies_L: Tensor
    values_L: Tensor


class ActorCritic(torch.nn.Module):
    """A causal language model and a linear head of its own, in float32, on the last hidden states of its trunk.

    The head begins at zero, so that the first values say nothing. `entropy_learns`: gradients go through the entropy.
    """

    def __init__(self, policy: Any, temperature: float, *, entropy_learns: bool) -> None:
        super().__init__()
        self.policy, self.temperature, self.entropy_learns = policy, temperature, entropy_learns
        output = _output(policy)
        device = next(policy.parameters()).device
        self.value_head = torch.nn.Linear(_width(policy), 1, device=device, dtype=torch.float32)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)
        self._hidden: Tensor | None = None
        output.register_forward_pre_hook(self._remember)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and values (L,), in the order of the tokens in the batch.

        Probabilities are those of softmax(logits / temperature), from which the tokens were drawn.
        """
        logits_LV, targets_L = label_logits(self.policy, inputs)
        hidden_LE, self._hidden = self._at_labels(inputs), None
        with torch.autocast(logits_LV.device.type, enabled=False):
            scaled_LV = logits_LV.float() / self.temperature
            values_L = self.value_head(hidden_LE.float())[:, 0]
            if not len(targets_L):  # a share without answers still takes part in the sums of all processes
                nothing = scaled_LV.sum() * 0.0
                return scaled_LV[:0, 0] + nothing, scaled_LV[:0, 0], values_L[:0] + values_L.sum() * 0.0
            logps_L = log_probabilities(scaled_LV, targets_L)
            return logps_L, self._entropies(scaled_LV), values_L

    def look(self, inputs: dict[str, Tensor]) -> Looked:
        """The same without gradients."""
        with torch.no_grad():
            return Looked(*self.forward(inputs))

    def _remember(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        self._hidden = inputs[0]

    def _at_labels(self, inputs: dict[str, Tensor]) -> Tensor:
        """The hidden states (L, E) that the head of the model was given, where they predict a token of an answer."""
        assert self._hidden is not None
        if "cu_seq_lens_q" in inputs:
            return self._hidden.reshape(-1, self._hidden.shape[-1])
        return self._hidden[:, :-1][inputs["labels"][:, 1:] != NO_LOSS]

    def _entropies(self, scaled_LV: Tensor) -> Tensor:
        if self.entropy_learns and torch.is_grad_enabled():
            return entropy(scaled_LV)
        with torch.no_grad():
            return torch.cat([entropy(part) for part in scaled_LV.split(ROWS)])


def log_probabilities(scaled_LV: Tensor, targets_L: Tensor) -> Tensor:
    """Of each target, under softmax."""
    return scaled_LV.gather(1, targets_L[:, None])[:, 0] - scaled_LV.logsumexp(dim=-1)


def entropy(scaled_LV: Tensor) -> Tensor:
    """Of each row, in nats."""
    logps_LV = scaled_LV.log_softmax(dim=-1)
    return -(logps_LV.exp() * logps_LV).sum(dim=-1)


def write_head(head: torch.nn.Linear, folder: Path) -> None:
    """Put the value head beside the weights of a folder; who loads these needs no knowledge of it."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(tensors, str(folder / VALUE_HEAD), metadata={"format": "pt"})


def read_head(head: torch.nn.Linear, folder: Path) -> None:
    """Take up the value head of a checkpoint. Raises ResumeError where it has none, or one that is not whole."""
    path = folder / VALUE_HEAD
    if not path.is_file():
        raise ResumeError(f"{folder} cannot be gone on from: it has no {VALUE_HEAD}. Remove it, or start anew.")
    try:
        head.load_state_dict(load_file(str(path)))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ResumeError(
            f"{path} does not hold the value head of this model ({str(error).strip().splitlines()[-1].strip()[:120]}). "
            "Remove the checkpoint, or start anew."
        ) from None


def without_dropout(model: Any) -> None:
    """Turn dropout off for good: PPO compares the same policy before and after, and chance must not be in between."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "activation_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def inner(policy: Any) -> Any:
    """The transformers model itself, below an adapter."""
    return policy.get_base_model() if hasattr(policy, "get_base_model") else policy


def _output(policy: Any) -> Any:
    return inner(policy).get_output_embeddings()


def _width(policy: Any) -> int:
    return int(_output(policy).weight.shape[-1])
