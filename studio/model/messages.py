"""Messages as chat templates read them: one shape, whatever names a data set gave its parts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from studio.model.sandbox import END, START

# Names under which data sets carry the thinking; templates read the first.
REASONING = ("reasoning_content", "thinking", "reasoning")

Message = Mapping[str, Any]


def plain(message: Message) -> Message:
    """A message as templates expect it: no None, and thinking under the name they read."""
    if None in message.values():
        message = {key: value for key, value in message.items() if value is not None}
    for key in REASONING:
        if key in message:
            return {"thinking": message[key], **message, "reasoning_content": message[key]}
    return message


def thinking_of(message: Message) -> str:
    """What the assistant thought in a message, under its own key or in <think> before the content; "" for nothing."""
    content = message.get("content")
    inside = re.match(r"\s*<think>(.*?)</think>", content, re.DOTALL) if isinstance(content, str) else None
    return str(message.get("reasoning_content") or (inside[1] if inside else "")).strip()


def without_thinking(message: Message) -> Message:
    """The message of an assistant without what it thought; any other as it is."""
    if message.get("role") != "assistant":
        return message
    kept = {key: value for key, value in message.items() if key not in REASONING}
    content = kept.get("content")
    if isinstance(content, str) and content.lstrip().startswith("<think>") and "</think>" in content:
        kept["content"] = content.partition("</think>")[2].lstrip("\n")
    return kept


def holds_marks(message: Message) -> bool:
    """Whether a message holds the noncharacters that mark answers while rendering."""
    for value in message.values():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if START in text or END in text:
            return True
    return False
