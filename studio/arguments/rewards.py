"""Arguments of the stages that learn from rewards: where a reward comes from, and how answers are drawn."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.arguments.generation import SamplingArguments
from studio.arguments.preference import ReferenceArguments


class RewardArguments(Arguments):
    """Where the reward of an answer comes from: one of a model, a Python function, a service."""

    reward_model: Text = arg("", level="basic")
    """What judges the answers: a reward model's folder or run, a LoRA adapter of the base that learns, or the
    http(s) address of a service."""

    reward_model_type: Literal["lora", "full", "api", "function"] | None = arg(None)
    """What --reward_model names: lora, an adapter on the base that learns, whose weights are then held once; full, a
    model of its own; api, a service. function goes with --reward_function. Unset, it is told from what is named."""

    reward_model_adapters: Names = arg(())
    """With a full reward model: the adapter that makes --reward_model, a plain base, judge."""

    reward_function: Text = arg("", level="basic")
    """A Python function that judges the answers, as path/to/file.py:name. It takes a list of samples and gives a
    number for each. Its code runs with your rights."""

    reward_api_timeout_s: float = arg(30.0, gt=0, le=3600)
    """How many seconds a reward service may take for one request."""

    reward_api_retries: int = arg(3, ge=0, le=20)
    """How often a request to a reward service is made again when it fails in passing, each time after a longer wait."""


class RolloutArguments(SamplingArguments, RewardArguments):
    """What stages ask that write answers and learn from their rewards. Tokens are always drawn by chance."""


class GroupArguments(RolloutArguments, ReferenceArguments):
    """What stages ask that compare several answers to the same prompt; the names are trl's."""

    num_generations: int = arg(8, level="basic", ge=2, le=4096)
    """How many answers are written to each prompt and compared. What one step draws, --per_device_train_batch_size
    times --gradient_accumulation_steps, must be a multiple of it."""

    beta: float | None = arg(None, level="basic", ge=0)
    """What a step away from the starting model costs (the weight of the KL divergence). Unset it is trl's: 0 for
    grpo, which then needs no reference, and 0.05 for rloo."""

    num_iterations: int = arg(1, ge=1, le=100)
    """How many steps learn from the same answers before new ones are written."""

    epsilon: float = arg(0.2, gt=0)
    """A probability that has changed by more than this share brings nothing more: a token's, in rloo an answer's."""

    epsilon_high: float | None = arg(None, gt=0)
    """The same bound upwards, where it is to be another; unset it is --epsilon."""

    mask_truncated_completions: bool = arg(False)
    """Learn nothing from answers that --max_new_tokens cut short."""
