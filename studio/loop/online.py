"""Learning from the rewards of groups of answers: trl's trainers in the studio's loop.

trl computes advantages and losses; prompts, the answers to them, rewards, the reference, points of the curve and
checkpoints are the studio's. Prompts are padded on the left, as trl lays them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from safetensors.torch import load_file, save_file
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer.utils import RepeatSampler

from studio.arguments.generation import SamplingArguments
from studio.loop.batch import flat_batch
from studio.loop.experience import sample_of
from studio.loop.fewer import Fewer
from studio.loop.parts import Parts
from studio.loop.reference import Reference
from studio.loop.rollout import OwnWriter, RolloutStopped, seed_of
from studio.loop.rollouts import Rollouts
from studio.loop.round import SHARE, RoundStep
from studio.loop.seen import SeenRows
from studio.loop.trainer import LOOP_STATE, StudioTrainer
from studio.model.prompting import Prompter
from studio.model.tokenizer import LightTokenizer
from studio.rewards.base import Reward, Sample

# What trl calls what, and what the curve calls it.
CURVE = {
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_fraction",
    "completions/mean_length": "response_length",
    "completions/clipped_ratio": "cut_short",
}
STATE = "rollout-{}.safetensors"
# Stands where trl looks for a second model: the reference may be the same one with its adapter off.
REFERENCE = object()
# Samples of a round that are kept for people; a group is kept whole.
KEPT = 8


class Prompts(RepeatSampler):
    """trl's order of prompts, drawn anew from seed and epoch: a resumed run draws what it would have drawn."""

    def set_epoch(self, epoch: int) -> None:
        """Called at the beginning of each epoch, also of one that a resumed run begins with."""
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class _Words:
    """Turns ids of an answer into text, where trl asks for it."""

    def __init__(self, tokenizer: LightTokenizer) -> None:
        self._fast = tokenizer.fast

    def batch_decode(self, ids: Sequence[Sequence[int]], skip_special_tokens: bool = True) -> list[str]:
        """A text for each answer."""
        texts: list[str] = self._fast.decode_batch([list(each) for each in ids], skip_special_tokens)
        return texts


class OnlineTrainer(StudioTrainer):
    """What both of trl's trainers share: stands between the studio's trainer and one of them.

    A prompt is named by the number of its row, and its ids are those of the row.
    """

    reward: Reward
    reference: Reference | None = None
    # What the other parent makes.
    args: Any
    beta: float
    ref_model: Any
    temperature: float
    num_iterations: int
    _metrics: Any
    _step: int
    _buffered_inputs: Any

    def __init__(self, *, parts: Parts, **kwargs: Any) -> None:
        self.parts = parts
        self.rollouts = Rollouts(parts.folder, max(KEPT, kwargs["args"].num_generations))
        self.stops = set(Prompter(parts.material.tokenizer, parts.material.template, 0).stop_ids)
        # What the round in work wrote, until it is rewarded.
        self.round: tuple[list[Sample], list[float]] = ([], [])
        super().__init__(reward_funcs=[self.rewards], **kwargs)
        # How each of trl's losses is scaled for accumulation is said by its class.
        self.loss_is_scaled_for_ga = type(self).loss_is_scaled_for_ga
        self.model_accepts_loss_kwargs = False
        # With trl's own tokenizer in it, the loop would change the model's configuration.
        self.processing_class = cast(Any, _Words(parts.material.tokenizer))
        self.eos_token_ids = sorted(self.stops)
        self.step = RoundStep(self, self.incidents)
        self.fewer = Fewer(self.incidents, alone=self.args.world_size == 1)
        asked = cast(SamplingArguments, parts.recipe.own)
        self.author = OwnWriter(parts.model, asked, self.eos_token_ids, parts.material.tokenizer.pad_id)

    def _send_telemetry(self) -> None:
        """Nothing is told to anybody."""

    # -- prompts and rewards

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        made: Any = super()._get_train_sampler(dataset)
        seed = made.seed if self.args.data_seed is None else self.args.data_seed
        return Prompts(made.data_source, made.mini_repeat_count, made.batch_size, made.repeat_count, made.shuffle, seed)

    def get_train_dataloader(self) -> Any:
        """The common loader, whose beginning of an epoch draws nothing from the random numbers of the training.

        So a step that a stop threw away begins as it did, also where it is the first one of an epoch.
        """
        loader = super().get_train_dataloader()
        getattr(loader, "base_dataloader", loader).generator = torch.Generator()
        return loader

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The ids of the rows, as the preview shows them."""
        return [list(self.parts.rows[int(name)]["input_ids"]) for name in prompts], None, {}

    def write(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Ids of an answer to each prompt, drawn with its own chance. Raises RolloutStopped once a stop is asked."""
        step, first = self.state.global_step, self.args.process_index * len(prompt_ids)
        seeds = [seed_of(self.args.seed, step, first + at) for at in range(len(prompt_ids))]
        with self.accelerator.autocast():
            write = partial(self.author.write, prompt_ids, seeds, self._halts)
            written = self.fewer.fitting("write", step + 1, len(prompt_ids), write)
        return [answer.ids for answer in written]

    def _halts(self) -> bool:
        # Of several processes all have to stop at the same place, which is behind the step.
        return bool(self.stop) and self.args.world_size == 1

    def rewards(
        self, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any
    ) -> list[float]:
        """The reward of each answer, as trl asks for it."""
        samples = [
            sample_of(self.parts.rows[int(name)], ids, self.stops, self.parts.material.tokenizer)
            for name, ids in zip(prompts, completion_ids, strict=True)
        ]
        rewards = self.reward(samples)
        self.round = samples, rewards
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        upper: Any = super()
        made: dict[str, Any] = upper._generate_and_score_completions(inputs)
        samples, rewards = self.round
        if isinstance(self.seen, SeenRows):
            first = self.args.process_index * len(inputs)  # a group may lie on two processes
            self.seen.take([int(each["prompt"])] for at, each in enumerate(inputs, first)
                           if at % self.args.num_generations == 0)  # fmt: skip
        if self.args.should_save:
            if self.state.global_step == 0:
                ids = [sample.prompt_ids for sample in samples]
                self.writer.first_batch(flat_batch(ids, [[False] * len(each) for each in ids]))
            self.rollouts.add(self.state.global_step + 1, samples, rewards, self._kls(made))
        return made

    def _kls(self, made: dict[str, Any]) -> list[float] | None:
        """How far each answer's log-probability lies above the reference's, where both are known already."""
        ours, theirs = made.get("old_per_token_logps"), made.get("ref_per_token_logps")
        if ours is None or theirs is None:
            return None
        kls: list[float] = ((ours - theirs) * made["completion_mask"]).sum(dim=1).tolist()
        return kls

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, batch_size: Any = None, **more: Any
    ) -> Any:
        upper: Any = super()
        ask = partial(upper._get_per_token_logps_and_entropies, **more)
        look = partial(self._look, ask, model, input_ids, attention_mask, logits_to_keep)
        if torch.is_grad_enabled():
            return look(batch_size)
        return self.fewer.fitting("train", self.step.number, batch_size or len(input_ids), look)

    def _look(self, ask: Any, model: Any, *given: Any) -> Any:
        """What trl asks of a model; where it means the reference, of the policy as that is."""
        if model is not REFERENCE:
            return ask(model, *given)
        assert self.reference is not None
        with self.reference.policy(self.model) as frozen:
            return ask(frozen, *given)

    # -- the loop

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        began_s = time.time()
        try:
            return super()._inner_training_loop(*args, **kwargs)
        except RolloutStopped:
            self.leave_step()
            return self._finalize_training(None, 0, began_s)  # type: ignore[no-untyped-call]

    def _prepare_inputs(self, inputs: Any) -> Any:
        """The answers to learn from; a slice of them that is prepared already stays as it is."""
        return inputs if isinstance(inputs, dict) else super()._prepare_inputs(inputs)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """trl's loss of a part of the round."""
        self.tokens_seen += int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        loss = super(StudioTrainer, self).compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loss * inputs.get(SHARE, 1.0)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch; where a round is due its answers are written first."""
        model.train()  # trl tells learning from evaluating by it
        loss = self.step.take(model, self._prepare_inputs(inputs), num_items_in_batch)
        self._step += 1
        return loss

    def micro_step(self, model: Any, inputs: Any, items: Any) -> torch.Tensor:
        """The loss of what goes through the model at a time, with its gradients added."""
        return transformers.Trainer.training_step(self, model, inputs, items)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        return None

    def _track_num_input_tokens(self, inputs: Any) -> None:
        """trl counts them with each round."""

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """A point of the curve, with the names that the studio's charts know."""
        told = self._metrics["train"]
        # trl would tell these by its own names, with whatever is told first.
        since = dict(told)
        told.clear()
        if "loss" in logs:
            for name, ours in CURVE.items():
                if values := [value for value in since.get(name, []) if value == value]:
                    logs[ours] = sum(values) / len(values)
        super().log(logs, *args, **kwargs)
        if "loss" not in logs:
            told.update(since)

    # -- saving and going on

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._init_training_state(*args, **kwargs)
        if self.args.should_save:
            # Also of an attempt that was killed before its first checkpoint.
            self.rollouts.cut_after(self.state.global_step)
        return found

    def _loop_state(self) -> dict[str, Any]:
        told = {name: list(values) for name, values in self._metrics["train"].items()}
        return {**super()._loop_state(), "micro_steps": self._step, "metrics": told}

    def _save_rng_state(self, output_dir: str) -> None:
        """Beside the random numbers, the answers that are still to be learned from: of each process its own."""
        super()._save_rng_state(output_dir)
        if self._step % (self.args.steps_per_generation * self.num_iterations):
            parts = {f"{place}.{name}": value.clone() for place, part in enumerate(self._buffered_inputs)
                     for name, value in part.items() if isinstance(value, torch.Tensor)}  # fmt: skip
            save_file(parts, str(Path(output_dir) / STATE.format(self.args.process_index)))

    def restore_loop_state(self, checkpoint: Path) -> None:
        """Take up the sums and the round in work."""
        super().restore_loop_state(checkpoint)
        state = json.loads((checkpoint / LOOP_STATE).read_text())
        self._step = state["micro_steps"]
        self._metrics["train"].update(state["metrics"])
        path = checkpoint / STATE.format(self.args.process_index)
        if path.is_file():
            parts: list[dict[str, Any]] = [{} for _ in range(self.args.steps_per_generation)]
            for name, value in load_file(str(path), device=str(self.args.device)).items():
                place, _, field = name.partition(".")
                parts[int(place)][field] = value
            self._buffered_inputs = parts


class GrpoTrainer(OnlineTrainer, GRPOTrainer):
    """Group-relative policy optimisation (arXiv 2402.03300)."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        return self.write(prompt_ids), None


class RlooTrainer(OnlineTrainer, RLOOTrainer):
    """REINFORCE with the other answers of a group as the baseline (arXiv 2402.14740)."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> list[list[int]]:
        return self.write(prompt_ids)
