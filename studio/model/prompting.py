"""From a conversation to the ids that are answered, and what ends an answer. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from studio.errors import ModelError, RowError
from studio.model.answer import Conversation, Prompt, TooLongError
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer

# Tokens of context that an answer may always have, whatever the prompt.
LEAST_ROOM = 1
# Characters that a token has at most on average: a text of megabytes is refused by its beginning.
GENEROUS = 12


@dataclass(frozen=True)
class Prompter:
    """What a model's prompts are made with. `context` is its most tokens of prompt and answer, 0 without limit."""

    tokenizer: LightTokenizer
    template: Template | None
    context: int

    def prompt(
        self,
        conversation: Conversation,
        tools: list[dict[str, Any]] | None = None,
        *,
        enable_thinking: bool | None = None,
    ) -> str:
        """The text that is answered: a plain or rendered text as it is, a conversation as the template renders it.

        Raises ModelError for a conversation without a template, RowError when the template refuses it.
        """
        if isinstance(conversation, Prompt):
            return conversation.text
        if isinstance(conversation, str):
            return conversation
        if self.template is None:
            raise ModelError(
                f"a conversation needs a chat template, and {self.tokenizer.name} has none. "
                "Set template to default or to a Jinja file."
            )
        special = self.tokenizer.special
        return self.template.render(
            conversation,
            special=special,
            tools=tools,
            add_generation_prompt=True,
            enable_thinking=enable_thinking,
        )

    def encode(self, text: str, *, plain: bool) -> list[int]:
        """The ids of a prompt; a plain text gets the tokens that begin a document, a rendered one has them.

        An answer goes on from the prompt, so the token with which some tokenizers end a document is left out.

        Raises TooLongError when it leaves no room for an answer, RowError for text that is none.
        """
        if not text.isascii():
            _must_be_text(text)
        fast, limit = self.tokenizer.fast, self.context
        if limit and len(text) > 2 * GENEROUS * limit:
            begun = len(fast.encode(text[: GENEROUS * limit], add_special_tokens=plain).ids)
            if begun > limit:
                raise TooLongError(begun, limit, exact=False)
        head = self.tokenizer.head if plain else ()
        ids = [*head, *fast.encode(text, add_special_tokens=False).ids]
        if limit and len(ids) + LEAST_ROOM > limit:
            raise TooLongError(len(ids), limit)
        return ids or [self.tokenizer.eos_id]

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end an answer: the tokenizer's, and the token with which the template closes one."""
        return frozenset([*self.tokenizer.stop_ids, *self._closing[:1]])

    @cached_property
    def stop_texts(self) -> tuple[str, ...]:
        """Text with which the template closes an answer, where that is no token of its own."""
        return () if self._closing or not self._end else (self._end,)

    @cached_property
    def _end(self) -> str:
        return self.template.end(self.tokenizer.special) if self.template is not None else ""

    @cached_property
    def _closing(self) -> list[int]:
        """The ids of the template's closing text when it begins with a special token."""
        fast = self.tokenizer.fast
        ids = list(fast.encode(self._end, add_special_tokens=False).ids) if self._end else []
        added = fast.get_added_tokens_decoder()
        return ids if ids and ids[0] in added and added[ids[0]].special else []


def _must_be_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(error.start - 20, 0) : error.start]
        raise RowError(
            f"a prompt must be text; this one holds halves of characters (lone surrogates) after {near!r}. "
            "Look there, also in tools and their calls."
        ) from None


def context_of(config: Mapping[str, Any]) -> int:
    """The positions that a model's config.json names; 0 when it names none."""
    inner = config.get("text_config")
    named = config.get("max_position_embeddings") or (inner or {}).get("max_position_embeddings")
    named = named or config.get("n_positions") or config.get("max_seq_len") or config.get("seq_length")
    if not isinstance(named, int | float):
        return 0
    rope = config.get("rope_parameters")
    # This kind of stretching alone leaves the number of positions as it was before.
    stretch = rope.get("factor", 1) if isinstance(rope, Mapping) and rope.get("rope_type") == "dynamic" else 1
    return int(named * stretch)
