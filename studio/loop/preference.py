"""Learning from preferences: answers held against a reference policy. The loss of pairs is here, KTO's in `kto`.

Letters of shapes: N documents of a batch (for pairs chosen, rejected, chosen, rejected …), P pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch

from studio.loop.asked_once import Asking, Document
from studio.loop.batch import Collator, document_lengths
from studio.loop.build import build
from studio.loop.logprobs import LabelLogProbs, document_sums, labels_per_document
from studio.loop.pair_losses import LOSSES, PairLoss, Pairs, Scale
from studio.loop.parts import Parts
from studio.loop.reference import Reference, reference_for
from studio.loop.tally import Measured, added, means
from studio.loop.trainer import StudioTrainer

# Under this name a batch carries what the reference makes of its documents, where that is known.
REFERENCE = "reference_logps"


@dataclass
class WithReference(Collator):
    """A collator that puts beside each document what the reference makes of it, once that was asked."""

    logps: torch.Tensor | None = None

    def __call__(self, groups: list[list[int]]) -> dict[str, Any]:
        """The batch of these groups' rows."""
        batch = super().__call__(groups)
        if self.logps is not None:
            batch[REFERENCE] = self.logps[[index for group in groups for index in group]]
        return batch

    def document(self, index: int) -> Document:
        """A row as ids and labels."""
        row = self.rows[index]
        return row["input_ids"], row["loss_mask"]

    def ask(self, asking: Asking, what: str) -> None:
        """Let the reference answer for every row, once."""
        self.logps = asking(what, len(self.rows), self.document)


class PreferenceTrainer(StudioTrainer):
    """What the losses of answers against a reference have in common."""

    # Whether a step's loss needs what the policy makes of all its batches before the first gradient.
    looks_ahead = False

    def __init__(self, *, reference: Reference | None, **kwargs: Any) -> None:
        self.reference = reference
        # Means over all batches of the step in work, or of the evaluation.
        self.ahead: dict[str, float] = {}
        super().__init__(**kwargs)
        self.logprobs = LabelLogProbs(whole=self.args.torch_compile)

    def reference_logps(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the reference makes of each document (N,), summed over its labels; zeros where there is none."""
        counts = labels_per_document(inputs)
        if REFERENCE in inputs:
            return inputs[REFERENCE]
        if self.reference is None:
            return torch.zeros(len(counts), device=inputs["input_ids"].device)
        with self.reference.policy(model) as frozen, self.accelerator.autocast():
            return document_sums(self.logprobs(frozen, inputs), counts)

    def policy_logps(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """What the policy makes of each document (N,), summed over its labels."""
        self.document_lengths = document_lengths(inputs)  # read by the noise on the embeddings
        with self.accelerator.autocast():
            return document_sums(self.logprobs(model, inputs), labels_per_document(inputs))

    # -- means over a whole step, known before its first gradient

    def look_ahead(self, inputs: dict[str, Any]) -> dict[str, tuple[Any, int]]:
        """Sums and counts of a batch, without gradients."""
        raise NotImplementedError

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The batches of a step, after what must be known of all of them."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.looks_ahead and batches:
            self.ahead = self._looked_ahead(batches)
        return batches, items

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Measures over all held-out rows, after what must be known of all of them."""
        if self.looks_ahead:
            self.ahead = self._looked_ahead(dataloader)
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def _looked_ahead(self, batches: Iterable[Any]) -> dict[str, float]:
        """The means of all batches of all processes, with the model as it stands and nothing at random in it."""
        model = cast(torch.nn.Module, self.model)
        was_training = model.training
        model.eval()
        told: dict[str, tuple[Any, int]] = {}
        try:
            with torch.no_grad(), self.accelerator.autocast():
                for batch in batches:
                    told = added(told, self.look_ahead(self._prepare_inputs(batch)))
        finally:
            model.train(was_training)
        return means(told, self.accelerator)


class PairTrainer(PreferenceTrainer):
    """Trains on pairs with one of the losses of `pair_losses`; the items of a step are its pairs."""

    def __init__(self, *, loss: PairLoss, scale: Scale, ftx: float, **kwargs: Any) -> None:
        self.loss, self.scale, self.ftx = loss, scale, ftx
        self.looks_ahead = loss.drift
        super().__init__(**kwargs)

    def items(self, inputs: dict[str, torch.Tensor]) -> int:
        """The pairs of a batch."""
        documents = len(inputs["cu_seq_lens_q"]) - 1 if "cu_seq_lens_q" in inputs else len(inputs["input_ids"])
        return documents // 2

    def measure(self, model: Any, inputs: dict[str, torch.Tensor]) -> Measured:
        """The loss of each pair summed, and how the rewards beta (log p - log q) of its answers stand."""
        reference_N = self.reference_logps(model, inputs)
        policy_N = self.policy_logps(model, inputs)
        labels_N = torch.tensor(labels_per_document(inputs), device=policy_N.device).clamp(min=1)
        scored, against = policy_N, reference_N
        if self.loss.averaged:
            scored, against = policy_N / labels_N, reference_N / labels_N
        ahead = self.ahead
        pairs = Pairs(scored[0::2], scored[1::2], against[0::2], against[1::2],
                      ahead.get("drift_c", 0.0), ahead.get("drift_r", 0.0))  # fmt: skip
        loss_P = self.loss.of(pairs, self.scale)
        if self.ftx:
            loss_P = loss_P - self.ftx * (policy_N / labels_N)[0::2]
        return Measured(loss_P.sum(), len(loss_P), self._told(pairs, policy_N.detach()))

    def _told(self, pairs: Pairs, policy_N: torch.Tensor) -> dict[str, tuple[Any, int]]:
        count = len(pairs.policy_c)
        chosen, rejected = self.scale.beta * pairs.gain_c.detach(), self.scale.beta * pairs.gain_r.detach()
        told = {
            "accuracy": (chosen > rejected).sum(),
            "margin": (chosen - rejected).sum(),
            "rewards_chosen": chosen.sum(),
            "rewards_rejected": rejected.sum(),
            "logps_chosen": policy_N[0::2].sum(),
            "logps_rejected": policy_N[1::2].sum(),
        }
        return {name: (float(value), count) for name, value in told.items()}

    def look_ahead(self, inputs: dict[str, Any]) -> dict[str, tuple[Any, int]]:
        """How far the policy has moved from the reference on the chosen and on the rejected answers."""
        gain_N = self.policy_logps(self.model, inputs) - self.reference_logps(self.model, inputs)
        return {
            "drift_c": (float(gain_N[0::2].sum()), len(gain_N) // 2),
            "drift_r": (float(gain_N[1::2].sum()), len(gain_N) // 2),
        }


def pair_trainer(parts: Parts) -> PairTrainer:
    """A trainer of pairs as the recipe's own arguments say."""
    own: Any = parts.recipe.own
    loss = LOSSES[own.pref_loss]
    reference = None
    if loss.reference:
        reference = reference_for(parts.model, parts, asked_once=own.precompute_ref_log_probs)
    else:
        parts.say(f"reference: none, {own.pref_loss} needs none")
    trainer = build(
        PairTrainer, parts, WithReference,
        loss=loss, scale=Scale(own.pref_beta, own.dpo_label_smoothing, own.simpo_gamma), ftx=own.pref_ftx,
        reference=reference,
    )  # fmt: skip
    if own.precompute_ref_log_probs:
        ask_once(trainer, parts)
    return trainer


def ask_once(trainer: PreferenceTrainer, parts: Parts) -> None:
    """Ask the reference for all rows now, and let go of it."""
    assert trainer.reference is not None, "a rule refuses to ask where there is no reference"
    asking = Asking(trainer, trainer.reference, parts)
    wrapped: Any = trainer.data_collator
    if parts.recipe.training.do_train:
        wrapped.collator.ask(asking, "rows")
    if parts.held_out and trainer.held_out_collator is not None:
        trainer.held_out_collator.collator.ask(asking, "held-out rows")
    trainer.reference = None
