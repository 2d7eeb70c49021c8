"""The prompt of a request: as the template renders it, gone on with, or shown to whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio.model.answer import Prompt
from studio.model.prompting import Prompter
from studio.serve.reading import CLOSE, OPEN
from studio.serve.refusal import Refusal
from studio.serve.schema import ChatRequest


def opens_thinking(text: str) -> bool:
    """Whether a prompt itself begins the thinking of its answer."""
    return text.rstrip().endswith(OPEN)


def is_plain(body: ChatRequest) -> bool:
    """Whether the template alone makes the prompt."""
    return not body.continue_final_message and body.chat_template_kwargs.enable_thinking is None


def prompt_of(prompter: Prompter, body: ChatRequest) -> tuple[Prompt, bool]:
    """The prompt, and whether the answer begins inside of thinking.

    An answer that goes on follows the prompt that it began with, its own text behind it: so it reads what it
    would have read without the cut, also under templates that change the answers of the past.
    Raises Refusal, RowError or ModelError.
    """
    thinking = body.chat_template_kwargs.enable_thinking
    if thinking is not None and (prompter.template is None or not prompter.template.reads_thinking):
        sentence = "the model's chat template has no switch for thinking. Leave enable_thinking out."
        raise Refusal(400, sentence, param="chat_template_kwargs", code="unsupported_parameter")
    messages = body.conversation
    begun = messages.pop() if body.continue_final_message else {}
    if begun and (begun["role"] != "assistant" or begun.get("tool_calls")):
        sentence = "with continue_final_message the last message must be an answer without calls of tools."
        raise Refusal(400, sentence, param="messages", code="invalid_value")
    text = prompter.prompt(messages, body.offered, enable_thinking=thinking)
    inside = opens_thinking(text)
    if not begun:
        return Prompt(text), inside
    thought, said = begun.get("reasoning_content") or "", begun["content"]
    if thought and not inside:
        text += f"{OPEN}\n"
    inside = (inside or bool(thought)) and not said
    closing = f"\n{CLOSE}\n\n" if said and (thought or opens_thinking(text)) else ""
    return Prompt(f"{text}{thought}{closing}{said}", continues=True), inside


def shown(prompter: Prompter, body: ChatRequest) -> dict[str, Any]:
    """The text of the prompt, its tokens, and the most that the model reads (0: no limit is known)."""
    prompt, _ = prompt_of(prompter, body)
    found = prompter.tokenizer.fast.encode(prompt.text, add_special_tokens=False)
    return {
        "object": "prompt",
        "prompt": prompt.text,
        "count": len(found.ids),
        "context": prompter.context,
        "token_ids": list(found.ids),
        "texts": texts_of(prompt.text, found.offsets),
    }


def texts_of(text: str, offsets: Sequence[tuple[int, int]]) -> list[str]:
    """What each token adds to the text: a character made of several tokens stands at the first of them alone."""
    told, texts = 0, []
    for start, end in offsets:
        texts.append(text[max(start, told) : max(end, told)])
        told = max(told, end)
    return texts
