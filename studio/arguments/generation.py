"""Arguments of every answer a model gives: in chat, before and after a run, in evaluation."""

from __future__ import annotations

from studio.arguments.base import Arguments, arg


class SamplingArguments(Arguments):
    """How long an answer may be, and from which tokens the next one is drawn."""

    temperature: float = arg(1.0, level="basic", gt=0)
    """Where tokens are drawn by chance: below 1 the likely tokens become likelier, above 1 the unlikely ones do."""

    top_p: float = arg(1.0, level="basic", gt=0, le=1)
    """Where tokens are drawn by chance: only the likeliest that together reach this probability are drawn from."""

    top_k: int = arg(0, ge=0)
    """Where tokens are drawn by chance: only this many of the likeliest are drawn from; 0 draws from all."""

    repetition_penalty: float = arg(1.0, gt=0)
    """Above 1, tokens that already stand in the conversation become less likely; 1 leaves them."""

    max_new_tokens: int = arg(512, level="basic", ge=1)
    """The most tokens one answer may have."""


class GenerationArguments(SamplingArguments):
    """How the next token is chosen. Without do_sample it is always the likeliest."""

    do_sample: bool = arg(False, level="basic")
    """Draw the next token by chance; off, the likeliest is taken and the same answer comes each time."""

    no_repeat_ngram_size: int = arg(0, ge=0)
    """So many tokens in a row that already stand in the conversation never come again in that order; 0 lets them."""

    presence_penalty: float = arg(0.0, ge=-2, le=2)
    """Taken from the logit of every token that the answer holds already; above 0 makes new ones likelier."""

    frequency_penalty: float = arg(0.0, ge=-2, le=2)
    """Taken from the logit of a token once for each time the answer holds it already."""
