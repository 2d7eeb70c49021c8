"""Next-token prediction, for pt and sft.

Letters of shapes: B rows, T tokens, L tokens that bear loss, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from studio.loop.attention import lengths
from studio.loop.batch import NO_LOSS, document_lengths
from studio.loop.build import build
from studio.loop.head import gives_logits, passing, summed_loss, worth_it
from studio.loop.parts import Parts
from studio.loop.streaming import stream_trainer
from studio.loop.trainer import Measured, StudioTrainer
from studio.model.bits import Extents, extents, told_bits
from studio.model.tokenizer import LightTokenizer


def causal_trainer(parts: Parts) -> CausalTrainer:
    """A trainer of next-token prediction over the parts' groups."""
    trainer = (stream_trainer if parts.material.stream else build)(CausalTrainer, parts)
    trainer.tokenizer_read = parts.material.tokenizer
    return trainer


class CausalTrainer(StudioTrainer):
    """Trains on documents laid end to end, with the head computed where there is loss only."""

    # Whether the model's logits are what its head gives; None until it is asked.
    plain_head: bool | None = None
    # What its rows were made with, and what each token of it stands for, which is asked when rows are measured.
    tokenizer_read: LightTokenizer | None = None
    extents: Extents | None = None

    def measure(self, model: Any, inputs: dict[str, torch.Tensor]) -> Measured:
        """Summed cross-entropy and the number of labels; of held-out rows also what is right, and the bits."""
        self.document_lengths = document_lengths(inputs)  # read by the noise on the embeddings
        smoothing = self.args.label_smoothing_factor if model.training else 0.0
        if model.training and self._by_pieces(model, inputs):
            head = self.accelerator.unwrap_model(model).get_output_embeddings()
            with passing(head):
                states_LD, targets_L = label_logits(model, inputs)
            if len(targets_L):
                return Measured(summed_loss(head, states_LD, targets_L, smoothing), len(targets_L))
        logits_LV, targets_L = label_logits(model, inputs)
        if not len(targets_L):
            return Measured(logits_LV.sum() * 0.0, 0)
        total = cross_entropy(logits_LV.float(), targets_L, reduction="sum", label_smoothing=smoothing)
        if model.training:
            return Measured(total, len(targets_L))
        right = int((logits_LV.argmax(-1) == targets_L).sum())
        told: dict[str, tuple[Any, int]] = {"accuracy": (right, len(targets_L))}
        return Measured(total, len(targets_L), told | self._bits(float(total), targets_L))

    def _bits(self, nats: float, targets_L: torch.Tensor) -> dict[str, tuple[Any, int]]:
        """Bits per character and per byte of the targets, as sums and counts."""
        if self.tokenizer_read is None:
            return {}
        if self.extents is None:
            self.extents = extents(self.tokenizer_read)
        return {**told_bits(nats, targets_L.cpu().numpy(), self.extents)}

    def _by_pieces(self, model: Any, inputs: dict[str, torch.Tensor]) -> bool:
        """Whether the head goes over some labels at a time: where it pays and the model only reads its logits off."""
        bare = self.accelerator.unwrap_model(model)
        dtype = torch.float16 if self.args.fp16 else bare.dtype
        labels, device = inputs["labels"].numel(), inputs["labels"].device
        whole = self.is_deepspeed_enabled or self.args.torch_compile  # both look into the model's own forward
        if whole or not worth_it(labels, bare.config.get_text_config().vocab_size, device, dtype):
            return False
        if self.plain_head is None:
            self.plain_head = gives_logits(bare)
        return self.plain_head

    def metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Loss, perplexity, accuracy and bits over all labels."""
        return {"perplexity": math.exp(min(means["loss"], 700)), "accuracy": 0.0} | means


def label_logits(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (L, V) that predict the labels, and these (L,), in the order of the tokens.

    logits at t predict the label at t + 1, so the head is computed at the L places before a label. Without any
    label there is one row of logits and no target, so that every weight still takes part.
    """
    labels_BT = inputs["labels"][:, 1:]
    flat = {name: value for name, value in inputs.items() if name in MODEL_INPUTS}
    bearing_BT = labels_BT != NO_LOSS
    targets_L = labels_BT[bearing_BT]
    if "cu_seq_lens_q" in inputs:
        places_L = bearing_BT[0].nonzero()[:, 0]
        if not len(places_L):  # a process may draw a batch without labels; it must still take part
            places_L = places_L.new_zeros(1)
        output = model(**flat, **lengths(flat), logits_to_keep=places_L, use_cache=False)
        return output.logits[0], targets_L
    output = model(**flat, use_cache=False)
    return output.logits[:, :-1][bearing_BT], targets_L


# Of a batch, what the model itself takes.
MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids", "cu_seq_lens_q")
