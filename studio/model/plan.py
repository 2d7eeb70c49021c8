"""The plan of an export: every tensor to be written, where it comes from and what is done to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from studio.errors import ModelError
from studio.model.adapter import Adapter
from studio.model.changed import INPUTS, OUTPUTS, changed, changes_of
from studio.model.classifier import HEAD, classifier_facts, is_classifier, padded
from studio.model.fit import steps
from studio.model.load import read_config
from studio.model.merge import LowRank, Replace, Rows, Step
from studio.model.outlay import TYPES
from studio.model.shards import Space, read
from studio.model.weights import Tensor, main_dtype, tensors


@dataclass(frozen=True)
class Planned:
    """One tensor to be written: the base's `source`, changed by `steps`, into `space`."""

    space: Space
    source: Tensor
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All tensors by name, the config to write beside them, and what the user should know."""

    tensors: dict[str, Planned]
    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights to be written."""
        return sum(one.space.nbytes for one in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The dtype most of the weights are written in, as torch names it."""
        return str(self.config["dtype"])


def plan(base: Path, adapters: Sequence[Adapter], dtype: str) -> Plan:
    """What to write for `base` with the adapters applied in order; reads headers only.

    `dtype` is auto (each tensor stays as the base stores it), float32, bfloat16 or float16.
    Raises ModelError when base and adapters do not fit, or the base is quantized.
    """
    stored, config = tensors(base), read_config(base)
    if config.get("quantization_config"):
        raise ModelError(
            f"only a base in full precision can be merged or cast; {base} is quantized. Name the model "
            "it was quantized from: merging into rounded weights loses what was learned."
        )
    changes: dict[str, list[Step]] = {}
    for adapter in adapters:
        for name, more in steps(adapter, stored, str(config.get("model_type"))).items():
            changes.setdefault(name, []).extend(more)
    config = changed(config, changes_of(adapter.folder for adapter in adapters))
    for adapter in adapters:
        config = padded(config, adapter.folder)
    return _plan(stored, config, changes, dtype)


def plan_merged(base: Path, merged: Path, dtype: str, adapters: Sequence[Adapter] = ()) -> Plan:
    """What to write when the folder `merged` holds the finished weights in float32, the base with the adapters.

    Raises ModelError when its tensors are not the base's.
    """
    stored, config = tensors(base), read_config(base)
    finished = tensors(merged)
    odd = sorted((set(finished) ^ set(stored) - set(OUTPUTS)) - {f"{HEAD}.weight"})
    if odd:
        raise ModelError(
            f"the merged model must have the tensors of its base {base}; these differ: {', '.join(odd[:3])}. "
            "Use the adapter unmerged."
        )
    changes: dict[str, list[Step]] = {}
    for name, tensor in finished.items():
        source = stored.get(name)
        if source is None or not _equal(read(source), read(tensor)):
            changes[name] = [Replace(tensor)]
    if any(name.endswith(INPUTS) for name in changes) and not {*OUTPUTS, f"{HEAD}.weight"} & set(finished):
        raise ModelError(
            f"the adapter changes the input embedding, which {base} shares with its output, and its kind "
            "cannot be merged into one of the two. Use the adapter unmerged."
        )
    for adapter in adapters:
        config = padded(config, adapter.folder)
    return _plan(stored, config, changes, dtype)


def _plan(stored: Mapping[str, Tensor], config: dict[str, Any], changes: dict[str, list[Step]], dtype: str) -> Plan:
    sources = dict(stored)
    if f"{HEAD}.weight" in {**sources, **changes}:
        note = _settle_head(config, sources, changes)
    else:
        note = _settle_output(config, sources, changes)
    planned = {
        name: Planned(_space(name, tensor, changes.get(name, []), dtype), tensor, tuple(changes.get(name, ())))
        for name, tensor in sources.items()
    }
    _settle_vocabulary(config, planned)
    config.pop("torch_dtype", None)
    config["dtype"] = _main_type(planned)
    return Plan(planned, config, [note] if note else [])


def _main_type(planned: Mapping[str, Planned]) -> str:
    code = main_dtype(
        Tensor(one.space.name, one.space.dtype, one.space.shape, one.source.file, one.space.nbytes, 0)
        for one in planned.values()
    )
    return next((name for name, known in TYPES.items() if known == code), "float32")


def _space(name: str, source: Tensor, changes: Sequence[Step], dtype: str) -> Space:
    code = source.dtype if dtype == "auto" or not source.is_float else TYPES[dtype]
    shape = next((step.value.shape for step in reversed(changes) if isinstance(step, Replace)), source.shape)
    grown = name.endswith((*INPUTS, *OUTPUTS)) and shape[1:] == source.shape[1:]
    if shape != source.shape and not grown:
        raise ModelError(
            f"the adapter holds {name} as {list(shape)}, but the base as {list(source.shape)}. "
            "Name the base it was trained on."
        )
    return Space(name, code, shape)


def _settle_vocabulary(config: dict[str, Any], planned: Mapping[str, Planned]) -> None:
    """A vocabulary that grew in training is told in the config, for both ends of the model."""
    ends = [one for name, one in planned.items() if name.endswith((*INPUTS, *OUTPUTS))]
    sizes = {one.space.shape[0] for one in ends}
    if all(one.space.shape == one.source.shape for one in ends):
        return
    if len(sizes) != 1:
        told = ", ".join(f"{one.space.name} {one.space.shape[0]}" for one in ends)
        raise ModelError(
            f"input and output must have the same vocabulary; after the merge they have {told}. "
            "Save the adapter with both (modules_to_save) after resizing the vocabulary."
        )
    config["vocab_size"] = sizes.pop()


def _settle_head(config: dict[str, Any], sources: dict[str, Tensor], changes: dict[str, list[Step]]) -> str:
    """Make the plan that of a classifier, as the head of a reward model asks; gives a note or ''."""
    name = f"{HEAD}.weight"
    if name not in sources:
        last = changes.pop(name)[-1]
        assert isinstance(last, Replace), "an adapter holds the head of a reward model whole"
        sources[name] = last.value
    left = [output for output in OUTPUTS if output in {**sources, **changes}]
    for output in left:
        sources.pop(output, None)
        changes.pop(output, None)
    if is_classifier(config):
        return ""
    config |= classifier_facts(config)
    return f"a reward model gives scores: {', '.join(left)} is left out" if left else ""


def _settle_output(config: dict[str, Any], sources: dict[str, Tensor], changes: dict[str, list[Step]]) -> str:
    """See to a model whose output layer shares the input embedding; gives a note or ''.

    The adapter was trained on one of the two. When they differ afterwards, the output layer gets
    weights of its own; merging into the shared ones would change what nobody trained.
    """
    head = next((name for name in OUTPUTS if name in sources or name in changes), OUTPUTS[0])
    inputs = [name for name in sources if name.endswith(INPUTS)]
    shared = head not in sources
    if shared and head in changes and len(inputs) != 1:
        raise ModelError(
            f"the adapter changes {head}, which the base does not hold, and its input embedding is not "
            f"plain to see ({inputs or 'none found'}). Name the base it was trained on."
        )
    if len(inputs) != 1 or not (shared or config.get("tie_word_embeddings")):
        return ""
    embedding = inputs[0]
    if head not in changes and (rows := [step for step in changes.get(embedding, ()) if isinstance(step, Rows)]):
        # Trained tokens stay shared by both.
        changes[head] = list(rows)
    if _same(changes.get(embedding, []), changes.get(head, [])):
        if shared:
            changes.pop(head, None)
        return ""
    sources.setdefault(head, sources[embedding])
    config["tie_word_embeddings"] = False
    return f"{head} and {embedding} were one in the base; the adapter changed them apart, so both are written"


def _same(one: Sequence[Step], other: Sequence[Step]) -> bool:
    """Whether two lists of steps do the same to the same weight."""
    return len(one) == len(other) and all(map(_same_step, one, other))


def _same_step(one: Step, other: Step) -> bool:
    if isinstance(one, Replace) and isinstance(other, Replace):
        return _equal(read(one.value), read(other.value))
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        if one.magnitude or other.magnitude or one.scale != other.scale:
            return False
        # An embedding's weight lies the other way round, so the halves change places.
        halves = (other.down, other.up) if one.transposed == other.transposed else (other.up, other.down)
        turned = [read(half) if one.transposed == other.transposed else read(half).T for half in halves]
        return _equal(read(one.down), turned[0]) and _equal(read(one.up), turned[1])
    return one == other


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one.float(), other.float()))
