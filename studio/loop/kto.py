"""KTO: answers with a verdict, wanted or not (arXiv 2402.01306).

Letters of shapes: N documents of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from studio.data.rows import Rows
from studio.errors import DatasetError
from studio.loop.asked_once import Asking, Document
from studio.loop.batch import flat_batch, padded_batch
from studio.loop.build import build
from studio.loop.logprobs import labels_per_document
from studio.loop.parts import Parts
from studio.loop.preference import REFERENCE, PreferenceTrainer, WithReference, ask_once
from studio.loop.reference import reference_for
from studio.loop.tally import Measured, means

MARKS, MISMATCHED = "marks", "mismatched"
# Between these the paper found the weighted shares of wanted over unwanted rows to work (section 4.2).
BALANCED = (1.0, 4 / 3)


@dataclass
class Judged(WithReference):
    """Rows with their verdicts, and beside each a mismatched document: its prompt with another prompt's answer.

    Whose answer is fixed by the order of the rows: half of them further on, or the next whose prompt is another
    one. So it does not depend on what shares a batch, a batch of one has it too, and the reference can be asked once.
    """

    cutoff_len: int = 0
    # Where answers are taken from; other rows than these when they all ask the same.
    answers: Rows | None = None
    mismatched_logps: torch.Tensor | None = None

    def __call__(self, groups: list[list[int]]) -> dict[str, Any]:
        """The batch of these groups' rows."""
        indices = [index for group in groups for index in group]
        batch = super().__call__(groups)
        batch[MARKS] = torch.tensor([self.rows[index]["mark"] for index in indices])
        documents = [self.mismatched(index) for index in indices]
        ids, masks = [ids for ids, _ in documents], [mask for _, mask in documents]
        pad = self.pad_id
        beside: dict[str, Any] = flat_batch(ids, masks) if pad is None else padded_batch(ids, masks, pad)
        if self.mismatched_logps is not None:
            beside[REFERENCE] = self.mismatched_logps[indices]
        batch[MISMATCHED] = beside
        return batch

    def mismatched(self, index: int) -> Document:
        """The prompt of a row with the answer of another, cut where it becomes too long."""
        prompt = _prompt(self.rows[index])
        answers = self.answers or self.rows
        for step in range(len(answers)):
            other = answers[(index + len(answers) // 2 + step) % len(answers)]
            start = len(_prompt(other))
            if list(other["input_ids"][:start]) != prompt:
                part = slice(start, start + max(self.cutoff_len - len(prompt), 1))
                return [*prompt, *other["input_ids"][part]], [False] * len(prompt) + [*other["loss_mask"][part]]
        raise DatasetError(
            "stage kto compares answers with those to other prompts, so there must be at least two different prompts; "
            "all rows have the same. Add rows."
        )

    def ask(self, asking: Asking, what: str) -> None:
        """Let the reference answer for every row and every mismatched document, once."""
        super().ask(asking, what)
        self.mismatched_logps = asking(f"mismatched {what}", len(self.rows), self.mismatched)


def _prompt(row: dict[str, Any]) -> list[int]:
    """What stands before the answer of a row."""
    mask = list(row["loss_mask"])
    return list(row["input_ids"])[: mask.index(True) if True in mask else None]


@dataclass(frozen=True)
class Weights:
    """The numbers that a command gives to KTO."""

    beta: float
    wanted: float = 1.0
    unwanted: float = 1.0
    ftx: float = 0.0


class KtoTrainer(PreferenceTrainer):
    """Trains on answers with a verdict; the items of a step are its rows.

    With gain = log p - log q of an answer, and z = max(0, mean gain of the mismatched documents of the step), the
    estimate of KL(policy, reference) through which no gradient goes, the loss (equations 7 and 8) is
    weight * (1 - sigmoid(beta (gain - z))) for a wanted answer, weight * (1 - sigmoid(beta (z - gain))) for another.
    """

    looks_ahead = True

    def __init__(self, *, weights: Weights, **kwargs: Any) -> None:
        self.weights = weights
        super().__init__(**kwargs)

    def items(self, inputs: dict[str, Any]) -> int:
        """The rows of a batch."""
        return len(inputs[MARKS])

    def look_ahead(self, inputs: dict[str, Any]) -> dict[str, tuple[Any, int]]:
        """How far the policy has moved from the reference on mismatched documents."""
        beside = inputs[MISMATCHED]
        gain_N = self.policy_logps(self.model, beside) - self.reference_logps(self.model, beside)
        return {"kl": (float(gain_N.sum()), len(gain_N))}

    def measure(self, model: Any, inputs: dict[str, Any]) -> Measured:
        """The loss of each row summed, and how the rewards beta (log p - log q) of both kinds of answers stand."""
        weights, kl = self.weights, max(self.ahead["kl"], 0.0)
        reference_N = self.reference_logps(model, inputs)
        policy_N = self.policy_logps(model, inputs)
        wanted_N = inputs[MARKS].bool()
        side_N = wanted_N.to(policy_N.dtype) * 2 - 1
        firm_N = weights.beta * side_N * (policy_N - reference_N - kl)
        weight_N = torch.where(wanted_N, weights.wanted, weights.unwanted)
        loss_N = weight_N * (1 - torch.sigmoid(firm_N))
        if weights.ftx:
            labels_N = torch.tensor(labels_per_document(inputs), device=policy_N.device).clamp(min=1)
            loss_N = loss_N - weights.ftx * wanted_N * policy_N / labels_N
        told = {"accuracy": (float((firm_N > 0).sum()), len(loss_N)), "kl": (kl * len(loss_N), len(loss_N))}
        rewards_N, logps_N = (weights.beta * (policy_N - reference_N)).detach(), policy_N.detach()
        for name, chosen_N in (("chosen", wanted_N), ("rejected", ~wanted_N)):
            count = int(chosen_N.sum())
            told[f"rewards_{name}"] = (float(rewards_N[chosen_N].sum()), count)
            told[f"logps_{name}"] = (float(logps_N[chosen_N].sum()), count)
        return Measured(loss_N.sum(), len(loss_N), told)

    def metrics(self, means: dict[str, float]) -> dict[str, float]:
        """The means, and by how much the wanted answers' reward is above that of the others."""
        if "rewards_chosen" not in means or "rewards_rejected" not in means:
            return means
        return means | {"margin": means["rewards_chosen"] - means["rewards_rejected"]}

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """A point of the curve, with the margin between the means of both kinds of answers."""
        if "loss" in logs and self.told:
            logs = logs | self.metrics(means(self.told, self.accelerator))
            self.told = {}
        super().log(logs, *args, **kwargs)


def kto_trainer(parts: Parts) -> KtoTrainer:
    """A trainer of judged answers as the recipe's own arguments say."""
    own: Any = parts.recipe.own
    weights = Weights(own.pref_beta, own.kto_chosen_weight, own.kto_rejected_weight, own.pref_ftx)
    for sentence in balance(parts.rows, parts.groups, weights):
        parts.say(sentence)
    reference = reference_for(parts.model, parts, asked_once=own.precompute_ref_log_probs)
    trainer = build(KtoTrainer, parts, Judged, weights=weights, reference=reference)
    for wrapped in (trainer.data_collator, trainer.held_out_collator):
        if wrapped is not None:
            collator = wrapped.collator  # type: ignore[union-attr]
            collator.cutoff_len = parts.recipe.data.cutoff_len
            if collator.rows is not parts.rows and _one_prompt(collator.rows):
                collator.answers = parts.rows
            collator.mismatched(0)  # says at once when there is nothing to compare with
    if own.precompute_ref_log_probs:
        ask_once(trainer, parts)
    return trainer


def _one_prompt(rows: Rows) -> bool:
    first = _prompt(rows[0])
    return all(_prompt(row) == first for row in rows)


def balance(rows: Rows, groups: Sequence[Sequence[int]], weights: Weights) -> list[str]:
    """How many rows are wanted and not, with a warning where their weights make one side too heavy."""
    marks = [int(rows.table[index]["mark"]) for group in groups for index in group]
    wanted, unwanted = sum(marks), len(marks) - sum(marks)
    told = [f"verdicts: {wanted:,} answers are wanted, {unwanted:,} are not"]
    if not wanted or not unwanted:
        side = "wanted" if wanted else "unwanted"
        return [*told, f"warning: all answers are {side}, so nothing says what the other side is like"]
    ratio = weights.wanted * wanted / (weights.unwanted * unwanted) if weights.unwanted else float("inf")
    if not BALANCED[0] / 2 <= ratio <= BALANCED[1] * 2:
        told.append(
            f"warning: weighted, wanted answers count {ratio:.2f} times as much as unwanted ones; between 1 and 1.33 "
            "works best. Set --kto_chosen_weight or --kto_rejected_weight."
        )
    return told
