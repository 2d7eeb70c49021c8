"""A reward model behind the same door: conversations → scores."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import Field, field_validator
from starlette.concurrency import run_in_threadpool

from studio.errors import StudioError
from studio.model.answer import BusyError, EndedError
from studio.model.scorer import Scorer
from studio.serve.refusal import Refusal, refusal_of
from studio.serve.schema import MESSAGES, TOOLS, ChatMessage, Part, Tool, Whole, as_template_reads
from studio.serve.server import tell_in_openais_form

# Conversations or texts of one request.
MOST = 512
# Rows that are scored before it is looked whether the server ends.
CHUNK = 16
# What a client of a chat model would ask for.
CHAT = ("/v1/chat/completions", "/v1/completions", "/v1/prompt", "/v1/responses")


class ScoreRequest(Part):
    """The body of POST /v1/score: one conversation, or a list of them."""

    model: str = ""
    messages: list[list[ChatMessage]] = Field(min_length=1, max_length=MOST)
    tools: list[Tool] = Field([], max_length=TOOLS)

    @field_validator("messages", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, list) and value and isinstance(value[0], dict) else value

    @field_validator("messages")
    @classmethod
    def _sized(cls, value: list[list[ChatMessage]]) -> list[list[ChatMessage]]:
        for conversation in value:
            if not 1 <= len(conversation) <= MESSAGES:
                raise ValueError(f"a conversation must have between 1 and {MESSAGES} messages")
        return value


class TextsRequest(Part):
    """The body of POST /v1/score/evaluation: texts that are rendered already."""

    model: str = ""
    messages: list[str] = Field(min_length=1, max_length=MOST)
    max_length: Whole | None = Field(None, ge=1, le=10**7)

    @field_validator("messages")
    @classmethod
    def _texts(cls, value: list[str]) -> list[str]:
        for text in value:
            if not text or any("\ud800" <= mark <= "\udfff" for mark in text):
                raise ValueError("each must be text, not empty and without halves of characters (lone surrogates)")
        return value


@dataclass
class Scoring:
    """What the server serves: a scorer, its names, and how many requests may wait."""

    scorer: Scorer
    names: Sequence[str]
    waiting: int
    say: Callable[[str], None]
    created: int
    alive: bool = True
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _count: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._count = threading.Semaphore(self.waiting + 1)

    def stop(self) -> None:
        """Score nothing more."""
        self.alive = False

    def conversations(self, body: ScoreRequest) -> dict[str, Any]:
        """The answer to /v1/score. Raises Refusal."""
        tools = [tool.model_dump(exclude_none=True) for tool in body.tools] or None
        if tools and not (self.scorer.template and self.scorer.template.shows_tools):
            sentence = "the model's chat template has no place for tools. Leave tools out, or serve another model."
            raise Refusal(400, sentence, param="tools", code="unsupported_parameter")
        return self._answer(
            body.model, "score", lambda: [self.scorer.ids(as_template_reads(one), tools) for one in body.messages]
        )

    def texts(self, body: TextsRequest) -> dict[str, Any]:
        """The answer to /v1/score/evaluation. Raises Refusal."""

        def read() -> list[list[int]]:
            return [self.scorer.text_ids(one)[: body.max_length] for one in body.messages]

        return self._answer(body.model, "score.evaluation", read)

    def _answer(self, model: str, kind: str, read: Callable[[], list[list[int]]]) -> dict[str, Any]:
        if model and model not in self.names:
            sentence = f"the model {model[:80]!r} is not served here; {', '.join(self.names)} is."
            raise Refusal(404, sentence, param="model", code="model_not_found")
        since = time.monotonic()
        try:
            rows = read()
            scores = self._scored(rows)
        except StudioError as error:
            raise refusal_of(error) from None
        name, tokens = f"score-{uuid.uuid4().hex}", sum(map(len, rows))
        self.say(f"{name}: {len(rows)} scores, {tokens} tokens, {time.monotonic() - since:.1f} s")
        return {
            "id": name, "object": kind, "created": int(time.time()), "model": model or self.names[0], "scores": scores,
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }  # fmt: skip

    def _scored(self, rows: list[list[int]]) -> list[float]:
        if not self._count.acquire(blocking=False):
            raise BusyError(f"{self.waiting} requests wait already. Come again in a moment.")
        try:
            scores: list[float] = []
            with self._turn:
                for start in range(0, len(rows), CHUNK):
                    if not self.alive:
                        raise EndedError("the server ends.")
                    scores += self.scorer.score(rows[start : start + CHUNK])
            return scores
        finally:
            self._count.release()


def make_scoring_app(service: Scoring, root_path: str = "") -> FastAPI:
    """The application of a reward model, without its guard."""
    app = FastAPI(title="studio", root_path=root_path, docs_url=None, redoc_url=None)

    @app.post("/v1/score")
    async def score(body: ScoreRequest) -> dict[str, Any]:
        """A score for each conversation."""
        return await run_in_threadpool(service.conversations, body)

    @app.post("/v1/score/evaluation")
    async def evaluation(body: TextsRequest) -> dict[str, Any]:
        """A score for each rendered text."""
        return await run_in_threadpool(service.texts, body)

    async def chat() -> Response:
        """A reward model does not write."""
        sentence = (
            f"{service.names[0]} is a reward model: it gives scores (POST /v1/score) and writes no text. Serve another "
            "model to chat."
        )
        return Refusal(400, sentence, param="model", code="unsupported_model").response

    for path in CHAT:
        app.post(path)(chat)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The names under which the model is served."""
        cards = [
            {"id": name, "object": "model", "created": service.created, "owned_by": "studio"} for name in service.names
        ]
        return {"object": "list", "data": cards}

    @app.get("/health")
    async def health() -> Response:
        """200 while it scores, else 503."""
        return JSONResponse({"status": "ok" if service.alive else "ended"}, 200 if service.alive else 503)

    tell_in_openais_form(app)
    return app
