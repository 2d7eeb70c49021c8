"""The prompts of each step, and everybody who looks at an answer: policy, value head, reference, source of rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from studio.loop.advantage import AdaptiveKl, FixedKl, KlControl, RunningScale, plain
from studio.loop.alarms import Alarms
from studio.loop.batch import flat_batch
from studio.loop.causal import label_logits
from studio.loop.critic import ActorCritic, log_probabilities, read_head, write_head
from studio.loop.experience import Answered, Experience, sample_of
from studio.loop.parts import Parts
from studio.loop.reference import reference_for
from studio.loop.rollout import OwnWriter, Writer, seed_of
from studio.loop.rollouts import Rollouts
from studio.model.prompting import Prompter
from studio.rewards.choose import reward_for

# Samples of a step that are kept for people.
KEPT = 8
# Sets the chance of held-out answers apart from that of any step.
HELD_OUT = 2**32 - 1


class Prompts:
    """Which prompts a step draws and with what chance: a function of the seed and the number of the step alone."""

    def __init__(self, parts: Parts, settings: Any) -> None:
        self.rows, self.pad_id, self.settings = parts.rows, parts.pad_id, settings
        self.batch = parts.recipe.way.batch(parts.recipe)
        self.base = settings.seed
        whole = max(self.batch * settings.world_size, 1)
        self.per_epoch = max(math.ceil(len(parts.rows) / whole), 1)

    def steps(self) -> int:
        """Steps of the run."""
        asked = int(self.settings.max_steps)
        return asked if asked > 0 else math.ceil(self.settings.num_train_epochs * self.per_epoch)

    def draw(self, step: int) -> tuple[list[int], list[int]]:
        """Numbers of the prompts of this process, and a seed for each.

        Each epoch has an order of its own; its last step is filled up from the beginning of that order.
        """
        epoch, place = divmod(step, self.per_epoch)
        order = self._order(epoch)
        first = self.settings.process_index * self.batch
        # Counted over all processes, so that the same prompts get the same chance however they are divided.
        places = range(first, first + self.batch)
        start = place * self.batch * self.settings.world_size
        return [int(order[(start + at) % len(order)]) for at in places], [self.seed(step, at) for at in places]

    def seed(self, step: int, place: int) -> int:
        """The seed of one place in a step."""
        return seed_of(self.base, step, place)

    def first_batch(self, numbers: Sequence[int]) -> dict[str, Any]:
        """The first prompts as the model gets them, to hold a preview against."""
        ids = [list(self.rows[at]["input_ids"]) for at in numbers]
        return flat_batch(ids, [[False] * len(each) for each in ids])

    def _order(self, epoch: int) -> Any:
        if self.settings.train_sampling_strategy == "sequential":
            return np.arange(len(self.rows))
        seed = self.base if self.settings.data_seed is None else self.settings.data_seed
        return np.random.default_rng([seed, epoch]).permutation(len(self.rows))


@dataclass(frozen=True)
class Opinions:
    """What is said of each token of the answers (L,): by the policy, its value head and the reference."""

    logps_L: Tensor
    entropies_L: Tensor
    values_L: Tensor
    reference_L: Tensor


class Judge:
    """Lets the model write answers and looks at them."""

    def __init__(self, model: Any, parts: Parts) -> None:
        own = cast(Any, parts.recipe.own)
        self.model, self.temperature, self.pad_id = model, own.temperature, parts.pad_id
        # Before any checkpoint is read: what the run started from.
        self.reference = reference_for(model, parts)
        self.reward = reward_for(parts.recipe, parts.material, parts.place, base=model)
        parts.say(f"rewards: {self.reward.name}")
        self.critic = ActorCritic(model, own.temperature, entropy_learns=own.ppo_entropy_weight > 0)
        self.tokenizer = parts.material.tokenizer
        self.stop_ids = Prompter(self.tokenizer, parts.material.template, 0).stop_ids
        self.writer = _writer(model, parts, sorted(self.stop_ids))

    def answer(
        self,
        rows: Sequence[dict[str, Any]],
        seeds: Sequence[int],
        halt: Callable[[], bool],
        accelerator: Any,
        together: int,
    ) -> Answered:
        """An answer to each prompt, so many `together`. Raises RolloutStopped as soon as `halt` says so."""
        prompts = [list(row["input_ids"]) for row in rows]
        with accelerator.autocast():
            written = self.writer.write(prompts, seeds, halt, together)
        samples = [
            sample_of(row, answer.ids, self.stop_ids, self.tokenizer) for row, answer in zip(rows, written, strict=True)
        ]
        return Answered(prompts, written, samples)

    def look(self, answered: Answered, micro: int, accelerator: Any) -> Opinions:
        """What policy, value head and reference say, answer after answer, `micro` of them in one pass.

        The log-probabilities are computed anew, as they are while learning: those of writing have other roundings.
        """
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        was_training = self.model.training
        self.critic.eval()
        for start in range(0, len(answered), micro):
            batch = answered.batch(range(start, min(start + micro, len(answered))), self.pad_id)
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            with torch.no_grad(), accelerator.autocast():
                logps_L, entropies_L, values_L = self.critic.forward(batch)
                with self.reference.policy(self.model) as frozen:
                    logits_LV, targets_L = label_logits(frozen, batch)
            reference_L = log_probabilities(logits_LV.float() / self.temperature, targets_L)
            found.append((logps_L, entropies_L, values_L, reference_L))
        self.critic.train(was_training)
        return Opinions(*(torch.cat(part) for part in zip(*found, strict=True)))

    def rewards(self, answered: Answered) -> Tensor:
        """What the source of rewards gives for each answer (N,)."""
        return torch.tensor(self.reward(answered.samples), dtype=torch.float32)

    def write_head(self, folder: Path) -> None:
        """Put the value head beside the weights of the policy."""
        write_head(self.critic.value_head, folder)

    def read_head(self, folder: Path) -> None:
        """Take up the value head of a checkpoint."""
        read_head(self.critic.value_head, folder)


def _writer(model: Any, parts: Parts, stop_ids: list[int]) -> Writer:
    own = cast(Any, parts.recipe.own)
    if own.ppo_engine == "own":
        return OwnWriter(model, own, stop_ids, parts.material.tokenizer.pad_id)
    from studio.loop.rollout_vllm import VllmWriter

    return VllmWriter(model, own, stop_ids, parts)


class Memory:
    """What a run of PPO remembers from step to step besides its weights; a checkpoint holds all of it."""

    def __init__(self, own: Any, folder: Path | None) -> None:
        coefficient = own.ppo_kl_coef
        self.penalty: KlControl = FixedKl(coefficient)
        if own.ppo_kl_control == "adaptive":
            self.penalty = AdaptiveKl(coefficient, own.ppo_target, own.ppo_kl_horizon)
        self.scale = RunningScale()
        self.alarms = Alarms(own.ppo_target)
        # Names of alarms since the last point of the curve.
        self.raised: list[str] = []
        self.rollouts = Rollouts(folder, KEPT) if folder is not None else None

    def keep(self, step: int, experience: Experience) -> None:
        """Put some answers of a step where people read them."""
        if self.rollouts is not None:
            samples = experience.answered.samples
            self.rollouts.add(step, samples, experience.rewards_N.tolist(), experience.kl_N.tolist())

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {**plain(self.scale, self.penalty), "alarms": self.alarms.state(), "raised": self.raised}

    def begin(self, step: int) -> None:
        """Drop what an attempt that was killed kept of the steps after this one."""
        if self.rollouts is not None:
            self.rollouts.cut_after(step)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.penalty.coefficient = state["kl_coefficient"]
        self.scale = RunningScale(**state["score_scale"])
        self.alarms.restore(state["alarms"])
        self.raised = list(state["raised"])
