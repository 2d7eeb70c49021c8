"""From a conversation to text, and which characters of it are learned.

What is learned must stand exactly as the model meets it at inference: behind the prompt that the
template writes for generation. Three ways lead there, the first that fits is taken:

1. The template marks what is generated: the marked characters.
2. Rendering up to an answer starts with its prompt, and the whole starts with both: the
   characters between.
3. The template shows an answer in history differently from the last turn (it drops thinking):
   each answer becomes a text of its own that ends with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.data.example import Example
from studio.errors import RowError
from studio.model.templates import Span, Template

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Draft:
    """A text to encode; `spans` are the [start, end) characters that bear loss."""

    text: str
    spans: list[Span]


@dataclass(frozen=True, slots=True)
class _Show:
    """One template on one row. `ends` are the strings that can end a turn."""

    template: Template
    special: Mapping[str, str]
    ends: tuple[str, ...]
    tools: list[dict[str, Any]] | None

    def whole(self, messages: Messages) -> str:
        return self.template.render(messages, special=self.special, tools=self.tools)

    def prompt(self, messages: Messages) -> str:
        return self.template.render(messages, special=self.special, tools=self.tools, add_generation_prompt=True)

    def marked(self, messages: Messages) -> tuple[str, list[Span]]:
        return self.template.render_marked(messages, special=self.special, tools=self.tools)


def drafts(
    example: Example,
    template: Template,
    special: Mapping[str, str],
    ends: tuple[str, ...],
    *,
    whole: bool,
    last_only: bool,
) -> list[Draft]:
    """The texts of one conversation: one, or one an answer where history looks different.

    `whole`: everything bears loss. `last_only`: only the last answer does.
    Raises RowError when the template refuses the row, or no way is exact.
    """
    messages = list(example.messages)
    if not messages:
        raise RowError("a row must hold a conversation or a text; this one is empty. Remove the row.")
    show = _Show(template, special, ends, _tools(example, template))
    if whole:
        text = show.whole(messages)
        return [Draft(text, [(0, len(text))])]
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise RowError(
            "a conversation must have an answer to learn; this one has no message of the assistant. "
            "Remove the row, or check the columns and tags of the dataset."
        )
    wanted = answers[-1:] if last_only else answers
    if template.marked:
        return _by_marks(show, messages, answers, wanted)
    return _by_prefix(show, messages, wanted)


def _tools(example: Example, template: Template) -> list[dict[str, Any]] | None:
    if not example.tools:
        return None
    if not template.shows_tools:
        raise RowError(
            f"the chat template {template.name!r} must show the tools that the row names; it does not know "
            "tools. Choose a template that does, or leave the tools column out of the dataset's entry.",
            column="tools",
        )
    try:
        tools = json.loads(example.tools)
    except json.JSONDecodeError as error:
        raise RowError(f"tools must be JSON; {error}. Correct the row.", column="tools") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowError("tools must be a JSON list of objects. Correct the row.", column="tools")
    return tools


def _by_marks(show: _Show, messages: Messages, answers: list[int], wanted: list[int]) -> list[Draft]:
    text, spans = show.marked(messages)
    if len(spans) < len(answers):
        # Some answer of the history is shown without a mark: only as the last turn it is whole.
        return [_marked_turn(show, messages, at) for at in wanted]
    if len(wanted) == len(answers):
        return [Draft(text, spans)]
    if len(spans) == len(answers):
        return [Draft(text, spans[-len(wanted) :])]
    start = len(_prefix(show, messages[: wanted[0]], text, wanted[0]))
    return [Draft(text, [span for span in spans if span[0] >= start])]


def _marked_turn(show: _Show, messages: Messages, at: int) -> Draft:
    text, spans = show.marked(messages[: at + 1])
    start = len(_prefix(show, messages[:at], text, at))
    learned = [span for span in spans if span[0] >= start]
    if not learned:
        raise RowError(
            f"the chat template {show.template.name!r} must mark the answer in message {at + 1} as "
            "generated; it marks nothing there. Correct the marks of the template."
        )
    return Draft(text, learned)


def _by_prefix(show: _Show, messages: Messages, wanted: list[int]) -> list[Draft]:
    turns = [_turn(show, messages, at) for at in wanted]
    last = turns[-1]
    text = last.text if wanted[-1] == len(messages) - 1 else show.whole(messages)
    if all(text.startswith(turn.text[: turn.spans[0][1]]) for turn in turns):
        return [Draft(text, [turn.spans[0] for turn in turns])]
    return turns


def _turn(show: _Show, messages: Messages, at: int) -> Draft:
    """The conversation up to the answer `at`, with the span of that answer."""
    text = show.whole(messages[: at + 1])
    start = len(_prefix(show, messages[:at], text, at))
    # Generation stops before the line break behind the end token, so that is not learned. Without
    # an end token the white space is all that ends the turn.
    stripped = text.rstrip()
    end = len(stripped) if stripped.endswith(show.ends) else len(text)
    return Draft(text, [(start, max(start, end))])


def _prefix(show: _Show, before: Messages, text: str, at: int) -> str:
    """The prompt at inference for the answer `at`, which `text` must start with."""
    if not before:
        raise RowError(
            "an answer must follow a question; this conversation begins with the assistant. Put a message of "
            "the user before it, or remove the row."
        )
    prompt = show.prompt(before)
    if not text.startswith(prompt):
        pairs = enumerate(zip(prompt, text, strict=False))
        split = next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(text)))
        raise RowError(
            f"the chat template {show.template.name!r} must write the prompt for message {at + 1} as at "
            f"inference; at character {split} inference has {prompt[split : split + 40]!r} and the whole "
            f"conversation {text[split : split + 40]!r}. Choose a template in which both agree, or one with "
            "generation marks."
        )
    return prompt
