"""Fields of a request that are refused by name: what would change the server, and what it cannot do.

Other fields that are unknown here are ignored, as OpenAI does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DANGEROUS = (
    "chat_template", "trust_remote_code", "lora_request", "extra_body", "logits_processors", "mm_processor_kwargs",
)  # fmt: skip
PROBABILITIES = "probabilities are not told; leave it out"
NO_FORM = "the form of an answer cannot be promised. Ask for it in the prompt"
CHOSEN = "tokens are chosen by temperature, top_p, top_k and the penalties; leave it out"
# Field, the values under which it asks for nothing, and what to do instead.
ABSENT: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("functions", (None, []), "use tools"),
    ("function_call", (None,), "use tool_choice"),
    ("logprobs", (None, False), PROBABILITIES),
    ("top_logprobs", (None, 0), PROBABILITIES),
    ("prompt_logprobs", (None, 0), PROBABILITIES),
    ("logit_bias", (None, {}), "single tokens cannot be made likelier; leave it out"),
    ("bad_words", (None, []), "single tokens cannot be made likelier; leave it out"),
    ("audio", (None,), "only text is written; leave it out"),
    ("modalities", (None, [], ["text"]), "only text is written; leave it out"),
    ("web_search_options", (None,), "nothing is searched; leave it out"),
    ("min_p", (None, 0), CHOSEN),
    ("typical_p", (None, 1), CHOSEN),
    ("use_beam_search", (None, False), CHOSEN),
    ("length_penalty", (None, 1), CHOSEN),
    ("best_of", (None, 1), "use n, and choose yourself"),
    ("min_tokens", (None, 0), "an answer ends where the model ends it; leave it out"),
    ("ignore_eos", (None, False), "an answer ends where the model ends it; leave it out"),
    ("stop_token_ids", (None, []), "use stop"),
    ("include_stop_str_in_output", (None, False), "the stop string is never shown; leave it out"),
    ("skip_special_tokens", (None, True), "special tokens are not shown; leave it out"),
    ("echo", (None, False), "the prompt is not shown; leave it out"),
    *((name, (None,), NO_FORM) for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar")),
    *((name, (None,), NO_FORM) for name in ("guided_decoding_backend", "structured_outputs", "grammar")),
)


def refused(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """A field that is refused by name, and why; None when there is none."""
    for name in DANGEROUS:
        if name in body:
            return name, "can only be set where the server is started, not in a request."
    thinking = body.get("chat_template_kwargs") or {}
    if not isinstance(thinking, dict) or any(name != "enable_thinking" for name in thinking):
        return "chat_template_kwargs", "may hold enable_thinking (true or false) and nothing else."
    goes_on, begins = body.get("continue_final_message") is True, body.get("add_generation_prompt") is not False
    if goes_on == begins:
        return "continue_final_message", (
            "true goes with add_generation_prompt false, and both are left out for an answer of its own."
        )
    for name, harmless, instead in ABSENT:
        if name in body and body[name] not in harmless:
            return name, f"is not supported: {instead}."
    return None
