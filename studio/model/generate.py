"""Answers from a model folder, in batches: a base, a full run, or an adapter on its base."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from studio.arguments.generation import GenerationArguments
from studio.errors import ModelError
from studio.model.adapter import CONFIG, open_adapter
from studio.model.fit import steps
from studio.model.load import keep_upstream_quiet, read_config
from studio.model.templates import Message, Template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.model.weights import tensors

# Prompts of one batch; their lengths are near each other, so that little is padding.
BATCH = 8
# Tokens of context that an answer may always have, whatever the prompt.
LEAST_ROOM = 1


@dataclass(frozen=True)
class Speaker:
    """A loaded model that answers, with the tokenizer its prompts are made with."""

    model: Any
    tokenizer: LightTokenizer
    template: Template | None

    def prompt(self, conversation: Sequence[Message] | str) -> str:
        """The text that is answered: a plain text as it is, a conversation as the template renders it.

        Raises ModelError for a conversation without a template.
        """
        if isinstance(conversation, str):
            return conversation
        if self.template is None:
            raise ModelError(
                f"a conversation needs a chat template, and {self.tokenizer.name} has none. "
                "Set template to default or to a Jinja file."
            )
        return self.template.render(conversation, special=self.tokenizer.special, add_generation_prompt=True)

    def answer(
        self,
        conversations: Sequence[Sequence[Message] | str],
        asked: GenerationArguments,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """One answer for each conversation, in order; `progress` gets answers done and in all.

        Raises ModelError for a prompt as long as the model's context.
        """
        # A rendered template writes its own begin token; a plain text has it put before.
        ids = [self._ids(one) for one in conversations]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        answers = [""] * len(ids)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            for row, text in zip(rows, self._batch([ids[row] for row in rows], asked), strict=True):
                answers[row] = text
            if progress is not None:
                progress(min(start + BATCH, len(order)), len(order))
        return answers

    def _ids(self, conversation: Sequence[Message] | str) -> list[int]:
        plain = isinstance(conversation, str)
        ids = list(self.tokenizer.fast.encode(self.prompt(conversation), add_special_tokens=plain).ids)
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit and len(ids) + LEAST_ROOM > limit:
            raise ModelError(
                f"a prompt must be shorter than the model's context of {limit} tokens; one has {len(ids)}. Shorten it."
            )
        return ids or [self.tokenizer.eos_id]

    def _batch(self, rows: Sequence[list[int]], asked: GenerationArguments) -> list[str]:
        """Letters: B batch, T tokens of the longest prompt, N tokens with the answer."""
        longest, pad = max(map(len, rows)), self.tokenizer.pad_id
        padded = [[pad] * (longest - len(row)) + row for row in rows]
        # By length and not by id: the padding may be the token that ends a turn.
        shown = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        with torch.inference_mode():
            out_BN = self.model.generate(
                input_ids=torch.tensor(padded, device=device),
                attention_mask=torch.tensor(shown, device=device),
                generation_config=self._settings(asked),
            )
        stops = set(self.tokenizer.stop_ids)
        return [self._text(row, stops) for row in out_BN[:, longest:].tolist()]

    def _text(self, ids: list[int], stops: set[int]) -> str:
        end = next((at for at, id in enumerate(ids) if id in stops), len(ids))
        return str(self.tokenizer.fast.decode(ids[:end], skip_special_tokens=True)).strip()

    def _settings(self, asked: GenerationArguments) -> Any:
        from transformers import GenerationConfig

        settings: dict[str, Any] = {
            "do_sample": asked.do_sample,
            "repetition_penalty": asked.repetition_penalty,
            "max_new_tokens": asked.max_new_tokens,
            "eos_token_id": list(self.tokenizer.stop_ids),
            "pad_token_id": self.tokenizer.pad_id,
        }
        if asked.do_sample:
            # Without sampling these mean nothing, and transformers warns about them.
            settings |= {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
        make: Any = GenerationConfig
        return make(**settings)


def open_speaker(folder: Path, *, cache: Path, base: Path | None = None, template: Template | None = None) -> Speaker:
    """Load a model folder, or an adapter folder on `base` (else the base its config names).

    Without `template` the one of the tokenizer is used. Raises ModelError when weights, tokenizer
    or base are missing or do not fit each other.
    """
    adapter = (folder / CONFIG).is_file()
    root = (base or _base_of(folder)) if adapter else folder
    home = folder if any(folder.glob("tokenizer*")) else root
    tokenizer = open_tokenizer(home, cache)
    if template is None and tokenizer.chat_template:
        template = Template(tokenizer.name, tokenizer.chat_template, "the model's own", False)
    return Speaker(_model(root, folder if adapter else None), tokenizer, template)


def answer(
    folder: Path,
    conversations: Sequence[Sequence[Message] | str],
    asked: GenerationArguments,
    *,
    cache: Path,
    base: Path | None = None,
    template: Template | None = None,
) -> list[str]:
    """Load, answer and let go: one answer for each conversation or plain prompt."""
    return open_speaker(folder, cache=cache, base=base, template=template).answer(conversations, asked)


def _base_of(folder: Path) -> Path:
    config: Mapping[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    named = str(config.get("base_model_name_or_path") or "")
    path = Path(named)
    if not named or not (path / "config.json").is_file():
        raise ModelError(
            f"an adapter needs the model it was trained on; {folder / CONFIG} names {named!r}, which is no "
            "model folder here. Name it with model_name_or_path."
        )
    return path


def _model(root: Path, adapter: Path | None) -> Any:
    from transformers import AutoModelForCausalLM

    keep_upstream_quiet()
    stored = tensors(root)
    if adapter is not None:
        opened = open_adapter(adapter)
        if not opened.detour:
            # peft only warns of weights that find no place.
            steps(opened, stored, str(read_config(root).get("model_type")))
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(root), dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{root} must hold a causal language model; transformers says: {error}") from error
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    if torch.cuda.is_available():
        model = model.to("cuda")
    return model.eval()
