"""From arguments to an engine that answers: template, weights, and the start kept short."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from studio.arguments.model import ModelArguments
from studio.arguments.serve import EngineArguments
from studio.arguments.template import TemplateArguments
from studio.errors import ArgumentError
from studio.material import check_sizes, find_tokenizer
from studio.model.adapter import open_adapter
from studio.model.answer import Engine
from studio.model.changed import changed, changes_of
from studio.model.code import check_code
from studio.model.load import read_config
from studio.model.prompting import Prompter, context_of
from studio.workspace import Workspace


@dataclass(frozen=True)
class Parts:
    """The folders of a model: the base, the one adapter on it, if any, and where its tokenizer and template lie."""

    base: Path
    adapter: Path | None
    tokenizer: Path


def parts_of(base: Path, adapters: list[Path], asked: ModelArguments, place: Workspace, verb: str) -> Parts:
    """The parts of a model that answers. Raises ArgumentError for several adapters.

    The tokenizer is the one that was asked for, else that of the adapter, which was trained with it.
    """
    if len(adapters) > 1:
        raise ArgumentError([f"studio {verb} takes one adapter; merge several with studio export first."])
    home = next((folder for folder in adapters if (folder / "tokenizer_config.json").is_file()), base)
    if asked.tokenizer_name_or_path:
        home = find_tokenizer(asked.tokenizer_name_or_path, place)
    check_code(home, trust=asked.trust_remote_code)
    return Parts(base, adapters[0] if adapters else None, home)


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Start a program without Python's garbage collector, which would walk what is imported again and again.

    What is there at the end is taken out of its rounds for good.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def open_prompter(
    parts: Parts, asked: TemplateArguments, place: Workspace, say: Callable[[str], None], *, trust: bool = False
) -> Prompter:
    """Tokenizer and template of a model; `say` gets what should be told about them. Loads no torch."""
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(parts.tokenizer, place.cache, trust=trust)
    config = changed(read_config(parts.base), changes_of([parts.adapter] if parts.adapter else []))
    check_sizes(tokenizer, config, parts.base)
    template, told = choose_template(
        asked.template,
        tokenizer,
        place,
        enable_thinking=asked.enable_thinking,
        default_system=asked.default_system,
    )
    for sentence in told:
        say(sentence)
    return Prompter(tokenizer, template, context_of(config))


def open_engine(
    parts: Parts,
    prompter: Prompter,
    model: ModelArguments,
    asked: EngineArguments,
    *,
    waiting: int,
    place: Workspace,
    say: Callable[[str], None],
) -> Engine:
    """Load the weights and start the engine that was asked for. Raises StudioError."""
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    if asked.infer_backend == "vllm":
        from studio.serve.vllm import VllmEngine

        if parts.adapter is not None and changes_of([parts.adapter]):
            raise ArgumentError(
                [f"--infer_backend vllm: {place.shown(parts.adapter)} learned on a base with other positions or "
                 "vocabulary, which vllm does not give a base. Merge it with studio export, and name the export."]
            )  # fmt: skip
        if parts.adapter is not None and open_adapter(parts.adapter).config.get("trainable_token_indices"):
            raise ArgumentError(
                [f"--infer_backend vllm: {place.shown(parts.adapter)} holds rows of the embeddings of its own, which "
                 "vllm does not read. Merge it with studio export, and name the export."]
            )  # fmt: skip
        return VllmEngine(parts.base, parts.adapter, prompter, asked, waiting=waiting, trust=model.trust_remote_code)
    from studio.model.engine import BatchEngine
    from studio.model.generate import open_speaker

    speaker = open_speaker(
        parts.adapter or parts.base,
        cache=place.cache,
        base=parts.base,
        template=prompter.template,
        tokenizer=prompter.tokenizer,
        asked=model,
        dtype=asked.infer_dtype,
    )
    return BatchEngine(speaker, rows=asked.max_concurrent, waiting=waiting, say=say)
