"""Proximal policy optimisation: write answers, judge them, learn from them, again (arXiv 1707.06347, 2203.02155).

One step is one batch of answers and all updates on it:

    write     `rollout` draws an answer to each prompt of the step
    judge     the policy that wrote them, the reference and the source of rewards look at them; `advantage` turns
              what they say into advantages and returns
    learn     `ppo_epochs` passes over minibatches with the clipped losses of `surrogate`

Everything random in a step comes from the seed, the number of the step and the answer's place in it. So a step that
is thrown away, because a stop came while answers were written, is taken again to the last bit, and so is every step
after a checkpoint.

Letters: N answers of this process, T places, L tokens of a micro-batch.
"""

from __future__ import annotations

import contextlib
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import set_seed

from studio.loop.advantage import advantages, correlation, explained_variance, moments, token_rewards, whitened
from studio.loop.build import build
from studio.loop.experience import Answered, Experience, spread
from studio.loop.parts import Parts
from studio.loop.policy_trainer import PolicyTrainer
from studio.loop.rollout import RolloutStopped
from studio.loop.seen import SeenRows
from studio.loop.surrogate import moved, policy_loss, value_loss


def ppo_trainer(parts: Parts) -> PpoTrainer:
    """A trainer that learns from the rewards of the answers to the parts' prompts."""
    return build(PpoTrainer, parts, parts=parts)


class PpoTrainer(PolicyTrainer):
    """A loop of its own in upstream's trainer: optimizer, schedule, checkpoints and points are the common ones."""

    # -- the loop

    def _inner_training_loop(self, *_: Any, resume_from_checkpoint: str | None = None, **__: Any) -> Any:
        """Steps until the end, or until a stop."""
        steps, per_epoch = self.prompts.steps(), self.prompts.per_epoch
        epochs = math.ceil(steps / per_epoch)
        self._init_training_state(steps, per_epoch, epochs, resume_from_checkpoint, None)
        model = self._prepare(steps, resume_from_checkpoint)
        began_s = time.time()
        self._initial_global_step = self._globalstep_last_logged = self.state.global_step
        self._tr_loss, self._total_loss_scalar = torch.tensor(0.0, device=self.args.device), 0.0
        self.kept.begin(self.state.global_step)
        self.control = self.callback_handler.on_train_begin(self.args, self.state, self.control)
        if self.args.eval_on_start and not self.state.global_step:
            self._evaluate(None, None, skip_scheduler=True)
        while self.state.global_step < steps and not self.control.should_training_stop:
            self.control = self.callback_handler.on_step_begin(self.args, self.state, self.control)
            try:
                norm, rate = self._take_step(model)
            except RolloutStopped:
                self.leave_step()
                break
            self.state.global_step += 1
            self.state.epoch = self.state.global_step / per_epoch
            self.control = self.callback_handler.on_step_end(self.args, self.state, self.control)
            self._log_save_evaluate(model, norm, began_s, rate)
            if self.state.global_step % per_epoch == 0 or self.state.global_step == steps:
                self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
                self._log_save_evaluate(model, norm, began_s, rate)
        return self._finalize_training(None, steps * self.prompts.batch, began_s)  # type: ignore[no-untyped-call]

    def _prepare(self, steps: int, checkpoint: str | None) -> Any:
        """Optimizer and schedule for policy and value head, spread over the processes, as a checkpoint left them."""
        self.optimizer = self.lr_scheduler = None
        optimizer = self.create_optimizer()
        rate = self.own.ppo_value_learning_rate or self.args.learning_rate
        optimizer.add_param_group(
            {"params": list(self.critic.value_head.parameters()), "lr": rate, "weight_decay": 0.0}
        )
        model, self.optimizer = self.accelerator.prepare(self.critic, optimizer)
        self.create_scheduler(num_training_steps=steps)
        self.model_wrapped = model
        if checkpoint is not None:
            self.judge.read_head(Path(checkpoint))
            self._load_optimizer_and_scheduler(checkpoint)
            self._load_scaler(checkpoint)
            self._load_rng_state(checkpoint)
        for name in ("model", "optimizer", "lr_scheduler"):
            setattr(self.callback_handler, name, getattr(self, name))
        return model

    def _log_save_evaluate(self, model: Any, norm: Any, began_s: float, rate: float) -> None:
        epoch = float(self.state.epoch or 0)
        self._maybe_log_save_evaluate(self._tr_loss, norm, model, None, epoch, None, began_s, learning_rate=rate)

    def _take_step(self, model: Any) -> tuple[Any, float]:
        """Write, judge, learn; the last norm of the gradients and the learning rate. Raises RolloutStopped."""
        step = self.state.global_step
        set_seed(self.prompts.seed(step, self.args.process_index))
        clock = [time.monotonic()]
        answered = self._write(step)
        clock.append(time.monotonic())
        experience = self._judged(answered)
        clock.append(time.monotonic())
        norm = self._learn(model, experience, step)
        clock.append(time.monotonic())
        for name, start, end in zip(("generation_s", "scoring_s", "update_s"), clock, clock[1:], strict=False):
            self.tell(name, end - start, 1)
        rate = self._get_learning_rate()
        if not self.accelerator.optimizer_step_was_skipped:
            cast(Any, self.lr_scheduler).step()
        self.tokens_seen += answered.tokens
        self._track_num_input_tokens({"input_ids": torch.empty(answered.tokens)})
        if (every := self.args.torch_empty_cache_steps) and step % every == 0 and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return norm, rate

    def _write(self, step: int) -> Answered:
        """Answers to the prompts of a step. Raises RolloutStopped in all processes when one was asked to stop."""
        numbers, seeds = self.prompts.draw(step)
        if step == 0 and not self.tokens_seen and self.args.should_save:
            self.writer.first_batch(self.prompts.first_batch(numbers))
        try:
            answered = self.answer([self.prompts.rows[at] for at in numbers], seeds, self._halted)
        except RolloutStopped:
            answered = None
        if self.args.world_size > 1:
            asked = torch.tensor(self.stop.signal, device=self.args.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
            self.stop.signal = int(asked)
        if answered is None or (self.args.world_size > 1 and self.stop):
            raise RolloutStopped
        if isinstance(self.seen, SeenRows):
            self.seen.take([numbers])
        return answered

    def _halted(self) -> bool:
        return bool(self.stop)

    # -- what answers are worth

    def _judged(self, answered: Answered) -> Experience:
        """The answers with advantages and returns, and what is to be told of them."""
        own, kept, total = self.own, self.kept, self.total
        looked = self.look("train", answered, self.args.per_device_train_batch_size)
        mask_NT = answered.mask_NT.to(self.args.device)
        logps_NT, values_NT = spread(looked.logps_L, mask_NT), spread(looked.values_L, mask_NT)
        kl_NT = logps_NT - spread(looked.reference_L, mask_NT)
        rewards_N = self.judge.rewards(answered).to(self.args.device)
        scores_N = rewards_N.clone()
        if own.ppo_missing_end_penalty is not None:
            ended_N = torch.tensor([answer.ended for answer in answered.answers], device=self.args.device)
            scores_N = torch.where(ended_N, scores_N, scores_N - own.ppo_missing_end_penalty)
        if own.ppo_score_norm:
            kept.scale.add(*moments(scores_N, total))
            scores_N = kept.scale.scaled(scores_N)
        rewards_NT = token_rewards(scores_N, kl_NT, mask_NT, kept.penalty.coefficient)
        if own.ppo_whiten_rewards:
            rewards_NT = whitened(rewards_NT, mask_NT, total, centre=False)
        raw_NT, returns_NT = advantages(rewards_NT, values_NT, mask_NT, gamma=own.ppo_gamma, lam=own.ppo_lambda)
        advantages_NT = whitened(raw_NT, mask_NT, total)
        experience = Experience(
            answered, mask_NT, logps_NT, values_NT, advantages_NT, returns_NT, rewards_N, scores_N, kl_NT.sum(dim=1)
        )
        self._account(experience, float(looked.entropies_L.sum()))
        return experience

    def _account(self, experience: Experience, entropy: float) -> None:
        """Values for the curve, samples for people, alarms, and the weight of the penalty of the next step."""
        kept, total, mask_NT = self.kept, self.total, experience.mask_NT
        answers, lengths_N = len(experience.answered), mask_NT.sum(dim=1).float()
        kl, _, count = moments(experience.kl_N, total)
        reward, variance, _ = moments(experience.rewards_N, total)
        if not math.isfinite(kl) or not math.isfinite(reward):
            raise self.diverged("KL" if math.isfinite(reward) else "reward", kl)
        explained = explained_variance(experience.values_NT[mask_NT], experience.returns_NT[mask_NT], total)
        self.tell("reward", float(experience.rewards_N.sum()), answers)
        self.tell("reward_std", variance**0.5, 1)
        self.tell("score", float(experience.scores_N.sum()), answers)
        self.tell("kl", float(experience.kl_N.sum()), answers)
        self.tell("kl_coef", kept.penalty.coefficient, 1)
        self.tell("entropy", entropy, int(mask_NT.sum()))
        self.tell("explained_variance", explained, 1)
        self.tell("response_length", float(lengths_N.sum()), answers)
        kept.keep(self.state.global_step + 1, experience)
        seen = {
            "kl": kl, "length": moments(lengths_N, total)[0], "explained": explained,
            "together": correlation(lengths_N, experience.rewards_N, total),
        }  # fmt: skip
        for name, sentence in kept.alarms.look(seen).items():
            kept.raised.append(name)
            self.parts.say(f"warning: {name} at step {self.state.global_step + 1}: {sentence}")
        kept.penalty.update(kl, count)

    # -- learning

    def _learn(self, model: Any, experience: Experience, step: int) -> Any:
        """All updates of a step, or fewer where the policy has moved far; the last norm of the gradients."""
        size = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        losses: list[float] = []
        norm: Any = None
        for epoch in range(self.own.ppo_epochs):
            order = np.random.default_rng([self.prompts.base, step, epoch]).permutation(len(experience.answered))
            for start in range(0, len(order), size):
                places = order[start : start + size].tolist()
                gradients = partial(self._gradients, model, experience, places)
                loss, far = self.fewer.fitting("train", step + 1, self.args.per_device_train_batch_size, gradients)
                losses.append(loss)
                if self.own.ppo_target_kl is not None and far > self.own.ppo_target_kl:
                    model.zero_grad()
                    self._tr_loss += sum(losses) / len(losses)
                    return norm
                norm = self._update(model)
        self._tr_loss += sum(losses) / len(losses)
        return norm

    def _gradients(self, model: Any, experience: Experience, places: list[int], micro: int) -> tuple[float, float]:
        """Gradients of the mean loss over the tokens of a minibatch; that loss, and how far the policy has moved."""
        model.train()
        model.zero_grad()
        tokens = float(self.total(experience.mask_NT[places].sum().double()))
        sums = torch.zeros(5, dtype=torch.float64, device=self.args.device)
        for start in range(0, len(places), micro):
            part = places[start : start + micro]
            last = start + micro >= len(places)
            self.accelerator.gradient_state._set_sync_gradients(last)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss, told = self._losses(model, experience, part)
                # The gradients of several processes are averaged; the mean is one over the tokens of all.
                self.accelerator.backward(loss * (self.args.world_size / tokens))
            sums += told
        policy, value, entropy, far, clipped = (self.total(sums) / tokens).tolist()
        own = self.own
        loss = policy + own.ppo_value_weight * value - own.ppo_entropy_weight * entropy
        if not math.isfinite(loss) or not math.isfinite(far):
            raise self.diverged("loss" if not math.isfinite(loss) else "ratio of probabilities", loss)
        for name, found in (("policy_loss", policy), ("value_loss", value), ("clip_fraction", clipped)):
            self.tell(name, found, 1)
        return loss, far

    def _losses(self, model: Any, experience: Experience, places: list[int]) -> tuple[Tensor, Tensor]:
        """The loss of a micro-batch summed over its tokens, and its parts: policy, value, entropy, moved, clipped."""
        own = self.own
        batch = self._prepare_inputs(experience.answered.batch(places, self.prompts.pad_id))
        with self.compute_loss_context_manager():
            logps_L, entropies_L, values_L = model(batch)
        before_L, old_L = experience.tokens("logps_NT", places), experience.tokens("values_NT", places)
        advantages_L, returns_L = experience.tokens("advantages_NT", places), experience.tokens("returns_NT", places)
        policy = policy_loss(logps_L, before_L, advantages_L, own.ppo_clip_range)
        value = value_loss(values_L, old_L, returns_L, own.ppo_clip_range_value)
        entropy = entropies_L.sum()
        loss = policy.loss + own.ppo_value_weight * value.loss - own.ppo_entropy_weight * entropy
        parts = (policy.loss, value.loss, entropy, moved(logps_L, before_L), policy.clipped)
        return loss, torch.stack([part.detach().double() for part in parts])

    def _update(self, model: Any) -> Any:
        """One step of the optimizer; the norm of the gradients before they were shortened."""
        shortened = self._clip_grad_norm(model) if self.args.max_grad_norm > 0 else None  # type: ignore[no-untyped-call]
        norm = self._get_grad_norm(model, grad_norm=shortened)
        self.control = self.callback_handler.on_pre_optimizer_step(self.args, self.state, self.control)
        cast(Any, self.optimizer).step()
        self.control = self.callback_handler.on_optimizer_step(self.args, self.state, self.control)
        model.zero_grad()
        return norm
