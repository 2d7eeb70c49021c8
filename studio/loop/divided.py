"""The studio's trainer where DeepSpeed divides optimizer, gradients or weights among the processes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from transformers.trainer import SCHEDULER_NAME

from studio.loop.deepspeed import broken_weight, load_part, save_part, whole_weights
from studio.loop.saving import unreadable_told
from studio.loop.trainer import StudioTrainer


class DividedTrainer(StudioTrainer):
    """Checkpoints hold whole weights, and one part of the optimizer's state for each process."""

    @property
    def _engine(self) -> Any:
        """DeepSpeed's engine around the model."""
        return self.model_wrapped

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """Every weight by its name, in the main process; all must take part."""
        return whole_weights(cast(torch.nn.Module, self.model), self._engine.optimizer)

    def refuse_broken_weights(self) -> None:
        """Raise DivergedError in every process when one of them holds a weight that is not finite."""
        if name := broken_weight(cast(torch.nn.Module, self.model), self.args.device):
            raise self.diverged(f"weight {name}", math.nan, self.state.global_step)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the whole weights, or the adapter, tokenizer and template."""
        self._save(output_dir, self.whole_weights())

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        # DeepSpeed writes -1 for a norm that is not finite; with fp16 it skips such a step.
        if norm is not None and float(norm) == -1 and not self._engine.fp16_enabled():
            raise self.diverged("gradient norm", math.nan)
        return norm

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        save_part(self._engine, Path(output_dir))
        if self.args.should_save:
            torch.save(cast(Any, self.lr_scheduler).state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        # Upstream would let DeepSpeed unpickle its own checkpoint here.
        upstream: Any = super()
        prepared = upstream._prepare_for_training(max_steps, train_dataloader, None)
        if resume_from_checkpoint is not None:
            self._load_part(resume_from_checkpoint)
            self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def _load_best_model(self) -> None:
        self._load_part(str(self.state.best_model_checkpoint))

    def _load_part(self, checkpoint: str) -> None:
        with unreadable_told(checkpoint, "its part of the optimizer's state"):
            load_part(self._engine, Path(checkpoint))
