"""The reference policy: the model as it was before it learns, beside the one that learns.

It is never the naked base where a trained adapter goes on: what a run starts from is what it is held against.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from studio.errors import ArgumentError

if TYPE_CHECKING:
    from studio.loop.parts import Parts


class Reference:
    """A frozen policy; `told` says in the log which one it is.

    `with reference.policy(model) as frozen:` gives what to run forward: in evaluation mode and without gradients.
    Afterwards the model is what it was. `model` is the one that learns, wrapped or not.
    """

    told = "reference: the model as it is before the first step"

    @contextlib.contextmanager
    def policy(self, model: Any) -> Iterator[Any]:
        """The frozen policy, for as long as the block lasts."""
        inner = unwrapped(model)
        was_training = inner.training
        inner.eval()
        try:
            with torch.no_grad(), self._frozen(inner) as frozen:
                yield frozen
        finally:
            inner.train(was_training)

    def _frozen(self, inner: Any) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext(inner)


class AdapterOff(Reference):
    """The base of a new adapter: the adapter is switched off."""

    told = "reference: the base, with the new adapter switched off"

    @contextlib.contextmanager
    def _frozen(self, inner: Any) -> Iterator[Any]:
        with inner.disable_adapter():
            yield inner


class StartingWeights(Reference):
    """A copy of the weights that learn as they were at the start, put in their place while it is asked.

    Weights that do not learn are held once. The copy costs as much memory as the weights that learn.
    """

    def __init__(self, model: Any, told: str) -> None:
        self.told = told
        self.kept = {name: weight.detach().clone() for name, weight in _learning(model)}

    @contextlib.contextmanager
    def _frozen(self, inner: Any) -> Iterator[Any]:
        learned = {}
        try:
            for name, weight in _learning(inner):
                learned[name] = weight.data
                self.kept[name] = self.kept[name].to(weight.device, weight.dtype)
                weight.data = self.kept[name]
            yield inner
        finally:
            for name, weight in _learning(inner):
                if name in learned:
                    weight.data = learned[name]


class AnotherModel(Reference):
    """A model of its own, named by --ref_model; it moves to the device of the one that learns."""

    def __init__(self, model: Any, told: str) -> None:
        self.told = told
        self.model = model.requires_grad_(False).eval()

    @contextlib.contextmanager
    def _frozen(self, inner: Any) -> Iterator[Any]:
        device = next(inner.parameters()).device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        yield self.model


def reference_for(model: Any, parts: Parts, *, asked_once: bool = False) -> Reference:
    """The reference of a run, made before the first step; the log says which one.

    A folder named by --ref_model; else the base where the adapter is new; else a copy of the starting weights.
    On a resume `model` still has the weights that the run started from. `asked_once`: only before the first step,
    so that no copy is needed. Raises ArgumentError, ModelError.
    """
    reference = _named(parts) or _start_of(unwrapped(model), parts, asked_once)
    parts.say(reference.told)
    return reference


def _named(parts: Parts) -> Reference | None:
    if not getattr(parts.recipe.own, "ref_model", ""):
        return None
    from studio.loop.ref_model import load_reference

    return AnotherModel(load_reference(parts), f"reference: {parts.recipe.own.ref_model}")  # type: ignore[attr-defined]


def _start_of(model: Any, parts: Parts, asked_once: bool) -> Reference:
    method = parts.recipe.method
    continued = bool(parts.recipe.model.adapter_name_or_path) and not getattr(method, "create_new_adapter", False)
    if method.finetuning_type == "lora" and not continued and adds_nothing(model):
        return AdapterOff()
    if asked_once:
        return Reference()
    if any(hasattr(weight, "ds_id") for _, weight in _learning(model)):
        raise ArgumentError(
            ["--deepspeed: with stage 3 no process holds the starting weights whole, so there is no copy of them to "
             "compare with. Use stage 2, a new adapter (--finetuning_type lora), or name --ref_model."]
        )  # fmt: skip
    told = "reference: a frozen copy of the starting "
    return StartingWeights(model, told + ("adapter" if method.finetuning_type == "lora" else "weights"))


def adds_nothing(model: Any) -> bool:
    """Whether an adapter leaves the outputs of its base as they are: every B matrix is zero, no bias learns.

    Starts such as PiSSA take something out of the base, and switching them off would not give it back.
    """
    for name, weight in _learning(model):
        if name.endswith(".bias") or (("lora_B" in name or "lora_embedding_B" in name) and bool(weight.detach().any())):
            return False
    return True


def unwrapped(model: Any) -> Any:
    """The model itself, out of the wrappers of several processes."""
    from accelerate.utils import extract_model_from_parallel

    return extract_model_from_parallel(model)


def _learning(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
