"""A reward model that gives scores: a sequence classifier with one label, or an adapter that is one on its base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from studio.arguments.model import ModelArguments
from studio.errors import ModelError
from studio.model.adapter import CONFIG, lay_on, learned_aside, open_adapter
from studio.model.answer import TooLongError
from studio.model.changed import changes_of
from studio.model.classifier import HEAD
from studio.model.classifier import is_reward_model as is_reward_model
from studio.model.classifier import must_score as must_score
from studio.model.fit import steps
from studio.model.generate import base_of, dtype_of, words_of
from studio.model.load import load_model, read_config
from studio.model.messages import Message, without_thinking
from studio.model.prompting import context_of
from studio.model.quantise import is_rounded
from studio.model.scorehead import at_ends
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.model.weights import ADAPTER, tensors

# Tokens that are computed at a time, padding included.
TOKENS = 4096
# The name of a reward adapter on a base that has others.
REWARD = "reward"


@dataclass(frozen=True)
class Scorer:
    """A reward model in memory, with the tokenizer and the template it was trained with.

    `backbone` gives the last hidden states of ids, `head` (a float32 weight (1, E)) their score. `active` makes
    the reward's weights those of the backbone while it runs: on a base that another model uses too they are not.
    """

    backbone: torch.nn.Module
    head: torch.Tensor
    tokenizer: LightTokenizer
    template: Template | None
    context: int
    flat: bool
    active: Callable[[], AbstractContextManager[None]] = nullcontext

    def score(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """One score for each row of ids, read at its last token, in their order.

        Raises ModelError for an empty row, TooLongError for one that the model has no positions for.
        """
        for row in rows:
            if not len(row):
                raise ModelError("a row to score must hold a token; this one is empty.")
            if self.context and len(row) > self.context:
                raise TooLongError(len(row), self.context)
        scores = [0.0] * len(rows)
        with torch.no_grad(), self.active():
            for places in _batches([len(row) for row in rows], self.flat):
                found = self._batch([rows[place] for place in places])
                for place, value in zip(places, found.tolist(), strict=True):
                    scores[place] = value
        return scores

    def score_messages(
        self, conversations: Sequence[Sequence[Message]], tools: list[dict[str, Any]] | None = None
    ) -> list[float]:
        """One score for each conversation, as the template of the reward model shows it.

        Raises RowError when the template refuses one, and as `score`.
        """
        return self.score([self.ids(conversation, tools) for conversation in conversations])

    def ids(self, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None) -> list[int]:
        """The ids of a whole conversation, the same as a row of the stage rm has."""
        if self.template is None:
            raise ModelError(
                f"a conversation needs a chat template, and {self.tokenizer.name} has none. "
                "Set template to the one that the reward model was trained with."
            )
        if self.template.enable_thinking is False:
            messages = [without_thinking(message) for message in messages]
        text = self.template.render(messages, special=self.tokenizer.special, tools=tools)
        return list(self.tokenizer.fast.encode(text, add_special_tokens=False).ids)

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text that is rendered already."""
        return list(self.tokenizer.fast.encode(text, add_special_tokens=False).ids)

    @cached_property
    def tail(self) -> tuple[int, ...]:
        """The ids that the template puts behind the token which ends an answer, such as a line break.

        A prompt and an answer that ends with its end token become a whole conversation with them.
        """
        if self.template is None:
            return ()
        probe: list[Message] = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        found = self.ids(probe)
        stops = {*self.tokenizer.stop_ids, *self.text_ids(self.template.end(self.tokenizer.special))[:1]}
        last = max((place for place, id in enumerate(found) if id in stops), default=len(found))
        return tuple(found[last + 1 :])

    def _batch(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Scores (B,) of the rows that are computed together."""
        sizes = torch.tensor([len(row) for row in rows])
        inputs = end_to_end(rows) if self.flat else beside(rows)
        device = next(self.backbone.parameters()).device  # a shared one may have moved since
        hidden = self.backbone(**{name: value.to(device) for name, value in inputs.items()}, use_cache=False)[0]
        last_BE = at_ends(hidden, sizes.to(device), flat=self.flat)
        return (last_BE.float() @ self.head.to(device).T)[:, 0].cpu()


def _batches(lengths: Sequence[int], flat: bool) -> Iterator[list[int]]:
    """Places of rows to compute together, the longest first, each batch within TOKENS where a row is."""
    batch: list[int] = []
    used = 0
    for place in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        # Padded, each row is as long as the first.
        size = lengths[place] if flat or not batch else lengths[batch[0]]
        if batch and used + size > TOKENS:
            yield batch
            batch, used, size = [], 0, lengths[place]
        batch.append(place)
        used += size
    if batch:
        yield batch


def end_to_end(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Rows laid end to end, shape (1, T), with their boundaries."""
    sizes = torch.tensor([0, *map(len, rows)])
    return {
        "input_ids": torch.tensor([id for row in rows for id in row])[None],
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows])[None],
        "cu_seq_lens_q": sizes.cumsum(0).to(torch.int32),
    }


def beside(rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Rows filled up on the right, shape (B, T)."""
    width = max(map(len, rows))
    return {
        # What fills a row is masked and stands behind its score, so any id does.
        "input_ids": torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }


def open_scorer(
    folder: Path,
    *,
    cache: Path,
    base: Path | None = None,
    template: Template | None = None,
    tokenizer: LightTokenizer | None = None,
    asked: ModelArguments | None = None,
    dtype: str = "auto",
) -> Scorer:
    """Load the reward model of a folder: a whole one, or an adapter on `base` (else the base its config names).

    Without `tokenizer` it is that of the folder, without `template` that of the tokenizer.
    Raises ModelError when the folder holds no reward model, or its parts do not fit each other.
    """
    must_score(folder)
    adapter = (folder / CONFIG).is_file()
    root = (base or base_of(folder)) if adapter else folder
    tokenizer, template = words_of(folder, root, cache, tokenizer, template, asked)
    config = read_config(root)
    changes = changes_of([folder] if adapter else [])
    model: Any = load_model(
        root, asked or ModelArguments(), dtype_of(config, root, dtype), head="score", changes=changes
    )
    if adapter:
        _must_fit(folder, root)
        model = lay_on(model, folder).get_base_model()
    if torch.cuda.is_available() and not is_rounded(model):
        model = model.to("cuda")
    model.eval()
    head = getattr(model, HEAD)
    weight = head.modules_to_save["default"].weight if adapter else head.weight
    return Scorer(model.base_model, weight.detach().float(), tokenizer, template, _context(model), flat=False)


def scorer_on(
    model: Any,
    folder: Path,
    root: Path,
    *,
    cache: Path,
    template: Template | None = None,
    tokenizer: LightTokenizer | None = None,
) -> Scorer:
    """A reward adapter on the base of a PeftModel that is loaded already, so that the base is held once.

    `root` is the folder of that base, on which the reward adapter was trained too. While scores are computed
    the reward's weights take the place of the model's own; before and after all is as it was.
    Raises ModelError when `folder` holds no reward adapter, or it does not fit.
    """
    from peft import PeftConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    must_score(folder)
    opened = open_adapter(folder)
    _must_fit(folder, root)
    tokenizer, template = words_of(folder, root, cache, tokenizer, template, None)
    weights = load_file(str(folder / ADAPTER))
    named = f"base_model.model.{HEAD}.weight"
    if named not in weights:
        raise ModelError(f"{folder} must hold the head of a reward model, {named}; it does not. Train it anew.")
    aside = learned_aside(opened)
    if why := (
        opened.detour
        or (changes_of([folder]) and "it learned on a base that was changed")
        or (aside and f"it holds {', '.join(aside)} besides its layers")
    ):
        raise ModelError(f"{folder} cannot share a base: {why}. Use it as a whole model: studio export merges it.")
    config: Any = PeftConfig.from_pretrained(str(folder))
    config.task_type, config.inference_mode = next(iter(model.peft_config.values())).task_type, True
    config.modules_to_save = None  # the head, which lies beside the base
    with _kept(model):
        model.add_adapter(REWARD, config)
        head = weights.pop(named)
        set_peft_model_state_dict(model, weights, adapter_name=REWARD)
    inner = model.get_base_model()
    flat = inner.config._attn_implementation == "studio_documents"
    return Scorer(inner.base_model, head.float(), tokenizer, template, _context(inner), flat, lambda: _reward(model))


@contextmanager
def _kept(model: Any) -> Iterator[None]:
    """Within it adapters may be switched; afterwards the same one is active and the same weights learn."""
    name = model.active_adapter
    learns = [(weight, weight.requires_grad) for weight in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        model.set_adapter(name)
        for weight, before in learns:
            weight.requires_grad_(before)
        for module, before in modes:
            module.training = before


@contextmanager
def _reward(model: Any) -> Iterator[None]:
    with _kept(model):
        model.set_adapter(REWARD, inference_mode=True)
        model.eval()
        yield


def _must_fit(folder: Path, root: Path) -> None:
    """Refuse an adapter of another base; peft only warns of weights that find no place."""
    opened = open_adapter(folder)
    if not opened.detour:
        steps(opened, tensors(root), str(read_config(root).get("model_type")))


def _context(model: Any) -> int:
    return context_of(model.config.to_dict())
