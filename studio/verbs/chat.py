"""studio chat: ask a model one question and print its answer."""

from __future__ import annotations

import os
import sys

from studio.arguments.chat import ChatArguments
from studio.arguments.check import arguments_in
from studio.arguments.generation import GenerationArguments
from studio.arguments.model import ModelArguments
from studio.arguments.template import TemplateArguments
from studio.command import help_text, read_set
from studio.errors import ArgumentError
from studio.recipe import ArgumentSet, groups_of
from studio.verbs.export import find_parts
from studio.workspace import Workspace

HEAD = """usage: studio chat --model_name_or_path DIR --prompt "…"

  studio chat --model_name_or_path saves/X/lora/first --prompt "Who are you?"

A model folder, a full run, or the folder of a LoRA run, which knows its base."""


class ChatSet(ArgumentSet):
    """The arguments of the verb."""

    model: ModelArguments
    template: TemplateArguments
    chat: ChatArguments
    generation: GenerationArguments


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        print(help_text("chat", arguments_in(groups_of(ChatSet)).values()))
        return 0
    place = Workspace.find(workspace)
    asked, notes = read_set(ChatSet, words, place.root)
    if not asked.model.model_name_or_path or not asked.chat.prompt:
        raise ArgumentError(["studio chat needs --model_name_or_path and --prompt; see --help."])
    base, adapters = find_parts(asked.model, place)
    if len(adapters) > 1:
        raise ArgumentError(["studio chat takes one adapter; merge several with studio export first."])
    for note in notes:
        sys.stderr.write(note + "\n")
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    from studio.model.generate import answer
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    folder = adapters[0] if adapters else base
    home = folder if (folder / "tokenizer_config.json").is_file() else base
    template, _ = choose_template(asked.template.template, open_tokenizer(home, place.cache), place)
    system = [{"role": "system", "content": asked.chat.system}] if asked.chat.system else []
    conversation = [*system, {"role": "user", "content": asked.chat.prompt}]
    print(answer(folder, [conversation], asked.generation, cache=place.cache, base=base, template=template)[0])
    return 0
