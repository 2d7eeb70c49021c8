"""One optimizer step, which can be taken again from where it began: in smaller parts, or to look twice.

When memory runs out, the batches of the step are divided and everything of it is computed anew, so that the sum
of the gradients is that of a run that began with the smaller micro-batch: the same rows in the same order, each
step over as many of them, and the same random numbers. A loss or a gradient that is not finite is looked at
twice before it ends the run: once it may have been the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from studio.errors import MemoryFullError
from studio.loop import memory
from studio.loop.incidents import Incidents

if TYPE_CHECKING:
    from studio.loop.trainer import Measured, StudioTrainer

# Under this name a batch carries the groups of row numbers that it was made of; no model gets it.
GROUPS = "groups"


class WithGroups:
    """A collator whose batches know of which groups they were made."""

    def __init__(self, collator: Callable[[list[list[int]]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, groups: list[list[int]]) -> dict[str, Any]:
        """The batch of these groups."""
        return {**self.collator(groups), GROUPS: [list(group) for group in groups]}


class Step:
    """The optimizer step in work: its batches so far, and everything that stood otherwise when it began."""

    def __init__(self, trainer: StudioTrainer, incidents: Incidents) -> None:
        self._trainer, self._incidents = trainer, incidents
        self._after = -1
        self._batches: list[Any] = []
        self._items: Any = None
        # The first loss of the last computation that was not finite.
        self._odd: float | None = None
        self._before: tuple[Any, ...] = ()

    @property
    def number(self) -> int:
        """The step in work, counted from 1."""
        return self._trainer.state.global_step + 1

    def take(self, model: Any, inputs: Any, items: Any) -> torch.Tensor:
        """The loss of one more batch of the step, with its gradients added. Raises DivergedError, MemoryFullError."""
        trainer = self._trainer
        if self._after != trainer.state.global_step:
            self.begin()
        self._batches.append(inputs)
        self._items = items
        loss = self._fitting(model, partial(self._parts_of, model, inputs))
        first = self._odd
        if first is None:
            return loss
        if trainer.works_alone:
            loss = self._fitting(model, partial(self.from_the_start, model))
        if not trainer.works_alone or self._odd is not None:
            raise trainer.diverged("loss", first)
        self._looked_twice(f"its loss was {first}")
        return loss

    def again(self, model: Any, norm: float) -> None:
        """Compute the gradients of the whole step once more; their norm was not finite."""
        self._trainer._tr_loss += self._fitting(model, partial(self.from_the_start, model))
        self._looked_twice(f"the norm of its gradients was {norm}")

    def measure(self, model: Any, inputs: Any) -> list[Measured]:
        """What a batch of held-out rows gives, in as many parts as fit."""
        trainer = self._trainer
        while True:
            try:
                return [trainer.measure(model, trainer._prepare_inputs(part)) for part in self._divided(inputs, "eval")]
            except memory.ERRORS as error:
                self._halve(error, inputs, "eval")
            memory.let_go()

    def begin(self) -> None:
        """Remember how everything stands before the first batch of a step."""
        trainer = self._trainer
        self._after, self._batches = trainer.state.global_step, []
        self._before = (memory.random_state(), trainer.told, trainer.tokens_seen, trainer._tr_loss.clone())

    def _parts_of(self, model: Any, inputs: Any) -> torch.Tensor:
        """The loss of the last part of a batch; those of the others are put where upstream's loop will put it."""
        *first, last = self._divided(inputs, "train")
        self._odd = None
        for part in first:
            self._trainer._tr_loss += self._one(model, part)
        return self._one(model, last)

    def _one(self, model: Any, part: Any) -> torch.Tensor:
        loss = self._trainer.micro_step(model, part, self._items)
        # Of several processes one may see it alone; the norm of the common gradient tells all of them.
        if self._trainer.args.world_size == 1 and not math.isfinite(value := loss.item()) and self._odd is None:
            self._odd = value
        return loss

    def from_the_start(self, model: Any) -> torch.Tensor:
        """Every batch of the step so far once more; the loss of the last part of the last one."""
        trainer = self._trainer
        state, trainer.told, trainer.tokens_seen, loss_before = self._before
        memory.set_random_state(state)
        trainer._tr_loss.copy_(loss_before)
        model.zero_grad()
        for batch in self._batches[:-1]:
            trainer._tr_loss += self._parts_of(model, batch)
            if self._odd is not None:
                return trainer._tr_loss.detach().clone()  # nothing goes on from here
        return self._parts_of(model, self._batches[-1])

    def _fitting(self, model: Any, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Do it; when memory runs out, all of the step in smaller parts, until it fits."""
        while True:
            try:
                return work()
            except memory.ERRORS as error:
                self._halve(error, self._batches[-1], "train")
            # Only here, outside of the handler, does nothing hold what was computed.
            work = partial(self.from_the_start, model)
            model.zero_grad()
            memory.let_go()

    def count(self, inputs: Any) -> int:
        """Of how many groups a batch was made; 0 where its maker does not tell."""
        return len(_groups(inputs))

    def cut(self, inputs: Any, size: int, what: Any) -> Iterator[Any]:
        """Batches of at most `size` of its groups each, as the model gets them."""
        groups = _groups(inputs)
        if size >= len(groups):
            yield {name: value for name, value in inputs.items() if name != GROUPS} if groups else inputs
            return
        collator = self._collator(what)
        for start in range(0, len(groups), size):
            yield collator.collator(groups[start : start + size])

    def too_full(self, said: str, asked: int, size: int | None) -> str:
        """The sentence to end with where nothing is left to halve."""
        return memory.full(said, asked, size)

    def _divided(self, inputs: Any, what: Any) -> Iterator[Any]:
        size = self._incidents.size(what, self._step_of(what), max(self.count(inputs), 1))
        return self.cut(inputs, size, what)

    def _collator(self, what: Any) -> WithGroups:
        trainer = self._trainer
        found = trainer.data_collator if what == "train" else trainer.held_out_collator or trainer.data_collator
        assert isinstance(found, WithGroups), "only such a collator leaves groups in a batch"
        return found

    def _step_of(self, what: Any) -> int:
        return self.number if what == "train" else self._trainer.state.global_step

    def _halve(self, error: BaseException, inputs: Any, what: Any) -> None:
        """Note that from this step on half as many groups go through at a time. Raises where that cannot be."""
        if not memory.ran_out(error):
            raise error
        trainer, said = self._trainer, memory.evidence(error)
        groups = self.count(inputs)
        size = self._incidents.size(what, self._step_of(what), groups)
        asked = trainer.args.per_device_train_batch_size if what == "train" else trainer.args.eval_batch_size
        smallest = trainer.fewest if what == "train" else 1
        if not trainer.works_alone or not groups or size // 2 < smallest:
            tried = size if groups and trainer.works_alone else None
            raise MemoryFullError(self.too_full(said, asked, tried)) from error
        half = size // 2
        facts = {"size": half, "evidence": said}
        if what == "eval":
            text = f"memory ran out while evaluating after step {trainer.state.global_step}: {half} at a time now"
        else:
            times = trainer.args.gradient_accumulation_steps * -(-asked // half)
            facts["accumulation"] = times
            text = (
                f"memory ran out at step {self.number}: micro-batch {size} → {half}, accumulation {times}; "
                "rows, order and effective batch stay"
            )
        self._incidents.add(what, self._step_of(what), text, **facts)

    def _looked_twice(self, why: str) -> None:
        text = f"step {self.number} was computed again, because {why}; the second time it is finite"
        self._incidents.add("again", self.number, text)


def _groups(inputs: Any) -> list[list[int]]:
    """The groups that a batch was made of; none where its maker does not tell."""
    return list(inputs.get(GROUPS) or []) if isinstance(inputs, Mapping) else []
