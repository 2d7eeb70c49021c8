"""What a run holds beside the model that learns: the reference that is named, what judges, what answers are written in.

Nothing is loaded: sizes come from the headers of weight files, each in the precision it is loaded in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.errors import StudioError, counted
from studio.estimate import Load, frozen_bytes, pass_bytes, shape_of, writing_bytes
from studio.material import Material
from studio.model.hardware import Hardware, Precision
from studio.model.load import read_config
from studio.model.quantise import in_full, rounding_for, rounding_in
from studio.model.weights import ADAPTER, tensors, tensors_in
from studio.recipe import Recipe
from studio.workspace import Workspace

# The share of a device that vLLM takes (`studio.loop.rollout_vllm`).
VLLM_SHARE = 0.4
# What trl's padded rows keep in a layer beyond rows laid end to end, by token and hidden size: keys and values for
# every query head among it. Measured with grpo on a 135M Llama.
PADDED = 14


def beside(
    recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, batch: tuple[int, int],
    place: Workspace,
) -> tuple[list[Load], list[str]]:  # fmt: skip
    """All of it for micro-batches of `batch` tokens and labels, and sentences on what is left out.

    A model that cannot be found or read is left out: the stage's own check says what is wrong with it.
    """
    loads: list[Load] = []
    told: list[str] = []
    for name, find in (("ref_model", _reference), ("reward_model", _reward)):
        if not recipe.flat().get(name):
            continue
        try:
            loads += find(recipe, material, precision, batch, place)
        except StudioError:
            told.append(f"memory: the estimate leaves out --{name} {recipe.flat()[name]}")
    if recipe.flat().get("reward_function"):
        told.append("memory: the estimate leaves out what --reward_function itself takes")
    return [*loads, *_writing(recipe, material, hardware, precision, batch)], told


def answers_together(recipe: Recipe) -> int:
    """How many answers are written at once where the model writes them itself."""
    return recipe.way.batch(recipe) * int(recipe.flat().get("num_generations") or 1)


def _reference(
    recipe: Recipe, _material: Material, precision: Precision, batch: tuple[int, int], place: Workspace
) -> list[Load]:
    """The model that --ref_model names, as `studio.loop.ref_model` loads it."""
    from studio.loop.ref_model import find

    own: Any = recipe.own
    folder, adapters = find(recipe, place)
    config = read_config(folder)
    width = 4 if precision == "fp32" else 2
    rounded = recipe.model.model_copy(update={"quantization_bit": own.ref_model_quantization_bit})
    whole = in_full(tensors(folder)) if rounding_in(config) else tensors(folder)
    weights = frozen_bytes(whole, width, rounding_for(rounded, config))
    # The last adapter stays beside its base, in float32; those before go into it.
    weights += 4 * _numbers(adapters[-1]) if adapters else 0
    passing = pass_bytes(config, *batch, width)
    return [Load(f"the reference {own.ref_model}", weights, "a pass of the reference", passing)]


def _reward(
    recipe: Recipe, material: Material, _precision: Precision, batch: tuple[int, int], place: Workspace
) -> list[Load]:
    """The reward model, as `studio.rewards.model` loads it; a function and a service take nothing here."""
    from studio.model.generate import dtype_of
    from studio.model.scorer import TOKENS
    from studio.rewards.choose import kind_of
    from studio.rewards.model import find_scorer

    own: Any = recipe.own
    if kind_of(own, place) not in ("full", "lora"):
        return []
    judge = find_scorer(recipe, material, place)
    root = judge.root or judge.folder
    config = read_config(root)
    width = dtype_of(config, root, "auto").itemsize
    # All answers of a step are scored one batch after the other.
    each = batch[0] / max(recipe.training.per_device_train_batch_size, 1)
    tokens = max(min(each * answers_together(recipe), TOKENS), each)
    passing = pass_bytes(config, round(tokens), 0, width)
    adapter = 4 * _numbers(judge.folder) if judge.root else 0
    if judge.shared and not recipe.method.pissa_init:
        return [Load("the adapter of the reward model, on the base that learns,", adapter, "scoring", passing)]
    held = sum(t.nbytes for t in tensors(root).values()) if rounding_in(config) else width * _count(tensors(root))
    return [Load(f"the reward model {own.reward_model}", held + adapter, "scoring", passing)]


def _writing(
    recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, batch: tuple[int, int]
) -> list[Load]:
    """Logits at the temperature of the answers, the value head of ppo, and what the model writes its answers in."""
    if recipe.way.wants != "prompts":
        return []
    values: Mapping[str, Any] = recipe.flat()
    # In float32, beside the logits that every stage has.
    scaled = 8 * batch[1] * shape_of(material.config)[3]
    loads = [Load("the logits divided by the temperature and their gradient", scaled)]
    width = 4 if precision == "fp32" or recipe.method.finetuning_type == "full" else 2
    if values.get("num_generations"):
        hidden, layers, *_ = shape_of(material.config)
        loads.append(Load("rows padded side by side", PADDED * hidden * layers * batch[0] * width))
    if recipe.stage == "ppo":
        hidden = shape_of(material.config)[0]
        # Weight, gradient and two numbers of the optimizer for each; the states it reads, and their gradients.
        loads.append(Load("the value head and the states it reads", 16 * (hidden + 1) + 8 * batch[1] * hidden))
    if values.get("ppo_engine") == "vllm":
        return [*loads, Load("vLLM, which writes the answers,", VLLM_SHARE * hardware.memory_total_bytes)]
    together, written = answers_together(recipe), int(values["max_new_tokens"])
    longest = int(max(material.rows.lengths, default=0))
    cut = values["top_p"] < 1 or bool(values["top_k"])
    takes = writing_bytes(material.config, together, longest, written, width, cut=cut)
    return [*loads, Load("", 0, f"writing {counted(together, 'answer')} together", takes)]


def _numbers(adapter: Path) -> int:
    return _count(tensors_in(adapter / ADAPTER))


def _count(weights: Mapping[str, Any]) -> int:
    return sum(tensor.count for tensor in weights.values())
