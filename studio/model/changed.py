"""What a run changed in its base before it learned: longer positions, a larger vocabulary.

A model that is saved whole has them in its config.json. Beside an adapter they stand in a file of their own, so that
whoever puts it on its base again changes that base in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.method import MethodArguments
from studio.errors import ModelError
from studio.model.weights import Tensor
from studio.workspace import write_json

if TYPE_CHECKING:
    import torch

FILE = "base_changes.json"
KEYS = ("rope_parameters", "max_position_embeddings", "vocab_size")
# More is no model's, but a damaged file's.
MOST = {"max_position_embeddings": 2**31, "vocab_size": 2**24}
# Of a number in rope_parameters; one that is not finite is not below it either.
_LARGEST = 1e30
ROPES = ("linear", "dynamic", "yarn", "llama3")
OUTPUTS = ("lm_head.weight", "embed_out.weight")
INPUTS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
# Rows of an embedding come in multiples of this, which matrix kernels like.
MULTIPLE = 64
# New rows differ from the mean of the old ones by this share of their spread, so that no two are the same.
NOISE = 0.02


def changes_of(adapters: Iterable[Path]) -> dict[str, Any]:
    """What the base of these adapters became, as config.json names it; {} when it stayed as it is.

    Raises ModelError for a file that is damaged.
    """
    found: dict[str, Any] = {}
    for folder in adapters:
        path = folder / FILE
        if not path.is_file():
            continue
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            held = None
        if not isinstance(held, dict) or not held or not all(_holds(name, held[name]) for name in held):
            raise ModelError(
                f"{path} must say what became of the adapter's base, with {', '.join(KEYS)}; it is damaged."
            )
        found |= held
    return found


def _holds(name: str, value: Any) -> bool:
    """Whether a change is one that a run writes."""
    if name in MOST:
        return type(value) is int and 1 <= value <= MOST[name]
    if name != "rope_parameters" or not isinstance(value, dict) or value.get("rope_type") not in ROPES:
        return False
    rest = [part for each in value if each != "rope_type" for part in _parts(value[each])]
    return all(part is None or (isinstance(part, int | float) and abs(part) < _LARGEST) for part in rest)


def _parts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def write_changes(folder: Path, changes: Mapping[str, Any]) -> None:
    """Put the changes beside an adapter."""
    write_json(folder / FILE, dict(changes))


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with the changes in it."""
    result = {**config, **changes}
    if "rope_parameters" in changes:
        # The older name of the same, which would win.
        result.pop("rope_scaling", None)
    return result


def vocabulary_for(tokens: int) -> int:
    """How many embeddings a model gets for a tokenizer of so many tokens."""
    return -(-tokens // MULTIPLE) * MULTIPLE


def resize(model: Any, rows: int) -> None:
    """Give a model embeddings, and a head, of so many rows; new ones are the mean of the old ones with some noise.

    A head that shares the embeddings goes on sharing them. Raises ModelError for fewer rows than there are.
    """
    import torch

    before = model.get_input_embeddings().weight.shape[0]
    if rows < before:
        raise ModelError(f"a vocabulary only grows: the model has {before:,} embeddings, and {rows:,} are asked for.")
    model.resize_token_embeddings(rows, mean_resizing=False)
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {id(end.weight): end.weight for end in ends if end is not None}
    with torch.no_grad():
        for weight_VE in weights.values():
            weight_VE[before:] = _around_the_mean(weight_VE[:before], rows - before).to(weight_VE)
    bias = getattr(ends[1], "bias", None)
    if bias is not None:
        bias.data[before:] = bias.data[:before].mean()


def _around_the_mean(old_VE: torch.Tensor, count: int) -> torch.Tensor:
    import torch

    whole_VE = old_VE.float()
    noise_NE = torch.randn(count, old_VE.shape[1]).to(whole_VE)
    return whole_VE.mean(0) + NOISE * whole_VE.std(0) * noise_NE


def with_new_rows(method: MethodArguments, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> MethodArguments:
    """The method with the embeddings, and a head of its own, among what learns whole: new rows must learn."""
    ends = INPUTS if config.get("tie_word_embeddings") else INPUTS + OUTPUTS
    names = [name.removesuffix(".weight").rpartition(".")[2] for name in weights if name.endswith(ends)]
    if method.finetuning_type == "full":
        return method
    field = "additional_target" if method.finetuning_type == "lora" else "freeze_extra_modules"
    asked = getattr(method, field)
    return method.model_copy(update={field: (*asked, *(name for name in names if name not in asked))})
