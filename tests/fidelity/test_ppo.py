"""PPO by hand: advantages, penalties, clipping and the gradients of a minibatch against loops from the papers."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from studio.loop.advantage import (
    AdaptiveKl,
    FixedKl,
    RunningScale,
    advantages,
    correlation,
    explained_variance,
    moments,
    token_rewards,
    whitened,
)  # fmt: skip
from studio.loop.critic import ActorCritic
from studio.loop.experience import Answered, Experience, spread
from studio.loop.ppo import PpoTrainer
from studio.loop.rollout import Written
from studio.loop.surrogate import moved, policy_loss, value_loss

HAND = "by hand"
LOOP = "loops in plain torch from the papers"
MASK = torch.tensor([[True, True, True], [True, True, False]])


def alone(values: torch.Tensor) -> torch.Tensor:
    """The sum over one process."""
    return values


def far(found: torch.Tensor, wanted: Any) -> float:
    """The largest difference."""
    return float((found.double() - torch.as_tensor(wanted, dtype=torch.float64)).abs().max())


def test_rewards_stand_at_the_last_token_and_the_penalty_at_each(record: Any):
    kl = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, 9.0]])
    found = token_rewards(torch.tensor([3.0, -2.0]), kl, MASK, 0.1)
    record("ppo", "rewards of tokens", HAND, far(found, [[-0.05, 0.1, 2.8], [-0.1, -2.025, 0.0]]), 1e-6)


def test_advantages_are_those_of_the_recursion(record: Any):
    rewards = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 7.0]])
    values = torch.tensor([[0.5, 1.0, 1.5], [2.0, 4.0, 7.0]])
    found, returns = advantages(rewards, values, MASK, gamma=0.9, lam=0.5)
    # First row: deltas 1 + .9 * 1 - .5 = 1.4, 2 + .9 * 1.5 - 1 = 2.35, 3 - 1.5 = 1.5, each plus .45 times the next.
    first = [1.4 + 0.45 * (2.35 + 0.45 * 1.5), 2.35 + 0.45 * 1.5, 1.5]
    second = [0.5 + 0.9 * 4 - 2 + 0.45 * (-1.0 - 4.0), -5.0, 0.0]
    record("ppo", "generalised advantages", HAND, far(found, [first, second]), 1e-6)
    back = [[first[0] + 0.5, first[1] + 1.0, 3.0], [second[0] + 2.0, -1.0, 0.0]]
    record("ppo", "returns", HAND, far(returns, back), 1e-6)


def test_with_lambda_one_the_return_is_what_came(record: Any):
    rewards, values = torch.randn(4, 7), torch.randn(4, 7)
    mask = torch.arange(7) < torch.tensor([[7], [1], [4], [6]])
    _, returns = advantages(rewards, values, mask, gamma=0.97, lam=1.0)
    wanted = torch.zeros(4, 7)
    for row in range(4):
        for at in range(int(mask[row].sum())):
            rest = range(at, int(mask[row].sum()))
            wanted[row, at] = sum(0.97 ** (later - at) * float(rewards[row, later]) for later in rest)
    record("ppo", "returns with lambda 1 are discounted rewards", LOOP, far(returns, wanted), 1e-5)


def test_whitening_and_explained_variance(record: Any):
    values = torch.tensor([[1.0, 2.0, 6.0], [3.0, 8.0, 99.0]])
    mean, spread_of = 4.0, math.sqrt((9 + 4 + 4 + 1 + 16) / 5)
    wanted = [[(v - mean) / spread_of for v in (1, 2, 6)], [(v - mean) / spread_of for v in (3, 8)] + [0]]
    record("ppo", "whitening", HAND, far(whitened(values, MASK, alone), wanted), 1e-6)
    kept = [[each + mean * (at < 3 - row) for at, each in enumerate(line)] for row, line in enumerate(wanted)]
    record("ppo", "whitening that keeps the mean", HAND, far(whitened(values, MASK, alone, centre=False), kept), 1e-5)
    found = explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), alone)
    record("ppo", "explained variance", HAND, abs(found - (1 - 1 / 2.25)), 1e-9)
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]), alone) == pytest.approx(1)


def test_kl_control_and_running_scores(record: Any):
    control = AdaptiveKl(0.2, target=6.0, horizon=1000)
    control.update(9.0, 64)  # 50 % above: clipped to 20 %
    wanted = 0.2 * (1 + 0.2 * 64 / 1000)
    record("ppo", "adaptive KL above its target", HAND, abs(control.coefficient - wanted), 1e-12)
    control.update(5.4, 64)  # 10 % below
    wanted *= 1 - 0.1 * 64 / 1000
    record("ppo", "adaptive KL below its target", HAND, abs(control.coefficient - wanted), 1e-12)
    fixed = FixedKl(0.3)
    fixed.update(100.0, 64)
    assert fixed.coefficient == 0.3
    scale, scores = RunningScale(), torch.randn(40) * 3 + 5
    for part in scores.split(9):
        scale.add(*moments(part, alone))
    found = scale.scaled(scores)
    wanted_scores = (scores - scores.mean()) / scores.std()
    record("ppo", "score norm over batches is that of all", "torch.std", far(found, wanted_scores), 1e-5)


def test_clipping_takes_the_gradient_where_the_paper_says(record: Any):
    # Ratios 1.5, 1.5, 0.5, 0.5, 1.1 with advantages of both signs; clip 0.2.
    logps = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]).log().requires_grad_()
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    found = policy_loss(logps, torch.zeros(5), signs, 0.2)
    found.loss.backward()
    # min(r A, clip(r) A): 1.2, -1.5, 0.5, -0.8, 2.2
    record("ppo", "clipped policy loss", HAND, far(found.loss.detach(), -(1.2 - 1.5 + 0.5 - 0.8 + 2.2)), 1e-6)
    record("ppo", "its gradient, none where clipped", HAND, far(logps.grad, [0, 1.5, -0.5, 0, -2.2]), 1e-6)
    assert int(found.clipped) == 2
    values = torch.tensor([1.0, 2.0, -1.0]).requires_grad_()
    worth = value_loss(values, torch.zeros(3), torch.tensor([2.0, 1.0, -3.0]), 0.5)
    worth.loss.backward()
    # Clipped values 0.5, 0.5, -0.5: errors 1 or 2.25, 1 or 0.25, 4 or 6.25; the larger counts, half of it.
    record("ppo", "clipped value loss", HAND, far(worth.loss.detach(), 0.5 * (2.25 + 1 + 6.25)), 1e-6)
    record("ppo", "its gradient", HAND, far(values.grad, [0, 1, 0]), 1e-6)
    shift = torch.tensor([0.1, -0.2])
    far_away = sum(math.exp(d) - 1 - d for d in (0.1, -0.2))
    record("ppo", "how far the policy moved", HAND, abs(float(moved(shift, torch.zeros(2))) - far_away), 1e-6)


PROMPTS = [[5, 9, 2], [7, 1, 4, 3, 8], [6, 6]]
ANSWERS = [[11, 12, 13, 14], [15, 16], [17, 18, 19, 20, 21, 22]]
SETTINGS = SimpleNamespace(
    ppo_clip_range=0.1, ppo_clip_range_value=0.05, ppo_value_weight=0.3, ppo_entropy_weight=0.02,
)  # fmt: skip
TEMPERATURE, GAMMA, LAMBDA, PENALTY = 0.7, 0.98, 0.9, 0.15


def token_facts(model: Any, head: Any, row: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities, entropies and values of one answer, from a pass over it alone."""
    prompt, answer = PROMPTS[row], ANSWERS[row]
    output = model(input_ids=torch.tensor([[*prompt, *answer]]), output_hidden_states=True)
    logps, entropies, values = [], [], []
    for at, token in enumerate(answer):
        place = len(prompt) - 1 + at
        shares = torch.softmax(output.logits[0, place] / TEMPERATURE, dim=0)
        logps.append(torch.log(shares[token]))
        entropies.append(-(shares * shares.log()).sum())
        values.append(output.hidden_states[-1][0, place] @ head.weight[0] + head.bias[0])
    return torch.stack(logps), torch.stack(entropies), torch.stack(values)


def by_hand(model: Any, head: Any, before: Any, reference: Any, scores: list[float]) -> torch.Tensor:
    """The loss of the three answers as one minibatch: lists and loops, token by token."""
    rows = range(3)
    old = [(logp.tolist(), value.tolist()) for logp, _, value in (before[row] for row in rows)]
    raw: list[list[float]] = []
    for row in rows:
        logp, value = old[row]
        count = len(logp)
        reward = [-PENALTY * (logp[at] - float(reference[row][at])) for at in range(count)]
        reward[-1] += scores[row]
        found, later = [0.0] * count, 0.0
        for at in reversed(range(count)):
            after = value[at + 1] if at + 1 < count else 0.0
            later = reward[at] + GAMMA * after - value[at] + GAMMA * LAMBDA * later
            found[at] = later
        raw.append(found)
    every = [each for found in raw for each in found]
    mean = sum(every) / len(every)
    spread_of = math.sqrt(sum((each - mean) ** 2 for each in every) / len(every) + 1e-8)
    total, count = torch.zeros(()), 0
    for row in rows:
        logps, entropies, values = token_facts(model, head, row)
        for at in range(len(ANSWERS[row])):
            advantage = (raw[row][at] - mean) / spread_of
            ratio = torch.exp(logps[at] - old[row][0][at])
            gain = torch.min(ratio * advantage, torch.clamp(ratio, 0.9, 1.1) * advantage)
            goal, was = raw[row][at] + old[row][1][at], old[row][1][at]
            held = was + torch.clamp(values[at] - was, -0.05, 0.05)
            error = 0.5 * torch.max((values[at] - goal) ** 2, (held - goal) ** 2)
            total = total - gain + 0.3 * error - 0.02 * entropies[at]
            count += 1
    return total / count


@pytest.mark.parametrize("pad_id", [None, 0], ids=["end to end", "padded"])
def test_loss_and_first_gradients_of_a_minibatch(tiny_model: Path, record: Any, pad_id: int | None):
    torch.manual_seed(3)
    ours = transformers.AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.float32, attn_implementation="eager"
    )
    if pad_id is None:
        from studio.loop.attention import NAME

        ours.set_attn_implementation(NAME)
    critic = ActorCritic(ours, TEMPERATURE, entropy_learns=True)
    torch.nn.init.normal_(critic.value_head.weight, std=0.3)
    torch.nn.init.normal_(critic.value_head.bias)
    answered = Answered(PROMPTS, [Written(ids, True) for ids in ANSWERS], [])
    mask, scores, places = answered.mask_NT, torch.tensor([1.5, -0.5, 0.25]), [0, 1, 2]
    looked = critic.look(answered.batch(places, pad_id))
    reference = looked.logps_L + 0.1 * torch.randn_like(looked.logps_L)
    before = [token_facts(plain, critic.value_head, row) for row in range(3)]
    # Since the answers were written the policy has moved, so that some tokens are clipped and some are not.
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
            change = 0.02 * torch.randn_like(mine)
            mine += change
            theirs += change
        critic.value_head.weight += 0.05 * torch.randn_like(critic.value_head.weight)
    logps, values = spread(looked.logps_L, mask), spread(looked.values_L, mask)
    kl = logps - spread(reference, mask)
    raw, returns = advantages(token_rewards(scores, kl, mask, PENALTY), values, mask, gamma=GAMMA, lam=LAMBDA)
    experience = Experience(
        answered, mask, logps, values, whitened(raw, mask, alone), returns, scores, scores, kl.sum(dim=1)
    )
    trainer: Any = SimpleNamespace(
        own=SETTINGS, prompts=SimpleNamespace(pad_id=pad_id), _prepare_inputs=lambda batch: batch,
        compute_loss_context_manager=contextlib.nullcontext,
    )  # fmt: skip
    # In two micro-batches, which must add up.
    parts = [PpoTrainer._losses(trainer, critic, experience, some) for some in ([2, 0], [1])]
    loss = torch.stack([part for part, _ in parts]).sum() / int(mask.sum())
    loss.backward()
    clipped = sum(float(told[4]) for _, told in parts)
    assert 0 < clipped < int(mask.sum()), "some tokens must be clipped and some not"
    grads = [weight.grad for weight in (*ours.parameters(), *critic.value_head.parameters())]
    critic.value_head.zero_grad()
    wanted = by_hand(plain, critic.value_head, before, reference.split([len(ids) for ids in ANSWERS]), scores.tolist())
    wanted.backward()
    theirs = [weight.grad for weight in (*plain.parameters(), *critic.value_head.parameters())]
    way = "padded" if pad_id is not None else "documents end to end"
    record("ppo", f"loss of a minibatch, {way}", LOOP, abs(float(loss - wanted)), 1e-5)
    largest = max(float(each.abs().max()) for each in theirs)
    apart = max(far(mine, each) for mine, each in zip(grads, theirs, strict=True)) / largest
    record("ppo", f"first gradients of a minibatch, {way}", LOOP, apart, 1e-4)
