"""A stage's trainer, put together: rows, watch, guarded trackers, the optimizer's groups, noise."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from transformers import PreTrainedModel

from studio.loop.batch import Collator, Groups
from studio.loop.parts import Parts
from studio.loop.seen import SeenRows
from studio.loop.step import WithGroups
from studio.loop.trackers import guard_trackers
from studio.loop.trainer import StudioTrainer
from studio.loop.watch import quiet

Kind = TypeVar("Kind", bound=StudioTrainer)


def build(kind: type[Kind], parts: Parts, /, collator: type[Collator] = Collator, **more: Any) -> Kind:
    """A trainer of this kind over the parts' groups; `more` is what only its own constructor takes."""
    trainer = wire(
        kind,
        parts,
        held_out_collator=WithGroups(collator(parts.held_out_rows, parts.pad_id)) if parts.held_out_rows else None,
        args=parts.settings,
        train_dataset=Groups(parts.groups),
        eval_dataset=Groups(parts.held_out) if parts.held_out else None,
        data_collator=WithGroups(collator(parts.rows, parts.pad_id)),
        **more,
    )
    trainer.seen = SeenRows(parts.rows)
    return trainer


def wire(kind: type[Kind], parts: Parts, /, **given: Any) -> Kind:
    """A trainer with what all have in common: where it writes, how it is stopped, watched and tracked."""
    method = parts.recipe.method
    groups = None
    if method.loraplus_lr_ratio is not None:
        groups = _lora_plus(method.loraplus_lr_ratio, method.loraplus_lr_embedding)
    trainer = _fitting(kind, parts.settings)(
        writer=parts.writer,
        stop=parts.stop,
        optimizer_groups=groups,
        incidents=parts.incidents,
        model=parts.model,
        callbacks=[parts.watch],
        **given,
    )
    parts.watch.trainer = trainer
    quiet(trainer)
    guard_trackers(trainer, parts.say)
    if parts.recipe.training.eval_methods:
        from studio.loop.methods import Methods

        # Behind the trackers, which begin before anything is measured.
        trainer.add_callback(Methods(parts, trainer))
    if (alpha := parts.recipe.training.neftune_noise_alpha) is not None:
        _add_noise(trainer, alpha)
    return trainer


def _fitting(kind: type[Kind], settings: Any) -> type[Kind]:
    """The trainer for one process, or several with a whole model each; or for parts of it."""
    if not settings.deepspeed:
        return kind
    from studio.loop.divided import DividedTrainer

    return cast(type[Kind], type(f"Divided{kind.__name__}", (DividedTrainer, kind), {}))


def _lora_plus(ratio: float, embedding_rate: float) -> Any:
    """LoRA+ (arXiv 2402.12354): the B matrices learn `ratio` times faster than the A matrices."""

    def make(model: Any, settings: Any) -> torch.optim.Optimizer:
        from peft.optimizers import create_loraplus_optimizer
        from transformers import Trainer

        kind, options = Trainer.get_optimizer_cls_and_kwargs(settings, model)
        options.pop("lr", None)
        optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
            model=model,
            optimizer_cls=kind,
            lr=settings.learning_rate,
            loraplus_lr_ratio=ratio,
            loraplus_lr_embedding=embedding_rate,
            loraplus_weight_decay=settings.weight_decay,
            **options,
        )
        return optimizer

    return make


def _add_noise(trainer: StudioTrainer, alpha: float) -> None:
    """NEFTune (arXiv 2310.05914): uniform noise of size alpha / sqrt(L D) on the embeddings.

    L is the length of the document itself, so the noise does not depend on what shares its batch.
    """

    def noisy(module: torch.nn.Module, _inputs: Any, embedded_BTD: torch.Tensor) -> torch.Tensor:
        if not module.training or trainer.document_lengths is None:
            return embedded_BTD
        # (T,) or (B, 1): how long the document of each token is
        lengths = trainer.document_lengths.to(embedded_BTD.device)
        size = (alpha / (lengths * embedded_BTD.shape[-1]).sqrt())[..., None]
        noise = torch.empty_like(embedded_BTD).uniform_(-1, 1)
        return embedded_BTD + noise * size.to(embedded_BTD.dtype)

    model = cast(PreTrainedModel, trainer.model)
    model.get_input_embeddings().register_forward_hook(noisy)
