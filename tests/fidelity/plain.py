"""A plain loop over the same rows, written here anew: one document a forward pass, torch's own loss and optimizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from studio.workspace import Workspace

Rows = list[dict[str, Any]]
# Runs that a plain loop can follow: rows in their order, every step told.
PLAIN = {"finetuning_type": "full", "logging_steps": 1, "save_strategy": "no", "optim": "adamw_torch",
         "train_sampling_strategy": "sequential"}  # fmt: skip
# One step of plain descent at rate one: the weights move by the gradient itself.
DESCENT = {"finetuning_type": "full", "logging_steps": 1, "save_strategy": "no", "optim": "sgd", "max_steps": 1,
           "learning_rate": 1, "max_grad_norm": 0}  # fmt: skip


def previewed(place: Workspace, command: Any, dataset: str, *more: str) -> Rows:
    """The rows of a dataset in order: ids and mask, as preview tells them."""
    words = ["data", "preview", dataset, "--model_name_or_path", "models/tiny-chat", "--count", "100", "--json", *more]
    done = command(place, *words)
    assert done.code == 0, done.err
    return [each for row in json.loads(done.out)["rows"] for each in row["renderings"]]


def loss_of(model: Any, rows: Rows, smoothing: float = 0.0) -> torch.Tensor:
    """Mean loss of all targets of some rows, each in a forward pass of its own."""
    sums, count = [], 0
    for row in rows:
        ids, mask = torch.tensor([row["input_ids"]]), torch.tensor(row["loss_mask"][1:])
        logits = model(input_ids=ids).logits[0, :-1][mask]
        sums.append(cross_entropy(logits, ids[0, 1:][mask], reduction="sum", label_smoothing=smoothing))
        count += int(mask.sum())
    return torch.stack(sums).sum() / count


def batches(rows: Rows, size: int, steps: int) -> Iterator[Rows]:
    """Rows in their order, over and over."""
    starts = list(range(0, len(rows), size))
    for step in range(steps):
        start = starts[step % len(starts)]
        yield rows[start : start + size]


def learn(model: Any, rows: Rows, *, size: int, steps: int, rate: float, smoothing: float = 0.0) -> list[float]:
    """AdamW, a linearly falling rate, gradients of length one at most; the loss of each step."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for step, batch in enumerate(batches(rows, size, steps)):
        optimizer.param_groups[0]["lr"] = rate * (steps - step) / steps
        loss = loss_of(model, batch, smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def fresh(place: Workspace, name: str = "models/tiny-chat") -> Any:
    """A model as transformers loads it, ready to learn."""
    return transformers.AutoModelForCausalLM.from_pretrained(place.path(name)).train()


def saved(run: Any) -> dict[str, torch.Tensor]:
    """The final weights of a run."""
    return load_file(run.folder / "model.safetensors")


def state(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a model, the tied head once."""
    return {name: weight.detach() for name, weight in model.state_dict().items() if name != "lm_head.weight"}


def furthest(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> float:
    """The largest difference of any weight; both must have the same names."""
    assert left.keys() == right.keys()
    return max(float((weight - right[name]).abs().max()) for name, weight in left.items())


def apart(left: list[float], right: list[float]) -> float:
    """The largest difference of two curves of the same length."""
    assert len(left) == len(right) > 0
    return max(abs(one - other) for one, other in zip(left, right, strict=True))


def losses(run: Any) -> list[float]:
    """The loss of each step of a run."""
    return [loss for _, loss in run.curve]
