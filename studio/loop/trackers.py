"""Trackers may fail; runs may not. A tracker that raises is told of once and left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

if TYPE_CHECKING:
    from studio.loop.trainer import StudioTrainer

EVENTS = [name for name in dir(TrainerCallback) if name.startswith("on_")]


class Guarded(TrainerCallback):
    """A tracker whose errors stay with it."""

    def __init__(self, tracker: Any, say: Callable[[str], None]) -> None:
        self.tracker, self.say = tracker, say
        self.failed = False
        for event in EVENTS:
            setattr(self, event, self._guarded(getattr(tracker, event)))

    def _guarded(self, event: Callable[..., Any]) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            if self.failed:
                return
            try:
                event(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # whatever a tracker raises, the run goes on
                self.failed = True
                name = type(self.tracker).__name__.removesuffix("Callback")
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                self.say(f"the tracker {name} stopped ({reason}); the run goes on without it")

        return call


def guard_trackers(trainer: StudioTrainer, say: Callable[[str], None]) -> None:
    """Put a guard around each tracker of the trainer."""
    kinds = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback) in kinds:
            trainer.remove_callback(callback)
            trainer.add_callback(Guarded(callback, say))


def prepare_trackers(names: Sequence[str], folder: Path) -> list[str]:
    """Give trackers a folder of the run and, without a key, their offline mode; sentences about it."""
    told = []
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    if "wandb" in names and not os.environ.get("WANDB_API_KEY") and "WANDB_MODE" not in os.environ:
        os.environ["WANDB_MODE"] = "offline"
        os.environ.setdefault("WANDB_DIR", str(folder))
        told.append("wandb: no WANDB_API_KEY in the environment, so its records stay in the run's folder")
    return told
