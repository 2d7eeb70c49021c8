"""What the loop tells while it runs: points of the curve, lines of the log; and how it is stopped."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from studio.jobs.progress import Point, Progress
from studio.jobs.signals import StopFlag

if TYPE_CHECKING:
    from studio.loop.trainer import StudioTrainer


class Bar(ProgressCallback):
    """A bar on a terminal; the numbers are said by the log, once."""

    def on_log(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing: upstream would print the numbers as a dictionary."""


def quiet(trainer: StudioTrainer) -> None:
    """Replace upstream's own printing by a bar on a terminal and by silence elsewhere."""
    trainer.remove_callback(PrinterCallback)
    if any(type(callback) is ProgressCallback for callback in trainer.callback_handler.callbacks):
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Bar)


class Watch(TrainerCallback):
    """Writes `progress.jsonl`, speaks to the log, and ends the loop when asked to."""

    def __init__(
        self,
        progress: Progress | None,
        say: Callable[[str], None],
        stop: StopFlag,
        *,
        patience: int | None,
        resume: Path | None,
    ) -> None:
        self.progress, self.say, self.stop = progress, say, stop
        self.patience, self.resume = patience, resume
        self.trainer: StudioTrainer | None = None
        self.began_s = 0.0
        self.began_tokens = 0
        self.began_step = 0
        # The step of the last point that has a loss.
        self.last_point = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take up where a checkpoint left, and start the clock."""
        assert self.trainer is not None
        if self.resume is not None:
            self.trainer.restore_loop_state(self.resume)
        self.began_s = time.monotonic()
        self.began_tokens, self.began_step = self.trainer.tokens_seen, state.global_step
        self.last_point = self.trainer._globalstep_last_logged
        self.stop.armed = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Log the last step; when asked to stop, log and save this one and end."""
        if state.global_step >= state.max_steps:
            control.should_log = True
        if self._asked_to_stop(args):
            control.should_log = control.should_save = control.should_training_stop = True
            self._put_off_evaluation(control)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After a stop nothing more is due but a save that knows of the evaluation put off."""
        if self.stop and control.should_training_stop:
            control.should_log = control.should_save = False
            if float(state.epoch or 0).is_integer() and control.should_evaluate:
                control.should_save = True
                self._put_off_evaluation(control)
            control.should_evaluate = False

    def _put_off_evaluation(self, control: TrainerControl) -> None:
        assert self.trainer is not None
        self.trainer.evaluation_due |= control.should_evaluate
        control.should_evaluate = False

    def _asked_to_stop(self, args: TrainingArguments) -> bool:
        """Whether any process was asked: all must stop after the same step, or they wait for ever."""
        if args.world_size == 1:
            return bool(self.stop)
        asked = torch.tensor(self.stop.signal, device=args.device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        agreed = int(asked)
        if agreed:  # else one that came while waiting for the others stays noted, for the next step
            self.stop.signal = agreed
        return bool(agreed)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End early when the last `patience` evaluations brought nothing better."""
        if self.patience and _evaluations_since_best(args, state) >= self.patience:
            self.say(f"stopping early: {self.patience} evaluations without a better one")
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """One point of the curve."""
        values = dict(logs or {})
        if self.progress is None or "train_loss" in values:
            return
        elapsed_s = time.monotonic() - self.began_s
        steps = state.global_step - self.began_step
        known = {name: values.pop(name, None) for name in ("loss", "learning_rate", "grad_norm", "epoch")}
        for name in ("num_input_tokens_seen", *(name for name in values if name.startswith("train_"))):
            values.pop(name, None)
        trained = known["loss"] is not None
        if note := self._note(state.global_step, trained=trained):
            values["note"] = note  # type: ignore[assignment]  # the one value that is text
        if trained and self.trainer is not None and self.trainer.seen is not None and len(self.trainer.seen.names) > 1:
            values["seen"] = self.trainer.seen.as_json(self.trainer.seen_total)  # type: ignore[assignment]
        rate = self._tokens_per_s(elapsed_s) if trained else None
        point = Point(
            step=state.global_step,
            total_steps=state.max_steps,
            elapsed_s=round(elapsed_s, 3),
            tokens_per_s=rate,
            memory_gib=memory_gib(),
            eta_s=round(elapsed_s / steps * (state.max_steps - state.global_step), 1) if steps else None,
            more={name: value for name, value in values.items() if not name.endswith("_per_second")},
            **known,
        )
        self.progress.append(point)
        self.say(describe(point))

    def _note(self, step: int, *, trained: bool) -> str:
        """What happened since the last point of the same kind; '' for nothing."""
        assert self.trainer is not None
        incidents = self.trainer.incidents
        if not trained:
            return incidents.notes_of_evaluation(step)
        after, self.last_point = self.last_point, step
        return incidents.notes(after, step)

    def _tokens_per_s(self, elapsed_s: float) -> float | None:
        assert self.trainer is not None
        tokens = (self.trainer.tokens_seen - self.began_tokens) * self.trainer.args.world_size
        return round(tokens / elapsed_s, 1) if elapsed_s > 0 else None


def _evaluations_since_best(args: TrainingArguments, state: TrainerState) -> int:
    """Evaluations after the best one; from the log, so that a resumed run counts on."""
    name = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
    measured = [entry[name] for entry in state.log_history if name in entry]
    if not measured:
        return 0
    best = max(measured) if args.greater_is_better else min(measured)
    return len(measured) - 1 - measured.index(best)


def memory_gib() -> float:
    """Most memory used so far: of the device when there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return round(torch.cuda.max_memory_reserved() / 2**30, 3)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)


def describe(point: Point) -> str:
    """'step 20/60  loss 1.234  lr 1.0e-04  grad 0.87  410 tokens/s  1.2 GiB  35 s left'."""
    parts = [f"step {point.step}/{point.total_steps}"]
    if point.loss is not None:
        parts.append(f"loss {point.loss:.4f}")
    if point.learning_rate is not None:
        parts.append(f"lr {point.learning_rate:.2e}")
    if point.grad_norm is not None:
        parts.append(f"grad {point.grad_norm:.3g}")
    parts += [
        f"{name} {value:.4f}"
        for name, value in point.more.items()
        if name.startswith("eval_") and name != "eval_runtime"
    ]
    if point.tokens_per_s:
        parts.append(f"{point.tokens_per_s:,.0f} tokens/s")
    if point.memory_gib:
        parts.append(f"{point.memory_gib:.1f} GiB")
    if point.eta_s:
        parts.append(f"{_duration(point.eta_s)} left")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
