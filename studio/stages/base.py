"""What a stage is: its name, its own arguments, how it sees rows, and how its trainer is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from studio.arguments.base import Arguments
from studio.data.kinds import Wanted
from studio.recipe import STAGES, Recipe

if TYPE_CHECKING:
    import torch

    from studio.data.render import View
    from studio.loop.parts import Parts
    from studio.loop.saving import CheckpointWriter
    from studio.material import Material
    from studio.workspace import Workspace


class NoFields(Arguments):
    """A stage without arguments of its own."""


class Learner(Protocol):
    """What the flow asks of a stage's trainer; `studio.loop.trainer.StudioTrainer` is one."""

    writer: CheckpointWriter
    state: Any
    accelerator: Any
    model: Any
    args: Any
    eval_dataset: Any
    # Rows and tokens by dataset (`studio.loop.seen.Seen`), and how they stood over all processes when last told.
    seen: Any
    seen_total: torch.Tensor

    def train(self, resume_from_checkpoint: str | None = None) -> Any:
        """Learn to the end, or until a stop is asked for."""

    def evaluate(self) -> dict[str, float]:
        """Measures on the held-out rows."""

    def refuse_broken_weights(self) -> None:
        """Raise DivergedError for a weight that is not finite."""

    def conclude(self) -> dict[str, Any]:
        """What is measured once, when all is learned, by the names of the run's results."""

    def count_seen(self) -> None:
        """Add up over all processes what each dataset gave."""

    def whole_weights(self) -> dict[str, torch.Tensor] | None:
        """Every weight by its name where the model does not hold them whole, else None."""


def rows_per_step(recipe: Recipe) -> int:
    """What is drawn for one step in one process: rows, packs or pairs."""
    return recipe.training.per_device_train_batch_size * recipe.training.gradient_accumulation_steps


def no_copy(_recipe: Recipe) -> bool:
    """A stage that holds its weights once."""
    return False


def copies_start(recipe: Recipe) -> bool:
    """Whether a stage with a reference holds a copy of the weights that learn, as they were at the start.

    The base of a new adapter is there already; another model that is named, and answers that are asked once, need none.
    """
    own, method = recipe.own, recipe.method
    if getattr(own, "ref_model", "") or getattr(own, "precompute_ref_log_probs", False):
        return False
    continued = bool(recipe.model.adapter_name_or_path) and not method.create_new_adapter
    return method.finetuning_type != "lora" or continued or method.pissa_init


def _nothing(_recipe: Recipe, _material: Material, _place: Workspace) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage:
    """A way of learning. `wants` says what it makes of rows, `view` how, `trainer` makes what trains on them.

    `head` "score": one number for a whole row in place of the next token. `metrics` are what a checkpoint can be
    best in, with whether more is better. `packs`: rows may share a sequence; `streams`: they may be read while
    training. `batch` is what one step draws, `pass_steps` how many steps one pass over the rows takes, where that is
    not rows by batch. `copies` says whether the weights that learn are held a second time, as a reference.
    `check` gives complaints about what only this stage needs, before anything is loaded.
    """

    name: str
    title: str
    fields: type[Arguments]
    wants: Wanted
    view: Callable[[Recipe], View]
    trainer: Callable[[Parts], Learner]
    head: Literal["tokens", "score"] = "tokens"
    metrics: tuple[tuple[str, bool], ...] = (("loss", False),)
    packs: bool = False
    streams: bool = False
    batch: Callable[[Recipe], int] = rows_per_step
    pass_steps: Callable[[Recipe, int, int], int] | None = None
    check: Callable[[Recipe, Material, Workspace], list[str]] = _nothing
    copies: Callable[[Recipe], bool] = no_copy


# What next-token prediction measures.
TOKEN_METRICS = (
    ("loss", False), ("accuracy", True), ("perplexity", False), ("bits_per_character", False), ("bits_per_byte", False),
)  # fmt: skip


def stage_of(recipe: Recipe) -> Stage:
    """The stage that a recipe names."""
    return cast(Stage, STAGES[recipe.stage])
