"""Answers as the bodies of OpenAI's chat completions: whole, or as the events of a stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio.errors import StudioError
from studio.model.answer import Answer, EndedError
from studio.serve.reading import Reader
from studio.serve.refusal import refusal_of


@dataclass
class Completion:
    """The answers to one request, being written."""

    model: str
    answers: Sequence[Answer]
    readers: Sequence[Reader]
    usage_asked: bool = False
    one_call: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def cancel(self) -> None:
        """Stop writing all of them."""
        for answer in self.answers:
            answer.cancel()

    async def whole(self) -> dict[str, Any]:
        """The body when everything is written. Raises StudioError when the engine fails."""
        messages: list[dict[str, Any]] = [{"role": "assistant", "content": None} for _ in self.answers]
        async for index, delta in self._deltas():
            for name in ("content", "reasoning_content"):
                if name in delta:
                    messages[index][name] = (messages[index].get(name) or "") + delta[name]
        choices = []
        for index, (reader, message) in enumerate(zip(self.readers, messages, strict=True)):
            if calls := self._calls(reader):
                message["tool_calls"] = calls
            elif message["content"] is None:
                message["content"] = ""
            choices.append({"index": index, "message": message, "finish_reason": self._reason(index), "logprobs": None})
        return {**self._head("chat.completion"), "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncGenerator[str]:
        """The events of a stream, to the one that ends it. A failure of the engine is an event too."""
        usage = {"usage": None} if self.usage_asked else {}
        try:
            for index in range(len(self.answers)):
                yield self._event(index, {"role": "assistant", "content": ""}, None, usage)
            async for index, delta in self._deltas():
                ended = delta.pop("ended", False)
                if delta:
                    yield self._event(index, delta, None, usage)
                if ended:
                    yield self._event(index, {}, self._reason(index), usage)
        except StudioError as error:
            yield _line(refusal_of(error).body)
            return
        if self.usage_asked:
            yield _line({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    async def _deltas(self) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Index of the choice and what is new of it; `ended` in a delta of its own when it is whole."""
        changed = _Bell()
        for answer in self.answers:
            answer.watch(changed.ring)
        open_choices = set(range(len(self.answers)))
        while open_choices:
            await changed.wait()
            for index in sorted(open_choices):
                pieces, ended = self.answers[index].take()
                reader = self.readers[index]
                deltas = reader.push("".join(piece.text for piece in pieces)) if pieces else []
                deltas += reader.finish() if ended else []
                for delta in deltas:
                    if not (self.one_call and delta.get("tool_calls", [{"index": 0}])[0]["index"]):
                        yield index, delta
                if ended:
                    if self.answers[index].reason == "cancelled":
                        raise EndedError("the answer was cancelled. Ask again.")
                    open_choices.discard(index)
                    yield index, {"ended": True}

    def _calls(self, reader: Reader) -> list[dict[str, Any]]:
        return reader.calls[:1] if self.one_call else reader.calls

    def _reason(self, index: int) -> str:
        return "tool_calls" if self.readers[index].calls else self.answers[index].reason

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _event(self, index: int, delta: dict[str, Any], reason: str | None, more: dict[str, Any]) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _line({**self._head("chat.completion.chunk"), "choices": [choice], **more})

    def _usage(self) -> dict[str, int]:
        # The prompt is one, however many answers it gets.
        prompt, written = self.answers[0].prompt_tokens, sum(answer.completion_tokens for answer in self.answers)
        return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _line(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


class _Bell:
    """Rung in the engine's thread, heard in the server's loop."""

    def __init__(self) -> None:
        self._loop, self._rung = asyncio.get_running_loop(), asyncio.Event()

    def ring(self) -> None:
        """There is something to take."""
        # The loop may close at any moment, and then nobody listens any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self) -> None:
        """Until it has been rung since the last time."""
        await self._rung.wait()
        self._rung.clear()
