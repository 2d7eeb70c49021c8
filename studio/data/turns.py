"""From a conversation to text, and which characters of it are learned.

What is learned must stand exactly as the model meets it at inference: behind the prompt that the
template writes for generation. Three ways lead there, the first that fits is taken:

1. The template marks what is generated: the marked characters.
2. Rendering up to an answer starts with its prompt, and the whole starts with both: the
   characters between.
3. The template shows an answer in history differently from the last turn (it drops thinking):
   each answer becomes a text of its own that ends with it.

Of an answer its thinking, its content, its tool calls and its end are learned, never the result of
a tool. A template that leaves thinking or calls out has no way: such a row is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.data.example import Example
from studio.errors import RowError
from studio.model.messages import thinking_of, without_thinking
from studio.model.templates import Span, Template

Messages = Sequence[Mapping[str, Any]]
# A word of so many characters stands nowhere by chance, as "a" does in the name of a role.
_LONG = 5


@dataclass(frozen=True, slots=True)
class Draft:
    """A text to encode; `spans` are the [start, end) characters that bear loss.

    `bare`: the tokenizer puts no tokens of its own around it, all of them stand in the text.
    `forgets`: the template leaves thinking of past answers out, and no other text of the row shows it.
    `mark` and `source` are those of the row it becomes.
    """

    text: str
    spans: list[Span]
    bare: bool = True
    forgets: bool = False
    mark: int = 0
    source: str = ""


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

    `whole`: everything bears loss. `last_only`: only the last answer does. An answer of weight 0 never does,
    unless everything does.
    Raises RowError when the template refuses the row or leaves a part of it out, or no way is exact.
    """
    messages: list[Mapping[str, Any]] = list(example.messages)
    if template.enable_thinking is False:
        # Asked for: answers are learned without the thinking that rows hold.
        messages = [without_thinking(message) for message in messages]
    if not messages:
        raise RowError("a row must hold a conversation or a text; this one is empty. Remove the row.")
    show = _Show(template, special, ends, _tools(example, template))
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    rich = any("tool_calls" in message or "reasoning_content" in message for message in messages)
    if whole:
        text = show.whole(messages)
        # What was turned off is left out on purpose.
        forgets = template.enable_thinking is not False and any(
            thinking_of(messages[at]) not in text for at in answers[:-1]
        )
        made, wanted = [Draft(text, [(0, len(text))], forgets=forgets)], answers[-1:]
    else:
        wanted = _wanted(messages, answers, last_only)
        if template.marked:
            made = _by_marks(show, messages, answers, wanted, rich=rich)
        else:
            made = _by_prefix(show, messages, wanted)
    if rich:
        _check_shown(made, messages, wanted, template)
    _check_words(made, messages, wanted, template)
    return made


def question(example: Example, template: Template, special: Mapping[str, str]) -> Draft:
    """The prompt that the model is to answer: all that stands before the last answer, as at inference; no loss.

    A plain text is a question of the user. Raises RowError for a row without a question.
    """
    messages: list[Mapping[str, Any]] = list(example.messages) or [{"role": "user", "content": example.text}]
    answer = ""
    while messages and messages[-1]["role"] == "assistant":
        answer = str(messages.pop()["content"])
    if not any(str(message["content"]).strip() for message in messages if message["role"] != "system"):
        raise RowError("a prompt must hold a question; this row has none in front of its answer. Remove the row.")
    tools = _tools(example, template)
    text = template.render(messages, special=special, tools=tools, add_generation_prompt=True)
    source = {"messages": messages, "tools": tools or [], "answer": answer}
    return Draft(text, [], source=json.dumps(source, ensure_ascii=False))


def _wanted(messages: Messages, answers: list[int], last_only: bool) -> list[int]:
    """The answers to learn, at least one."""
    if not answers:
        raise RowError(
            "a conversation must have an answer to learn; this one has no message of the assistant. "
            "Remove the row, or check the columns and tags of the dataset."
        )
    wanted = [at for at in (answers[-1:] if last_only else answers) if messages[at].get("weight") != 0]
    if not wanted:
        raise RowError(
            "a conversation must have an answer to learn; here each has weight 0. Remove the row, or give one weight 1."
        )
    return wanted


def _check_shown(made: Sequence[Draft], messages: Messages, wanted: Sequence[int], template: Template) -> None:
    """Raise RowError for thinking or a tool call that is not among what is learned, or a result that is not shown."""
    texts = "\n".join(draft.text for draft in made)
    learned = "\n".join(draft.text[start:end] for draft in made for start, end in draft.spans)
    for at, message in enumerate(messages):
        if at in wanted:
            lost = _lost(message, learned, template)
        elif message["role"] == "tool":
            lost = "" if _longest_word(message["content"]) in texts else "content"
        else:
            # Thinking of a past answer may go, as it does at inference.
            lost = "" if _calls_in(message, texts, template) else "tool calls"
        if lost:
            whose = "the result of the tool" if message["role"] == "tool" else "the answer"
            raise RowError(
                f"the chat template {template.name!r} must show the {lost} of message {at + 1}, {whose}; it leaves "
                "that out. Choose a template that knows it, or take the row out."
            )


def _check_words(made: Sequence[Draft], messages: Messages, wanted: Sequence[int], template: Template) -> None:
    """Raise RowError for an answer of which no word stands in what is learned: the template writes the roles alone."""
    learned = "\n".join(draft.text[start:end] for draft in made for start, end in draft.spans)
    begin = 0
    for at in wanted:
        content = messages[at]["content"].strip()
        # They stand in their order, so that a long conversation is gone through once.
        place = learned.find(content, begin)
        if place >= 0 or content in learned:
            begin = place + len(content) if place >= 0 else begin
            continue
        words = re.findall(r"[^\W_]+", without_thinking(messages[at])["content"])
        long = min(max(map(len, words), default=0), _LONG)
        # A template may change a text, such as its white space, but not all of it.
        if words and not any(word in learned for word in words if len(word) >= long):
            raise RowError(
                f"the chat template {template.name!r} must show the text of message {at + 1}, the answer; nothing of "
                "it stands in what is learned. Choose another template, or correct this one."
            )


def _lost(message: Mapping[str, Any], learned: str, template: Template) -> str:
    """What of an answer is not in the text that is learned, in words; "" when all is."""
    # Thinking that was turned off is left out on purpose.
    thought = "" if template.enable_thinking is False else message.get("reasoning_content", "").strip()
    if thought not in learned:
        return "thinking (reasoning_content)"
    return "" if _calls_in(message, learned, template) else "tool calls"


def _calls_in(message: Mapping[str, Any], text: str, template: Template) -> bool:
    calls = message.get("tool_calls", ())
    return not calls or ("tool_calls" in template.jinja and all(call["function"]["name"] in text for call in calls))


def _longest_word(text: str) -> str:
    """A part of the text that stands in it unchanged even where a template writes the text as JSON."""
    return max(re.findall(r"[^\W_]+", text), key=len, default="")


def _tools(example: Example, template: Template) -> list[dict[str, Any]] | None:
    if not example.tools:
        return None
    if not template.shows_tools:
        raise RowError(
            f"the chat template {template.name!r} must show the tools that the row names; it does not know "
            "tools. Choose a template that does, or map no tools column in dataset_info.json.",
            column="tools",
        )
    try:
        tools = json.loads(example.tools)
    except json.JSONDecodeError as error:
        raise RowError(f"tools must be JSON; {error}. Correct the row.", column="tools") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowError("tools must be a JSON list of objects. Correct the row.", column="tools")
    return tools


def _by_marks(show: _Show, messages: Messages, answers: list[int], wanted: list[int], *, rich: bool) -> list[Draft]:
    text, spans = show.marked(messages)
    if len(spans) == len(answers) and not rich and _in_place(messages, text, spans, answers):
        return [Draft(text, spans if wanted == answers else [spans[answers.index(at)] for at in wanted])]
    owned = _owned(show, messages, text, spans, answers, wanted) if len(spans) >= len(wanted) else None
    # Some answer is shown in history otherwise than as the last turn: only there it is whole.
    return [Draft(text, owned)] if owned is not None else [_marked_turn(show, messages, at) for at in wanted]


def _in_place(messages: Messages, text: str, spans: list[Span], answers: list[int]) -> bool:
    """Whether each span holds its answer, as it does unless a template marks something else."""
    pairs = zip(answers, spans, strict=True)
    return all(messages[at]["content"].strip() in text[start:end] for at, (start, end) in pairs)


def _owned(
    show: _Show, messages: Messages, text: str, spans: list[Span], answers: list[int], wanted: list[int]
) -> list[Span] | None:
    """The spans of the wanted answers, each told by the prompt in front of it; None when that is not possible."""
    starts = []
    for at in answers:
        prompt = show.prompt(messages[:at]) if at else ""
        if not text.startswith(prompt):
            return None
        starts.append(len(prompt))
    taken: list[Span] = []
    for at, start, end in zip(answers, starts, [*starts[1:], len(text)], strict=True):
        own = [span for span in spans if start <= span[0] < end]
        if at not in wanted:
            continue
        if len(own) > 1:
            # The later ones may be of the next question.
            until = show.whole(messages[: at + 1])
            if not text.startswith(until):
                return None
            own = [span for span in own if span[0] < len(until)]
        if not own or _lost(messages[at], "".join(text[first:last] for first, last in own), show.template):
            return None
        taken += own
    return taken


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
