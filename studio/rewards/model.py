"""A reward from a reward model: one of its own, or an adapter on the base that learns, which is held once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from studio.arguments.rewards import RewardArguments
from studio.errors import ModelError, RewardError, StudioError
from studio.material import Material
from studio.model.adapter import CONFIG, learned_aside, must_take, open_adapter
from studio.model.changed import changes_of
from studio.model.code import check_code
from studio.model.tokenizer import open_tokenizer
from studio.recipe import Recipe
from studio.rewards.base import Sample, numbers
from studio.rewards.choose import find_reward_model, kind_of
from studio.rules.methods import goes_on
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.model.scorer import Scorer


@dataclass(frozen=True)
class Judge:
    """Where a reward model lies: its folder, the base where it is an adapter, and whether that base is shared."""

    folder: Path
    root: Path | None
    shared: bool


class ModelReward:
    """Scores a conversation with the answer in it.

    Where the reward model reads as the model that learns does, with the same tokenizer and template, it gets the very
    ids that were written; else the conversation is rendered as it was trained to read it.
    """

    def __init__(self, scorer: Scorer, material: Material, name: str) -> None:
        self.scorer, self.name = scorer, name
        theirs, ours = scorer.template, material.template
        self._same = scorer.tokenizer.fingerprint == material.tokenizer.fingerprint and (
            theirs is not None and ours is not None and theirs.jinja == ours.jinja
        )
        self._stops = {*material.tokenizer.stop_ids, *_closing(material)}

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One score for each sample. Raises StudioError for one that is too long or cannot be rendered."""
        try:
            scores = self.scorer.score([self._ids(sample) for sample in samples])
        except StudioError as error:
            raise RewardError(f"--reward_model: {error}") from error
        return numbers(scores, len(samples), "--reward_model")

    def _ids(self, sample: Sample) -> list[int]:
        if not self._same or not len(sample.prompt_ids):
            messages: Any = [*sample.messages, {"role": "assistant", "content": sample.answer}]
            return self.scorer.ids(messages, list(sample.row.get("tools") or []) or None)
        ids = [*sample.prompt_ids, *sample.answer_ids]
        ended = bool(len(sample.answer_ids)) and sample.answer_ids[-1] in self._stops
        return [*ids, *self.scorer.tail] if ended else ids


def _closing(material: Material) -> list[int]:
    """The first id of what ends an answer in the template of the model that learns."""
    if material.template is None:
        return []
    end = material.template.end(material.tokenizer.special)
    return list(material.tokenizer.fast.encode(end, add_special_tokens=False).ids[:1])


def find_scorer(recipe: Recipe, material: Material, place: Workspace) -> Judge:
    """The reward model that a recipe names, looked at but not loaded. Raises RewardError, ModelError."""
    from studio.model.scorer import must_score

    own = cast(RewardArguments, recipe.own)
    if len(own.reward_model_adapters) > 1:
        raise RewardError("--reward_model_adapters: must name one adapter; several were given. Merge the earlier ones "
                          "into the base with studio export.")  # fmt: skip
    named = find_reward_model(own.reward_model, place)
    kind, adapter = kind_of(own, place), (named / CONFIG).is_file()
    if own.reward_model_adapters:
        if adapter:
            raise RewardError(f"--reward_model {own.reward_model}: must be a whole model where --reward_model_adapters "
                              "names its adapter. Leave one of them out.")  # fmt: skip
        judge = Judge(find_reward_model(own.reward_model_adapters[0], place), named, False)
    elif kind == "full":
        if adapter:
            raise RewardError(f"--reward_model_type full: {own.reward_model} is an adapter. Use lora, or name its base "
                              "and the adapter with --reward_model_adapters.")  # fmt: skip
        judge = Judge(named, None, False)
    else:
        if not adapter:
            raise RewardError(f"--reward_model_type lora: {own.reward_model} is a whole model, no adapter. Use full.")
        judge = _on_its_base(recipe, material, place, named)
    for folder in filter(None, (judge.folder, judge.root)):
        check_code(folder, trust=recipe.model.trust_remote_code)
    must_score(judge.folder)
    open_tokenizer(judge.folder if any(judge.folder.glob("tokenizer*")) else judge.root or judge.folder, place.cache)
    return judge


def _on_its_base(recipe: Recipe, material: Material, place: Workspace, adapter: Path) -> Judge:
    """A reward adapter: on the base that learns where that stays as it is, else on a base of its own."""
    opened = open_adapter(adapter)
    base = str(opened.config.get("base_model_name_or_path") or "")
    root = find_reward_model(base, place) if base else material.folder
    same = root.resolve() == material.folder.resolve()
    # What learns must not be what judges: only an adapter leaves the base alone, where no other was merged into it.
    merged = len(material.adapters) - goes_on(recipe)
    alone = recipe.method.finetuning_type == "lora" and not merged
    # Stretched positions or a larger vocabulary, of the run or of the reward: each has a base that the other has not.
    as_found = not material.changes and not changes_of([adapter]) and not opened.detour
    # peft lays a second adapter only on layers: not on rows of tokens, nor a copy of a module that is tied to another.
    rows = bool(recipe.method.trainable_token_indices) or (
        goes_on(recipe) and bool(open_adapter(material.adapters[-1]).config.get("trainable_token_indices"))
    )
    return Judge(adapter, root, same and alone and as_found and not rows and not learned_aside(opened))


def model_reward(recipe: Recipe, material: Material, place: Workspace, *, base: Any) -> ModelReward:
    """The reward model, loaded, or laid on `base`. Raises RewardError, ModelError."""
    from studio.model.scorer import open_scorer, scorer_on

    judge = find_scorer(recipe, material, place)
    name = f"reward model {place.shown(judge.folder)}"
    if judge.shared and judge.root is not None and _takes(base, judge.folder):
        scorer = scorer_on(base, judge.folder, judge.root, cache=place.cache)
        return ModelReward(scorer, material, f"{name}, on the base that learns")
    return ModelReward(open_scorer(judge.folder, cache=place.cache, base=judge.root), material, name)


def _takes(base: Any, adapter: Path) -> bool:
    """Whether a loaded model takes this second adapter, and its base gives what it did for the reward."""
    from peft import PeftModel

    from studio.model.pissa import is_started

    with contextlib.suppress(ModelError):
        must_take(base, open_adapter(adapter))
        return isinstance(base, PeftModel) and not is_started(base)
    return False
