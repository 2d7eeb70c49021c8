"""From a loaded model to the model that learns: which weights get gradients, and adapters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.method import MethodArguments
from studio.errors import ModelError, counted
from studio.model.adapter import lay_on
from studio.model.classifier import HEAD, is_reward_model
from studio.model.token_rows import ids_of
from studio.model.weights import Tensor
from studio.registry import did_you_mean

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LAYER = re.compile(r"\.(\d+)\.")
# Embeddings and heads get no adapter, and peft finds no layers in experts, which are one tensor for all.
# For the same reasons bitsandbytes leaves them as they are.
NOT_LINEAR = re.compile(r"\.([^.]*embed[^.]*|wte|wpe|lm_head|shared|experts)\.")


def adapt(model: PreTrainedModel, method: MethodArguments, adapters: Sequence[Path], *, head: str = "tokens") -> Any:
    """The model that learns: `full`, `freeze`, or a PeftModel with one LoRA adapter.

    With `head` "score" the head learns in any case, and is saved with an adapter.

    Weights that learn are kept in float32, so that small updates are not lost in rounding; those that do
    not stay as they were loaded, rounded or in the precision of the run. Where DeepSpeed divides the weights
    all have one precision, and its optimizer keeps those that learn in float32 besides.
    Raises ModelError when a named module does not exist.
    """
    if method.finetuning_type == "lora":
        learner = _lora(model, method, adapters, head)
    else:
        learner = model
        if method.finetuning_type == "freeze":
            _freeze(model, method)
            if head == "score":
                getattr(model, HEAD).requires_grad_(True)
    divided = next((weight.dtype for weight in model.parameters() if hasattr(weight, "ds_id")), None)
    for weight in learner.parameters():
        if weight.requires_grad and not hasattr(weight, "ds_id"):
            weight.data = weight.data.to(divided) if divided else weight.data.float()
    return learner


def _lora(model: PreTrainedModel, method: MethodArguments, adapters: Sequence[Path], head: str) -> Any:
    from peft import LoraConfig, get_peft_model

    goes_on = bool(adapters) and not method.create_new_adapter
    for folder in adapters[:-1] if goes_on else adapters:
        model = _with_adapter(model, folder, head).merge_and_unload()
    if goes_on:
        return _with_adapter(model, adapters[-1], head, is_trainable=True)
    names = [name for name, _ in model.named_modules()]
    check_modules("additional_target", method.additional_target, names)
    check_modules("exclude_modules", method.exclude_modules, names)
    tokens = ids_of(method.trainable_token_indices)
    config = LoraConfig(
        task_type="SEQ_CLS" if head == "score" else "CAUSAL_LM",
        r=method.lora_rank,
        lora_alpha=method.lora_alpha or 2 * method.lora_rank,
        lora_dropout=method.lora_dropout,
        target_modules=linear_targets(model, method.lora_target),
        exclude_modules=list(method.exclude_modules) or None,
        modules_to_save=list(method.additional_target) or None,
        trainable_token_indices=dict.fromkeys(_ends(model), tokens) if tokens else None,
        use_rslora=method.use_rslora,
        use_dora=method.use_dora,
        lora_bias=method.lora_bias,
        # A tied embedding that is trained whole must stay one weight with the head.
        ensure_weight_tying=bool(method.additional_target) and _is_tied(model),
    )
    try:
        learner = get_peft_model(model, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"--finetuning_type lora: peft must be able to adapt the chosen layers; it refuses: {reason} "
            "Name others with --lora_target, or use --finetuning_type full."
        ) from error
    if method.pissa_init:
        from studio.model.pissa import begin

        begin(learner, method.pissa_iter)
    return learner


def _with_adapter(model: PreTrainedModel, folder: Path, head: str, *, is_trainable: bool = False) -> Any:
    """The model with a saved adapter on it, which a reward model may begin with. Raises ModelError for a misfit."""
    more: dict[str, Any] = {}
    if head == "score":
        from studio.model.scorehead import continued, merging_config

        if is_trainable and not is_reward_model(folder):
            return continued(model, folder)
        more["config"] = merging_config(folder)
    return lay_on(model, folder, is_trainable=is_trainable, **more)


def told(learner: torch.nn.Module) -> str:
    """How many weights learn, where, and which experts an adapter cannot reach, as a sentence."""
    text = f"{trainable_weights(learner):,} weights learn"
    config = getattr(learner, "peft_config", None)
    if not config:
        return text
    targets = sorted({str(name).rpartition(".")[2] for name in config["default"].target_modules})
    text += f", in adapters on {', '.join(targets)}"
    rows = config["default"].trainable_token_indices
    if rows:
        ends = rows if isinstance(rows, dict) else {"the embeddings": rows}
        count = len(next(iter(ends.values())))
        text += f", and {counted(count, 'row')} of {' and '.join(name.rpartition('.')[2] for name in ends)}"
    # Experts are one tensor for all of them, not layers, and peft puts its adapters on layers.
    left = {
        name.rpartition(".")[2]
        for name, weight in learner.named_parameters()
        if len(whole_shape(weight)) == 3 and ".experts." in name and not weight.requires_grad
    }
    return text + (f"; warning: the experts ({', '.join(sorted(left))}) stay as they are" if left else "")


def _is_tied(model: PreTrainedModel) -> bool:
    return bool(getattr(model.config, "tie_word_embeddings", False))


def _ends(model: PreTrainedModel) -> list[str]:
    """The names of the embeddings and of a head with weights of its own. Raises ModelError for a head with a bias."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise ModelError(
            "--trainable_token_indices: the head of this model adds a bias, which peft leaves out where rows of it "
            "learn. Train both ends whole with --additional_target."
        )
    ends = [embeddings] if head is None or head.weight is embeddings.weight else [embeddings, head]
    return [name for name, module in model.named_modules() if any(module is end for end in ends)]


def linear_targets(model: PreTrainedModel, asked: Iterable[str]) -> list[str]:
    """Last names of the modules that get an adapter; `all` is every linear layer but the head."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head and name != HEAD
    }
    if tuple(asked) == ("all",):
        return sorted(linear)
    check_modules("lora_target", asked, [name for name, _ in model.named_modules()])
    return list(asked)


def check_modules(flag: str, asked: Iterable[str], modules: Iterable[str]) -> None:
    """Raise ModelError unless every asked name ends the name of a module."""
    known = list(modules)
    last = sorted({name.rpartition(".")[2] for name in known} - {""})
    last = [name for name in last if not name.isdigit()]
    for name in asked:
        if not any(module == name or module.endswith(f".{name}") for module in known):
            raise ModelError(
                f"--{flag} {name}: must be a module of this model, which has {', '.join(last)}."
                + did_you_mean(name, last)
            )


def linear_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of linear layers but the head, from the headers of a model folder."""
    return {
        name: tensor
        for name, tensor in weights.items()
        if name.endswith(".weight") and len(tensor.shape) == 2 and not NOT_LINEAR.search(f".{name}")
    }


def _freeze(model: PreTrainedModel, method: MethodArguments) -> None:
    named = dict(model.named_parameters())
    layers = layer_count(named)
    chosen = trained_layers(layers, method.freeze_trainable_layers)
    parts = method.freeze_trainable_modules
    check_modules("freeze_extra_modules", method.freeze_extra_modules, [n for n, _ in model.named_modules()])
    if parts != ("all",):
        check_modules("freeze_trainable_modules", parts, [name for name, _ in model.named_modules()])
    for name, weight in named.items():
        weight.requires_grad = learns(name, chosen, parts, method.freeze_extra_modules)


def learns(name: str, layers: set[int], parts: Sequence[str], extra: Sequence[str]) -> bool:
    """Whether a weight learns under `freeze`, from its name."""
    pieces = name.split(".")
    if match := LAYER.search(name):
        return int(match[1]) in layers and (tuple(parts) == ("all",) or bool(set(parts) & set(pieces)))
    return bool(set(extra) & set(pieces))


def layer_count(names: Iterable[str]) -> int:
    """Number of layers, from the numbers in the weights' names."""
    numbers = [int(match[1]) for name in names if (match := LAYER.search(name))]
    if not numbers:
        raise ModelError("--finetuning_type freeze: this model has no numbered layers. Use lora or full.")
    return max(numbers) + 1


def trained_layers(count: int, asked: int) -> set[int]:
    """Numbers of the layers that learn: the last `asked` ones, or the first when it is negative."""
    if not 0 < abs(asked) <= count:
        raise ModelError(
            f"--freeze_trainable_layers {asked}: must be between 1 and {count} (or -1 and -{count}), "
            f"for this model has {count} layers."
        )
    return set(range(count - asked, count)) if asked > 0 else set(range(-asked))


def trainable_weights(model: torch.nn.Module) -> int:
    """Number of weights that learn."""
    return sum(math.prod(whole_shape(weight)) for weight in model.parameters() if weight.requires_grad)


def whole_shape(weight: torch.Tensor) -> tuple[int, ...]:
    """The shape of a weight, of which DeepSpeed may hold only a part here."""
    return tuple(getattr(weight, "ds_shape", weight.shape))
