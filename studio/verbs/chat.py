"""studio chat: ask a model one question, or talk with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from studio.arguments.chat import ChatArguments
from studio.arguments.check import arguments_in
from studio.arguments.generation import GenerationArguments
from studio.arguments.model import ModelArguments
from studio.arguments.serve import EngineArguments
from studio.arguments.template import TemplateArguments
from studio.command import help_text, read_set
from studio.errors import ArgumentError
from studio.model.classifier import must_write
from studio.recipe import ArgumentSet, groups_of
from studio.verbs.export import find_parts
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.model.answer import Engine
    from studio.serve.terminal import Chat

HEAD = """usage: studio chat [FILE.yaml] --model_name_or_path DIR [--prompt "…"]

  studio chat --model_name_or_path saves/X/lora/first
  studio chat --model_name_or_path saves/X/lora/first --prompt "Who are you?"

A model folder, a full run, or the folder of a LoRA run, which knows its base. Without --prompt a
conversation begins, in the terminal or line by line from a pipe; /help tells its commands."""


class ChatSet(ArgumentSet):
    """The arguments of the verb."""

    model: ModelArguments
    template: TemplateArguments
    chat: ChatArguments
    generation: GenerationArguments
    engine: EngineArguments


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        print(help_text("chat", arguments_in(groups_of(ChatSet)).values()))
        return 0
    place = Workspace.find(workspace)
    asked, notes = read_set(ChatSet, words, place.root)
    if not asked.model.model_name_or_path:
        raise ArgumentError(["studio chat needs --model_name_or_path; see --help."])
    if sys.stdin is None and not asked.chat.prompt:
        raise ArgumentError(["studio chat has no standard input to read questions from. Ask one with --prompt."])
    for note in notes:
        sys.stderr.write(note + "\n")
    from studio.serve.opening import without_collections

    with without_collections():
        chat, engine = _begin(asked, place)
    try:
        if asked.chat.prompt:
            chat.ask(asked.chat.prompt)
            return 0
        from studio.serve.terminal import Lines

        return 0 if chat.run(Lines("> ")) else 10
    finally:
        engine.stop()


def _begin(asked: ChatSet, place: Workspace) -> tuple[Chat, Engine]:
    from studio.serve.opening import open_engine, open_prompter, parts_of
    from studio.serve.showing import on_terminal
    from studio.serve.terminal import Chat
    from studio.serve.transcript import Settings, Transcript

    screen = on_terminal()
    model = asked.model
    parts = parts_of(*find_parts(model, place), model, place, "chat")
    must_write(parts.adapter or parts.base, "studio chat")
    prompter = open_prompter(parts, asked.template, place, _warning(screen.note), trust=model.trust_remote_code)
    shows_tools = prompter.template is not None and prompter.template.shows_tools
    special = prompter.tokenizer.end_strings
    transcript = Transcript(place, system=asked.chat.system, shows_tools=shows_tools, special=special)
    transcript.load_tools(asked.chat.tools)
    # One may wait, for the moment in which a stopped answer still leaves.
    engine = open_engine(parts, prompter, model, asked.engine, waiting=1, place=place, say=screen.note)
    if sys.stdin.isatty() and not asked.chat.prompt:
        screen.note(f"{prompter.tokenizer.name} listens. /help tells the commands, Ctrl-D ends.")
    return Chat(engine, transcript, Settings(asked.generation), screen), engine


def _warning(say: Callable[[str], None]) -> Callable[[str], None]:
    """Say warnings only: which template is used is no news in a conversation."""
    return lambda sentence: say(sentence) if sentence.startswith("warning") else None
