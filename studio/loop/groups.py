"""trl's trainers of groups of answers, put together for a run: configuration, prompts, rewards, reference."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, cast

from datasets import Dataset
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, RLOOConfig
from trl.trainer.utils import add_fused_lm_head

from studio.arguments.rewards import GroupArguments
from studio.errors import ArgumentError
from studio.loop.attention import NAME as DOCUMENTS
from studio.loop.build import wire
from studio.loop.online import REFERENCE, GrpoTrainer, OnlineTrainer, RlooTrainer
from studio.loop.parts import Parts
from studio.loop.reference import AnotherModel, Reference, reference_for
from studio.loop.seen import SeenRows
from studio.model.tokenizer import LightTokenizer
from studio.rewards.choose import reward_for


def grpo_trainer(parts: Parts, beta: float, **asked: Any) -> OnlineTrainer:
    """trl's GRPO over the parts' prompts; `asked` are arguments of its configuration."""
    return _build(GrpoTrainer, GRPOConfig, parts, beta, asked)


def rloo_trainer(parts: Parts, beta: float, **asked: Any) -> OnlineTrainer:
    """trl's RLOO over the parts' prompts."""
    return _build(RlooTrainer, RLOOConfig, parts, beta, asked)


def _build(kind: type[OnlineTrainer], config: Any, parts: Parts, beta: float, asked: dict[str, Any]) -> OnlineTrainer:
    model = parts.model
    base = _base(model)
    if _beside(base):
        parts.say(f"attention: {base.config._attn_implementation}; answers are written and learned in padded rows")
    rows = Dataset.from_dict({"prompt": [str(number) for group in parts.groups for number in group]})
    with _unchanged(model, base):
        trainer = wire(
            kind, parts,
            parts=parts,
            args=_config(config, parts, asked),
            train_dataset=rows,
            processing_class=_tokenizer(parts.material.tokenizer),
        )  # fmt: skip
    trainer.seen = SeenRows(parts.rows)
    left = len(rows) % (trainer.args.generation_batch_size // trainer.args.num_generations)
    if left:
        which = "other ones" if trainer.args.shuffle_dataset else "the same ones"
        parts.say(f"prompts: of each pass {left} are left out, {which} each time, as they fill no whole step")
    # Now that the model lies where it learns.
    trainer.reward = reward_for(parts.recipe, parts.material, parts.place, base=model)
    parts.say(f"rewards: {trainer.reward.name}")
    if beta:
        trainer.beta, trainer.ref_model = beta, REFERENCE
        trainer.reference = _readable(reference_for(model, parts), trainer.temperature)
    return trainer


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _beside(base: Any) -> bool:
    """Let a model read rows side by side, padded, where it reads them end to end; whether it did."""
    if base.config._attn_implementation != DOCUMENTS:
        return False
    base.set_attn_implementation("sdpa" if base._supports_sdpa else "eager")
    return True


def _readable(reference: Reference, temperature: float) -> Reference:
    """A reference that can be asked as trl asks: one that is the model itself can already."""
    if isinstance(reference, AnotherModel):
        base = _base(reference.model)
        _beside(base)
        add_fused_lm_head(base, temperature=temperature)
    return reference


def _config(config: Any, parts: Parts, asked: dict[str, Any]) -> Any:
    """trl's configuration with the run's settings in it. Raises ArgumentError with what trl says is wrong."""
    own = cast(GroupArguments, parts.recipe.own)
    given = {each.name: getattr(parts.settings, each.name) for each in dataclasses.fields(parts.settings) if each.init}
    # Two names of one thing; the settings were made with the newer one.
    given["gradient_checkpointing"] = given["gradient_checkpointing_kwargs"] = None
    given |= {
        "max_completion_length": own.max_new_tokens,
        "temperature": own.temperature,
        "top_p": own.top_p,
        "top_k": own.top_k,
        "num_generations": own.num_generations,
        "num_iterations": own.num_iterations,
        "epsilon": own.epsilon,
        "epsilon_high": own.epsilon_high,
        "mask_truncated_completions": own.mask_truncated_completions,
        "shuffle_dataset": parts.settings.train_sampling_strategy != "sequential",
        # The reference is the studio's, and it is named when the trainer stands.
        "beta": 0.0,
    }
    try:
        return config(**given, **asked)
    except (ValueError, TypeError) as error:
        raise ArgumentError([f"trl does not take these arguments: {' '.join(str(error).split())}"]) from None


def _tokenizer(tokenizer: LightTokenizer) -> PreTrainedTokenizerFast:
    """The same tokenizer as trl wants it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.fast,
        eos_token=tokenizer.eos_token,
        bos_token=tokenizer.bos_token or None,
        pad_token=tokenizer.pad_token or tokenizer.eos_token,
        padding_side="left",
    )


@contextlib.contextmanager
def _unchanged(model: Any, base: Any) -> Iterator[None]:
    """Undo what trl's constructors do to a model besides: ids of padding, rounded adapters, a copy of the adapter."""
    configs = [each for each in (base.config.get_text_config(), base.generation_config) if each is not None]
    padding = [each.pad_token_id for each in configs]
    weights = [(weight, weight.data) for weight in model.parameters() if weight.requires_grad]
    try:
        yield
    finally:
        for each, id in zip(configs, padding, strict=True):
            each.pad_token_id = id
        for weight, data in weights:
            if weight.dtype != data.dtype:
                weight.data = data.to(weight.device)
        if "ref" in getattr(model, "peft_config", {}):
            model.delete_adapter("ref")
