"""transformers' Trainer with the studio's batches, loss, evaluation and checkpoints.

Letters of shapes: B rows, T tokens, L tokens that bear loss, V vocabulary.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import EvalLoopOutput

from studio.errors import DivergedError, ResumeError
from studio.jobs.signals import StopFlag
from studio.loop.attention import lengths
from studio.loop.batch import NO_LOSS, Collator
from studio.loop.saving import CheckpointWriter

LOOP_STATE = "loop_state.json"


class _EvaluationStopped(Exception):
    """A stop was asked for while evaluating in the course of training."""


class StudioTrainer(transformers.Trainer):
    """Trains on documents laid end to end, with the head computed where there is loss only."""

    def __init__(
        self,
        *,
        writer: CheckpointWriter,
        stop: StopFlag,
        optimizer_groups: Any = None,
        held_out_collator: Collator | None = None,
        **kwargs: Any,
    ) -> None:
        self.writer, self.stop, self.optimizer_groups = writer, stop, optimizer_groups
        self.held_out_collator = held_out_collator
        self.tokens_seen = 0
        # An evaluation that a stop put off; the resumed run begins with it.
        self.evaluation_due = False
        # For each token of the batch in work, how long its document is.
        self.document_lengths: torch.Tensor | None = None
        super().__init__(**kwargs)
        # The loss below is a sum divided by the labels of the whole step, as the loop must know.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    # -- loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy of the labels of the whole optimizer step (a scalar)."""
        total, count, _ = self.loss_sum(model, inputs)
        loss = total / (count if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # The labels of all processes were counted, and the gradients are averaged over them.
            loss = loss * self.accelerator.num_processes
        self.tokens_seen += self._tokens(inputs)
        return (loss, None) if return_outputs else loss

    def loss_sum(self, model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int, int]:
        """Summed cross-entropy, the number of labels, and how many are predicted right.

        logits at t predict the label at t + 1, so the head is computed at the L places before a label.
        """
        labels_BT = inputs["labels"][:, 1:]
        flat = {name: value for name, value in inputs.items() if name != "labels"}
        self.document_lengths = _document_lengths(inputs)
        bearing_BT = labels_BT != NO_LOSS
        targets_L = labels_BT[bearing_BT]
        if "cu_seq_lens_q" in inputs:
            places_L = bearing_BT[0].nonzero()[:, 0]
            if not len(places_L):  # a process may draw a batch without labels; it must still take part
                places_L = places_L.new_zeros(1)
            output = model(**flat, **lengths(flat), logits_to_keep=places_L, use_cache=False)
            logits_LV = output.logits[0]
        else:
            output = model(**flat, use_cache=False)
            logits_LV = output.logits[:, :-1][bearing_BT]
        if not len(targets_L):
            return logits_LV.sum() * 0.0, 0, 0
        smoothing = self.args.label_smoothing_factor if model.training else 0.0
        total = cross_entropy(logits_LV.float(), targets_L, reduction="sum", label_smoothing=smoothing)
        right = 0 if model.training else int((logits_LV.argmax(-1) == targets_L).sum())
        return total, len(targets_L), right

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch; a loss that is not finite ends the run before it reaches the weights."""
        if self.state.global_step == 0 and not self.tokens_seen and self.args.should_save:
            self.writer.first_batch(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        # Of several processes one may see it alone; the norm of the common gradient tells all of them.
        if self.args.world_size == 1 and not math.isfinite(value := loss.item()):
            raise self._diverged("loss", value)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        # With fp16 the scaler skips such a step and lowers its scale: that is no divergence.
        scaled = getattr(self.accelerator, "scaler", None) is not None
        if norm is not None and not scaled and not math.isfinite(value := float(norm)):
            raise self._diverged("gradient norm", value)
        return norm

    def _diverged(self, what: str, value: float) -> DivergedError:
        last = self.writer.newest()
        kept = f"the last good checkpoint is {last}" if last else "no checkpoint was written yet"
        return DivergedError(
            f"training diverged after step {self.state.global_step}: the {what} is {value} at learning rate "
            f"{self._get_learning_rate():.3g}; {kept}. Lower --learning_rate, raise --warmup_steps or look "
            "at the rows of this step."
        )

    def _tokens(self, inputs: dict[str, torch.Tensor]) -> int:
        mask = inputs.get("attention_mask")
        return int(mask.sum()) if mask is not None else inputs["input_ids"].numel()

    def _track_num_input_tokens(self, inputs: Any) -> None:
        if self.args.include_num_input_tokens_seen != "no":
            tokens = torch.tensor(self._tokens(inputs), device=self.args.device)
            self.state.num_input_tokens_seen += int(self.accelerator.gather(tokens).sum())

    # -- optimizer

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The upstream optimizer, or the groups of LoRA+ when these were given."""
        if self.optimizer is None and self.optimizer_groups is not None:
            self.optimizer = self.optimizer_groups(self.model, self.args)
        return super().create_optimizer(model)

    # -- evaluation

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Loss, perplexity and accuracy over all labels of the held-out rows (not a mean of batches)."""
        model: Any = self._wrap_model(cast(torch.nn.Module, self.model), training=False)
        if len(self.accelerator._models) == 0:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        was_training = model.training
        model.eval()
        sums = torch.zeros(4, dtype=torch.float64, device=self.args.device)
        try:
            for inputs in dataloader:
                if self.stop and self.is_in_train and self.args.world_size == 1:
                    raise _EvaluationStopped
                with torch.no_grad(), self.accelerator.autocast():
                    total, count, right = self.loss_sum(model, self._prepare_inputs(inputs))
                rows = max(len(inputs.get("cu_seq_lens_q", [0, 0])) - 1, len(inputs["input_ids"]))
                sums += sums.new_tensor([float(total), count, right, rows])
                self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        finally:
            model.train(was_training)
        total, count, right, rows = self.accelerator.reduce(sums, "sum").tolist()
        loss = total / max(count, 1)
        metrics = {
            f"{metric_key_prefix}_loss": loss,
            f"{metric_key_prefix}_perplexity": math.exp(min(loss, 700)),
            f"{metric_key_prefix}_accuracy": right / max(count, 1),
        }
        # Nothing is kept but the sums.
        nothing: Any = None
        return EvalLoopOutput(nothing, None, metrics, int(rows))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """This process's share of the held-out rows, each counted once.

        Upstream's loader would give several processes some rows twice to fill up their last batches.
        """
        groups: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        mine = range(self.args.process_index, len(groups), self.args.world_size)
        return torch.utils.data.DataLoader(
            torch.utils.data.Subset(groups, mine),
            batch_size=self.args.eval_batch_size,
            collate_fn=self.held_out_collator or self.data_collator,
            # Its own, so that measuring draws nothing from the random numbers of the training.
            generator=torch.Generator(),
        )

    # -- saving and going on

    def _evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        try:
            metrics: dict[str, float] = super()._evaluate(*args, **kwargs)
        except _EvaluationStopped:
            self.control.should_evaluate = False
            self.evaluation_due = True
            self.control.should_save = self.control.should_training_stop = True
            return {}
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        if not metrics:
            return True  # stopped while evaluating: save_strategy best saves when this says yes
        best = bool(super()._determine_best_metric(metrics, trial))
        if best and self.args.load_best_model_at_end:
            self.control.should_save = True  # the end must find these weights, also between two saves
        return best

    def refuse_broken_weights(self) -> None:
        """Raise DivergedError for a weight that is not finite: it must not take a good one's place."""
        for name, weight in cast(torch.nn.Module, self.model).named_parameters():
            if weight.requires_grad and not bool(torch.isfinite(weight).all()):
                raise self._diverged(f"weight {name}", math.nan)

    def whole_weights(self) -> dict[str, torch.Tensor] | None:
        """Every weight by its name where the model does not hold them whole, else None; all processes take part."""
        return None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.refuse_broken_weights()
        self.store_flos()
        with self.writer.checkpoint(self.state, self.accelerator) as folder:
            self.save_model(str(folder), _internal_call=True)
            if not self.args.save_only_model:
                self._save_optimizer_and_scheduler(str(folder))
                self._save_scaler(str(folder))
                self._save_rng_state(str(folder))
            if self.args.should_save:
                self.state.save_to_json(str(folder / "trainer_state.json"))
                (folder / LOOP_STATE).write_text(json.dumps(self._loop_state()))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Weights, tokenizer and template; upstream's pickled arguments are left out."""
        if self.args.should_save:
            self.writer.weights(self.accelerator.unwrap_model(self.model), Path(str(output_dir)), state_dict)

    def _loop_state(self) -> dict[str, float]:
        """The sums behind the next point of the curve, so that a resumed curve is the same."""
        return {
            "loss_since_last_point": float(self._tr_loss),
            "last_point": self._globalstep_last_logged,
            "loss_total": self._total_loss_scalar,
            "tokens_seen": self.tokens_seen,
            "evaluation_due": self.evaluation_due,
        }

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with unreadable_told(checkpoint, f"{OPTIMIZER_NAME} or {SCHEDULER_NAME}"):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with unreadable_told(checkpoint, "rng_state.pth"):
            super()._load_rng_state(checkpoint)

    def restore_loop_state(self, checkpoint: Path) -> None:
        """Take up the sums that `_loop_state` wrote, and do the evaluation that was put off."""
        path = checkpoint / LOOP_STATE
        if not path.is_file():
            return
        state = json.loads(path.read_text())
        if self.args.world_size == 1:
            self._tr_loss += state["loss_since_last_point"]
            self._globalstep_last_logged = state["last_point"]
            self._total_loss_scalar = state["loss_total"]
            self.tokens_seen = state["tokens_seen"]
        if state.get("evaluation_due"):
            self._determine_best_metric(self._evaluate(None, None), None)


@contextlib.contextmanager
def unreadable_told(checkpoint: str | None, files: str) -> Iterator[None]:
    """Turn what torch raises for a state file it does not trust, or cannot read, into ResumeError."""
    try:
        yield
    # torch's own name for the error of a file that holds more than tensors and plain values
    except (torch.serialization.pickle.UnpicklingError, EOFError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:160]
        raise ResumeError(
            f"{checkpoint} cannot be gone on from: {files} is no plain state of tensors and numbers ({reason}). "
            "Remove this checkpoint, so that the one before is used, or start anew."
        ) from error


def _document_lengths(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """(T,) for documents end to end, (B, 1) for padded ones."""
    if "cu_seq_lens_q" not in inputs:
        return inputs["attention_mask"].sum(dim=1, keepdim=True)
    ends = inputs["cu_seq_lens_q"]
    sizes = ends[1:] - ends[:-1]
    return sizes.repeat_interleave(sizes)
