"""An answer's text taken apart while it comes: what was thought, what is said, which tools are called."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from studio.model.detokenise import overlap
from studio.model.toolcalls import parse_tool_calls, safe_length

OPEN, CLOSE = "<think>", "</think>"
Delta = dict[str, Any]


class Reader:
    """Pieces of text → deltas as OpenAI streams them: reasoning_content, content, tool_calls.

    `tools` are those that were offered: what may still become a call waits until that is decided.
    `thinks` says that the prompt itself has opened the thinking. `special` are the tokens that no
    reader shall see; with tools the text holds them, since some families mark calls by them.
    """

    def __init__(
        self, tools: Sequence[Mapping[str, Any]] | None = None, *, thinks: bool = False, special: Sequence[str] = ()
    ) -> None:
        self.calls: list[Delta] = []
        self._tools = tools
        self._part = "thinking" if thinks else "start"
        self._text = ""
        self._said = 0
        self._special = re.compile("|".join(map(re.escape, special))) if special and tools else None

    def push(self, text: str) -> list[Delta]:
        """What is certain after some more text."""
        self._text += text
        deltas: list[Delta] = []
        if self._part == "start":
            self._begin(last=False)
        if self._part == "thinking":
            deltas += self._think(last=False)
        if self._part == "gap" and self._text.lstrip():
            self._text, self._part = self._text.lstrip(), "saying"
        if self._part == "saying":
            deltas += self._say()
        return deltas

    def finish(self) -> list[Delta]:
        """What was held back; `calls` are complete after it."""
        deltas: list[Delta] = []
        if self._part == "start":
            self._begin(last=True)
        if self._part == "thinking":
            deltas += self._think(last=True)
        if self._part != "saying":
            return deltas
        rest, calls = parse_tool_calls(self._text, self._tools) if self._tools else (self._text, [])
        deltas += self._shown(rest[self._said :])
        for index, call in enumerate(calls):
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
            whole = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
            self.calls.append(whole)
            deltas.append({"tool_calls": [{"index": index, **whole}]})
        return deltas

    def _begin(self, *, last: bool) -> None:
        """Whether the answer begins by thinking."""
        start = self._text.lstrip()
        if start.startswith(OPEN):
            self._text, self._part = start[len(OPEN) :], "thinking"
        elif last or not OPEN.startswith(start):
            self._part = "saying"

    def _think(self, *, last: bool) -> list[Delta]:
        thought, closing, rest = self._text.partition(CLOSE)
        if closing:
            self._text, self._part = rest, "gap"
            thought = thought.rstrip()
        else:
            # White space before the end of the thinking belongs to its mark.
            end = len(thought) if last else len(thought[: len(thought) - overlap(thought, CLOSE)].rstrip())
            thought, self._text = thought[:end], thought[end:]
        if not self._said:
            thought = thought.lstrip("\n")
        self._said = 0 if closing else self._said + len(thought)
        return [{"reasoning_content": thought}] if thought else []

    def _say(self) -> list[Delta]:
        end = safe_length(self._text, self._tools) if self._tools else len(self._text)
        new = self._text[self._said : end]
        self._said += len(new)
        return self._shown(new)

    def _shown(self, text: str) -> list[Delta]:
        text = self._special.sub("", text) if self._special is not None else text
        return [{"content": text}] if text else []
