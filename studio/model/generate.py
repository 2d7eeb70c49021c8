"""A model that answers: a base, a full run, or an adapter on its base, with its tokenizer and template."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from studio.arguments.generation import GenerationArguments
from studio.arguments.model import ModelArguments
from studio.errors import ModelError
from studio.model.adapter import CONFIG, lay_on, open_adapter
from studio.model.answer import Conversation
from studio.model.changed import changes_of
from studio.model.fit import steps
from studio.model.hardware import detect
from studio.model.load import load_model, read_config
from studio.model.prompting import Prompter, context_of
from studio.model.quantise import is_rounded
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.model.weights import tensors

# Answers that are computed together when a list of conversations is answered.
BATCH = 8


@dataclass(frozen=True)
class Speaker:
    """A loaded model that answers, with the tokenizer its prompts are made with."""

    model: Any
    tokenizer: LightTokenizer
    template: Template | None

    @cached_property
    def prompter(self) -> Prompter:
        """What its prompts are made with."""
        config = self.model.config
        text = config.get_text_config(decoder=True)
        return Prompter(self.tokenizer, self.template, context_of(text.to_dict()))

    def answer(
        self,
        conversations: Sequence[Conversation],
        asked: GenerationArguments,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """One answer for each conversation, in order; `progress` gets answers done and in all.

        Raises ModelError for a prompt as long as the model's context.
        """
        from studio.model.engine import BatchEngine

        texts = []
        with BatchEngine(self, rows=BATCH, waiting=len(conversations)) as engine:
            answers = [engine.start(one, asked) for one in conversations]
            for done, each in enumerate(answers, 1):
                texts.append(each.text().strip())
                if progress is not None:
                    progress(done, len(answers))
        return texts


def open_speaker(
    folder: Path,
    *,
    cache: Path,
    base: Path | None = None,
    template: Template | None = None,
    tokenizer: LightTokenizer | None = None,
    asked: ModelArguments | None = None,
    dtype: str = "auto",
) -> Speaker:
    """Load a model folder, or an adapter folder on `base` (else the base its config names).

    Without `tokenizer` it is that of the folder, without `template` that of the tokenizer.
    Raises ModelError when weights, tokenizer or base are missing or do not fit each other.
    """
    adapter = (folder / CONFIG).is_file()
    root = (base or base_of(folder)) if adapter else folder
    tokenizer, template = words_of(folder, root, cache, tokenizer, template, asked)
    model = _model(root, folder if adapter else None, asked or ModelArguments(), dtype)
    return Speaker(model, tokenizer, template)


def answer(
    folder: Path,
    conversations: Sequence[Conversation],
    asked: GenerationArguments,
    *,
    cache: Path,
    base: Path | None = None,
    template: Template | None = None,
) -> list[str]:
    """Load, answer and let go: one answer for each conversation or plain prompt."""
    return open_speaker(folder, cache=cache, base=base, template=template).answer(conversations, asked)


def words_of(
    folder: Path, root: Path, cache: Path, tokenizer: LightTokenizer | None, template: Template | None,
    asked: ModelArguments | None,
) -> tuple[LightTokenizer, Template | None]:  # fmt: skip
    """Tokenizer and template: those given, else those of the folder, else the tokenizer of its base at `root`."""
    home = folder if any(folder.glob("tokenizer*")) else root
    tokenizer = tokenizer or open_tokenizer(home, cache, trust=asked is not None and asked.trust_remote_code)
    if template is None and tokenizer.chat_template:
        template = Template(tokenizer.name, tokenizer.chat_template, "the model's own", False)
    return tokenizer, template


def base_of(folder: Path) -> Path:
    """The folder of the base that an adapter's config names. Raises ModelError when it is not here."""
    config: Mapping[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    named = str(config.get("base_model_name_or_path") or "")
    path = Path(named)
    if not named or not (path / "config.json").is_file():
        raise ModelError(
            f"an adapter needs the model it was trained on; {folder / CONFIG} names {named!r}, which is no "
            "model folder here. Name it with model_name_or_path."
        )
    return path


def _model(root: Path, adapter: Path | None, asked: ModelArguments, dtype: str) -> Any:
    config = read_config(root)
    if adapter is not None:
        opened = open_adapter(adapter)
        if not opened.detour:
            # peft only warns of weights that find no place.
            steps(opened, tensors(root), str(config.get("model_type")))
    changes = changes_of([adapter] if adapter is not None else [])
    model: Any = load_model(root, asked, dtype_of(config, root, dtype), changes=changes)
    if adapter is not None:
        model = lay_on(model, adapter)
    if torch.cuda.is_available() and not is_rounded(model):
        model = model.to("cuda")
    return model.eval()


def dtype_of(config: Mapping[str, Any], root: Path, asked: str) -> torch.dtype:
    """The precision of the weights: what was asked, else that of the files where the device computes it fast."""
    named = str(config.get("dtype") or config.get("torch_dtype") or "") if asked == "auto" else asked
    if not named:
        stored = {tensor.dtype for tensor in tensors(root).values()}
        named = {"BF16": "bfloat16", "F16": "float16"}.get(next(iter(stored), ""), "float32")
    dtype = getattr(torch, named.removeprefix("torch."), torch.float32)
    if asked == "auto" and dtype in (torch.float16, torch.bfloat16):
        hardware = detect(use_cpu=False)
        if not hardware.fast_bf16 and hardware.device == "cpu":
            return torch.float32
        if dtype == torch.float16 and hardware.device == "cpu":
            return torch.bfloat16
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
