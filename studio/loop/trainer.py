"""transformers' Trainer with the studio's batches, sums, evaluation and checkpoints; each loss is a subclass."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import EvalLoopOutput

from studio.errors import DivergedError
from studio.jobs.signals import StopFlag
from studio.loop.batch import NO_LOSS, Deaf
from studio.loop.incidents import Incidents
from studio.loop.projected import resumable
from studio.loop.saving import CheckpointWriter, unreadable_told
from studio.loop.seen import Seen, SeenRows, restored
from studio.loop.step import GROUPS, Step
from studio.loop.tally import Measured as Measured
from studio.loop.tally import added, means

LOOP_STATE = "loop_state.json"


class _EvaluationStopped(Exception):
    """A stop was asked for while evaluating in the course of training."""


class StudioTrainer(transformers.Trainer):
    """The loop of every stage whose rows are given; a subclass says what the loss is.

    The loss of an optimizer step is the mean over all its items (labels, pairs or rows), however they lie in
    micro-batches and processes.
    """

    # The smallest micro-batch that the loss is defined for: so far it is halved when memory runs out.
    fewest = 1

    def __init__(
        self,
        *,
        writer: CheckpointWriter,
        stop: StopFlag,
        incidents: Incidents | None = None,
        optimizer_groups: Any = None,
        held_out_collator: Any = None,
        **kwargs: Any,
    ) -> None:
        self.writer, self.stop, self.optimizer_groups = writer, stop, optimizer_groups
        self.held_out_collator = held_out_collator
        self.incidents = incidents or Incidents()
        self.step = Step(self, self.incidents)
        self.tokens_seen = 0
        # Rows and tokens by dataset, and how they stood over all processes when last told.
        self.seen: Seen | None = None
        self.seen_total = torch.zeros(0, 2, dtype=torch.int64)
        # What the batches since the last point told, by name: sum and count.
        self.told: dict[str, tuple[Any, int]] = {}
        # An evaluation that a stop put off; the resumed run begins with it.
        self.evaluation_due = False
        # For each token of the batch in work, how long its document is.
        self.document_lengths: torch.Tensor | None = None
        super().__init__(**kwargs)
        # The loss below is a sum divided by the labels of the whole step, as the loop must know.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    # -- loss

    def measure(self, model: Any, inputs: dict[str, torch.Tensor]) -> Measured:
        """The summed loss of a batch, its items, and what else is to be told of it."""
        raise NotImplementedError

    def items(self, inputs: dict[str, torch.Tensor]) -> int:
        """Over how many items of a batch the loss is a mean: here its labels."""
        return int((inputs["labels"][:, 1:] != NO_LOSS).sum())

    def metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Measures of the held-out rows from the means over them, "loss" among these."""
        return means

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the items of the whole optimizer step (a scalar)."""
        measured = self.measure(model, inputs)
        loss = measured.loss / (measured.items if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # The items of all processes were counted, and the gradients are averaged over them.
            loss = loss * self.accelerator.num_processes
        self.tokens_seen += self._tokens(inputs)
        self.told = added(self.told, measured.told)
        return (loss, None) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | None:
        if not batch_samples:
            return None
        count = torch.tensor(sum(map(self.items, batch_samples)), device=device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """A point of the curve, with the means of what the batches since the last one told."""
        if "loss" in logs and self.told:
            logs = logs | means(self.told, self.accelerator)
            self.told = {}
        if "loss" in logs:
            self.count_seen()
        super().log(logs, *args, **kwargs)

    @property
    def works_alone(self) -> bool:
        """Whether this process holds all of the model, so that it may take a step again without asking others."""
        return self.args.world_size == 1 and not self.is_deepspeed_enabled

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One batch of a step; a loss that is not finite twice ends the run before it reaches the weights."""
        if self.state.global_step == 0 and not self.tokens_seen and self.args.should_save:
            self.writer.first_batch(inputs)
        loss = self.step.take(model, inputs, num_items_in_batch)
        if isinstance(self.seen, SeenRows):
            self.seen.take(inputs.get(GROUPS) or ())
        return loss

    def count_seen(self) -> None:
        """Add up over all processes what each dataset gave; all take part."""
        if self.seen is not None:
            self.seen_total = self.seen.total(self.accelerator).clone()

    def micro_step(self, model: Any, inputs: Any, items: Any) -> torch.Tensor:
        """The loss of what goes through the model at a time, with its gradients added."""
        return super().training_step(model, inputs, items)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        # With fp16 the scaler skips such a step and lowers its scale: that is no divergence.
        if norm is None or getattr(self.accelerator, "scaler", None) is not None or math.isfinite(float(norm)):
            return norm
        first = float(norm)
        if self.works_alone:
            self.step.again(model, first)
            clipped = self._clip_grad_norm(model) if self.args.max_grad_norm > 0 else None  # type: ignore[no-untyped-call]
            norm = super()._get_grad_norm(model, grad_norm=clipped)  # type: ignore[no-untyped-call]
        if not math.isfinite(float(norm)):
            raise self.diverged("gradient norm", first)
        return norm

    def diverged(self, what: str, value: float, step: int | None = None) -> DivergedError:
        """The error to end with where something of a step, that in work unless one is named, is not finite."""
        last, rate = self.writer.newest(), self._get_learning_rate()
        kept = f"last good {last}" if last else "no checkpoint was written yet"
        return DivergedError(
            f"training diverged at step {step or self.step.number}: {what}={value}, lr={rate:.3g}, {kept}. Lower "
            "--learning_rate, raise --warmup_steps or look at the rows of this step."
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
        return resumable(super().create_optimizer(model))

    # -- evaluation

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Measures over all held-out rows: the sum over the items of all, not a mean of batches."""
        model: Any = self._wrap_model(cast(torch.nn.Module, self.model), training=False)
        if len(self.accelerator._models) == 0:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        was_training = model.training
        model.eval()
        told: dict[str, tuple[Any, int]] = {"loss": (0.0, 0)}
        rows = torch.zeros(1, device=self.args.device)
        try:
            for inputs in dataloader:
                if self.stop and self.is_in_train and self.args.world_size == 1:
                    raise _EvaluationStopped
                with torch.no_grad(), self.accelerator.autocast():
                    parts = self.step.measure(model, inputs)
                rows += max(len(inputs.get("cu_seq_lens_q", [0, 0])) - 1, len(inputs["input_ids"]))
                for measured in parts:
                    told = added(told, {"loss": (float(measured.loss), measured.items), **measured.told})
                self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        finally:
            model.train(was_training)
        measures = self.metrics({"loss": 0.0} | means(told, self.accelerator))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measures.items()}
        # Nothing is kept but the sums.
        nothing: Any = None
        return EvalLoopOutput(nothing, None, metrics, int(self.accelerator.reduce(rows, "sum")))

    def get_train_dataloader(self) -> Any:
        """Upstream's loader, with workers that leave it to this process what a signal means."""
        loader: Any = super().get_train_dataloader()
        inner = getattr(loader, "base_dataloader", loader)  # accelerate's stands in front of torch's
        inner.worker_init_fn = Deaf(inner.worker_init_fn)
        return loader

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
                raise self.diverged(f"weight {name}", math.nan, self.state.global_step)

    def conclude(self) -> dict[str, Any]:
        """What is measured once, when all is learned, by the names of the run's results; all processes take part."""
        return {}

    def whole_weights(self) -> dict[str, torch.Tensor] | None:
        """Every weight by its name where the model does not hold them whole, else None; all processes take part."""
        return None

    def leave_step(self) -> None:
        """Keep the state from which the step in work began, where no checkpoint has it; of the step nothing is kept."""
        self.control.should_training_stop = True
        if self.state.global_step and self.writer.newest() != f"checkpoint-{self.state.global_step}":
            self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.refuse_broken_weights()
        self.count_seen()
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

    def _loop_state(self) -> dict[str, Any]:
        """The sums behind the next point of the curve, so that a resumed curve is the same."""
        return {
            "loss_since_last_point": float(self._tr_loss),
            "last_point": self._globalstep_last_logged,
            "loss_total": self._total_loss_scalar,
            "tokens_seen": self.tokens_seen,
            "evaluation_due": self.evaluation_due,
            "told": {name: [float(total), count] for name, (total, count) in self.told.items()},
            "seen": {"names": self.seen.names, "counts": self.seen_total.tolist()} if self.seen else {},
        }

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with unreadable_told(checkpoint, f"{OPTIMIZER_NAME} or {SCHEDULER_NAME}"):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with unreadable_told(checkpoint, "rng_state.pth"):
            super()._load_rng_state(checkpoint)

    def restore_loop_state(self, checkpoint: Path) -> None:
        """Take up the sums that `_loop_state` wrote, and do the evaluation that was put off."""
        if not (path := checkpoint / LOOP_STATE).is_file():
            return
        state = json.loads(path.read_text())
        if self.args.world_size == 1:
            self._tr_loss += state["loss_since_last_point"]
            self._globalstep_last_logged = state["last_point"]
            self._total_loss_scalar = state["loss_total"]
            self.tokens_seen = state["tokens_seen"]
            self.told = {name: (total, count) for name, (total, count) in state.get("told", {}).items()}
        if self.seen is not None and self.args.process_index == 0:
            restored(self.seen, state.get("seen") or {})
        if state.get("evaluation_due"):
            self._determine_best_metric(self._evaluate(None, None), None)
