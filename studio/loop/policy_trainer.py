"""What surrounds the loop of a policy: held-out prompts, points of the curve, checkpoints with the value head."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from transformers.trainer_utils import EvalLoopOutput

from studio.errors import DivergedError
from studio.loop.critic import without_dropout
from studio.loop.experience import Answered
from studio.loop.fewer import Fewer
from studio.loop.parts import Parts
from studio.loop.policy import HELD_OUT, Judge, Memory, Opinions, Prompts
from studio.loop.rollout import RolloutStopped
from studio.loop.tally import added, means
from studio.loop.trainer import LOOP_STATE, StudioTrainer, _EvaluationStopped


class PolicyTrainer(StudioTrainer):
    """Upstream's trainer for a model that writes answers; a subclass has the loop."""

    def __init__(self, *, parts: Parts, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts, self.own = parts, cast(Any, parts.recipe.own)
        without_dropout(self.model)
        self.prompts = Prompts(parts, self.args)
        self.judge = Judge(self.model, parts)
        self.critic = self.judge.critic
        self.fewer = Fewer(self.incidents, alone=self.args.world_size == 1)
        self.kept = Memory(self.own, parts.folder if self.args.should_save else None)
        self.writer.beside.append(self.judge.write_head)

    @property
    def works_alone(self) -> bool:
        """A step is not taken again from its beginning: what it does in smaller parts, `fewer` does."""
        return False

    # -- held-out prompts

    def evaluation_loop(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> EvalLoopOutput:
        """Mean reward, KL and length of answers to the held-out prompts, drawn with the same chance every time."""
        rows = self.parts.held_out_rows
        assert rows is not None
        mine = range(self.args.process_index, len(rows), self.args.world_size)
        told: dict[str, tuple[Any, int]] = {}
        size = self.args.eval_batch_size
        for start in range(0, len(mine), size):
            numbers = mine[start : start + size]
            seeds = [self.prompts.seed(HELD_OUT, at) for at in numbers]
            try:
                answered = self.answer([rows[at] for at in numbers], seeds, self._halts_evaluation)
            except RolloutStopped:
                raise _EvaluationStopped from None
            looked = self.look("eval", answered, size)
            found = {
                "reward": float(self.judge.rewards(answered).sum()),
                "kl": float((looked.logps_L - looked.reference_L).sum()),
                "response_length": float(answered.lengths_N.sum()),
            }
            told = added(told, {name: (total, len(answered)) for name, total in found.items()})
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        measures = means(told, self.accelerator)
        nothing: Any = None
        return EvalLoopOutput(
            nothing, None, {f"{metric_key_prefix}_{name}": value for name, value in measures.items()}, len(rows)
        )

    def answer(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int], halt: Callable[[], bool]) -> Answered:
        """An answer to each prompt, as many together as fit. Raises RolloutStopped as soon as `halt` says so."""
        write = partial(self.judge.answer, rows, seeds, halt, self.accelerator)
        return self.fewer.fitting("write", self.state.global_step + 1, len(rows), write)

    def look(self, what: Literal["train", "eval"], answered: Answered, asked: int) -> Opinions:
        """What policy, value head and reference say of answers, at most so many of them at a time."""
        step = self.state.global_step + (what == "train")
        return self.fewer.fitting(what, step, asked, lambda size: self.judge.look(answered, size, self.accelerator))

    def _halts_evaluation(self) -> bool:
        return bool(self.stop) and self.is_in_train and self.args.world_size == 1

    # -- points of the curve

    def tell(self, name: str, total: float, count: int) -> None:
        """Take a value into the next point: its sum and its count in this process."""
        self.told = added(self.told, {name: (total, count)})

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return cast(Tensor, self.accelerator.reduce(values, "sum"))

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """A point of the curve; alarms that were raised since the last one stand in it by their names."""
        if "loss" in logs and self.kept.raised:
            logs = logs | {"alarm": ", ".join(dict.fromkeys(self.kept.raised))}
            self.kept.raised = []
        super().log(logs, *args, **kwargs)

    def diverged(self, what: str, value: float, step: int | None = None) -> DivergedError:
        """The common sentence, with what helps here."""
        told = str(super().diverged(what, value, step)).partition(" Lower --learning_rate")[0]
        return DivergedError(f"{told} Lower --learning_rate, raise --ppo_kl_coef, or set --ppo_target_kl.")

    # -- saving and going on

    def refuse_broken_weights(self) -> None:
        """Raise DivergedError for a weight that is not finite, the value head's among them."""
        super().refuse_broken_weights()
        if not all(bool(torch.isfinite(weight).all()) for weight in self.critic.value_head.parameters()):
            raise self.diverged("value head", math.nan, self.state.global_step)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self.judge.read_head(Path(str(self.state.best_model_checkpoint)))

    def _loop_state(self) -> dict[str, Any]:
        return {**super()._loop_state(), "ppo": self.kept.state()}

    def restore_loop_state(self, checkpoint: Path) -> None:
        """Take up the sums, the weight of the penalty, the spread of scores and what alarms have seen."""
        path = checkpoint / LOOP_STATE
        if path.is_file():
            self.kept.restore(json.loads(path.read_text())["ppo"])
        super().restore_loop_state(checkpoint)
