"""The OpenAI-compatible server: its routes, and how it begins and ends."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import anyio
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.arguments.generation import GenerationArguments
from studio.errors import StudioError, UsageError, WorkspaceError
from studio.model.answer import Answer, Conversation, Engine
from studio.model.prompting import Prompter
from studio.serve.completion import Completion
from studio.serve.prompt import is_plain, opens_thinking, prompt_of, shown
from studio.serve.reading import Reader
from studio.serve.refusal import Refusal, refusal_of, refusal_of_fields
from studio.serve.schema import ChatRequest

# What is written when the server is told to end is given so long.
END_S = 5
# Connections at once; more are turned away before anything is read of them.
CONNECTIONS = 512


@dataclass(frozen=True)
class Service:
    """What the server serves: an engine, the names of its model, and how it answers when a request says nothing."""

    engine: Engine
    names: Sequence[str]
    asked: GenerationArguments
    shows_tools: bool
    special: Sequence[str]
    say: Callable[[str], None]
    created: int
    prompter: Prompter | None = None
    """Without one, prompts are neither shown nor gone on with."""

    def begin(self, body: ChatRequest) -> Completion:
        """Start every answer of a request. Raises Refusal."""
        self.must_fit(body)
        tools = body.offered
        if body.n > self.engine.most:
            sentence = f"must be at most {self.engine.most} here, as many answers as this server computes or lets wait."
            raise Refusal(400, f"n: {sentence}", param="n", code="invalid_value")
        started: list[Answer] = []
        inside = False
        try:
            conversation: Conversation = body.conversation
            if not is_plain(body):
                conversation, inside = prompt_of(self.must_show(), body)
            for number in range(body.n):
                seed = None if body.seed is None else body.seed + number
                asked, stop = body.asked(self.asked), tuple(body.stop)
                started.append(self.engine.start(conversation, asked, tools=tools, stop=stop, seed=seed))
        except StudioError as error:
            for answer in started:
                answer.cancel()
            raise refusal_of(error) from None
        thinks = [inside if body.continue_final_message else opens_thinking(one.prompt) for one in started]
        readers = [Reader(tools, thinks=each, special=self.special) for each in thinks]
        usage = body.stream and body.stream_options is not None and body.stream_options.include_usage
        return Completion(body.model, started, readers, usage, one_call=body.parallel_tool_calls is False)

    def must_fit(self, body: ChatRequest) -> None:
        """Raises Refusal for a model that is not served, or tools that its template cannot show."""
        if body.model not in self.names:
            served = ", ".join(self.names)
            sentence = f"the model {body.model[:80]!r} is not served here; {served} is."
            raise Refusal(404, sentence, param="model", code="model_not_found")
        if body.offered and not self.shows_tools:
            sentence = "the model's chat template has no place for tools. Leave tools out, or serve another model."
            raise Refusal(400, sentence, param="tools", code="unsupported_parameter")

    def must_show(self) -> Prompter:
        """What prompts are made with. Raises Refusal when this server has none."""
        if self.prompter is None:
            raise Refusal(501, "prompts are neither shown nor gone on with here.", code="unsupported_parameter")
        return self.prompter

    def prompt(self, body: ChatRequest) -> dict[str, Any]:
        """The prompt of a request, as it is shown. Raises Refusal."""
        self.must_fit(body)
        try:
            return shown(self.must_show(), body)
        except StudioError as error:
            raise refusal_of(error) from None

    def told(self, completion: Completion, since: float) -> None:
        """One line a request: sizes and times, never what was asked or answered."""
        reasons = ", ".join(answer.reason or "left" for answer in completion.answers)
        written = sum(answer.completion_tokens for answer in completion.answers)
        prompt = completion.answers[0].prompt_tokens
        self.say(f"{completion.id}: {prompt} + {written} tokens, {time.monotonic() - since:.1f} s, {reasons}")


def make_app(service: Service, root_path: str = "") -> FastAPI:
    """The application, without its guard."""
    app = FastAPI(title="studio", root_path=root_path, docs_url=None, redoc_url=None)

    @app.post("/v1/chat/completions")
    async def complete(body: ChatRequest) -> Response:
        """An answer, whole or as a stream of events."""
        since = time.monotonic()
        completion = await run_in_threadpool(service.begin, body)
        return _Reply(completion, stream=body.stream, done=lambda: service.told(completion, since))

    @app.post("/v1/prompt")
    async def prompt(body: ChatRequest) -> dict[str, Any]:
        """What the model would read: text, tokens, and how many it can read."""
        return await run_in_threadpool(service.prompt, body)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The names under which the model is served."""
        return {"object": "list", "data": [_card(name, service) for name in service.names]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        if name not in service.names:
            sentence = f"the model {name[:80]!r} is not served here."
            raise Refusal(404, sentence, param="model", code="model_not_found")
        return _card(name, service)

    @app.get("/health")
    async def health() -> Response:
        """200 while new answers can begin, else 503."""
        alive = service.engine.alive
        return JSONResponse({"status": "ok" if alive else "ended"}, 200 if alive else 503)

    tell_in_openais_form(app)
    return app


def _card(name: str, service: Service) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.created, "owned_by": "studio"}


def tell_in_openais_form(app: FastAPI) -> None:
    """Let the application say in the form of OpenAI whatever it refuses, or fails at."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return refusal.response

    @app.exception_handler(RequestValidationError)
    async def misfit(_: Request, error: RequestValidationError) -> Response:
        return refusal_of_fields(error.errors()).response

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        sentence = f"{request.method} {request.url.path}: {error.detail}."
        return Refusal(error.status_code, sentence, code=str(error.detail).lower().replace(" ", "_")[:60]).response

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return Refusal(500, "the server failed on this request; its log says where.", code="server_failed").response


class _Reply(Response):
    """A completion on its way; when the client leaves, its answers stop."""

    def __init__(self, completion: Completion, *, stream: bool, done: Callable[[], None]) -> None:
        super().__init__()
        self._completion, self._stream, self._done = completion, stream, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; whatever happens, nothing is written any more afterwards."""
        work = self._events if self._stream else self._whole
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_left, receive, group.cancel_scope)
                await work(scope, receive, send)
                group.cancel_scope.cancel()
        finally:
            self._completion.cancel()
            self._done()

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response: Response = JSONResponse(await self._completion.whole())
        except StudioError as error:
            response = refusal_of(error).response
        await response(scope, receive, send)

    async def _events(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        # A proxy that collects the answer first would undo the streaming.
        kinds = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}
        kinds |= {"x-accel-buffering": "no", "x-content-type-options": "nosniff"}
        headers = [(name.encode(), value.encode()) for name, value in kinds.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with contextlib.aclosing(self._completion.events()) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_left(receive: Callable[[], Awaitable[Any]], scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at the address; who comes waits until the server runs.

    Raises UsageError, or WorkspaceError when another program has the port.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(f"--host {host}: is no address of this machine ({error.strerror}).") from None
    family, kind, _, _, address = found[0]
    taken = socket.socket(family, kind)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        # Two sockets may hold one port until one of them listens.
        taken.listen(CONNECTIONS)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise WorkspaceError(
                f"port {port} of {host} is in use by another program. Stop it, or choose another with --port."
            ) from None
        raise UsageError(f"--host {host} --port {port}: cannot be used: {error.strerror}.") from None
    return taken


class Ends(Protocol):
    """What computes the answers, as the server knows it."""

    def stop(self) -> None:
        """End; a second call does nothing."""


def run(app: ASGIApp, taken: socket.socket, engine: Ends, ready: Callable[[], None]) -> None:
    """Serve until the process is told to end by SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,
        # Whatever else is installed: one parser of requests, and nothing that is no request.
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=END_S,
    )
    server = Server(config, engine, ready)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.told_to_end)
    server.run(sockets=[taken])


class Server(uvicorn.Server):
    """uvicorn, which says when it is ready and lets the engine end before it waits for its clients."""

    def __init__(self, config: uvicorn.Config, engine: Ends, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._engine, self._ready = engine, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self._ready()

    def told_to_end(self, *_: object) -> None:
        """A signal before uvicorn waits for signals itself, or the same one after it has served its purpose."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end: clients whose answers are not done are told."""
        super().handle_exit(sig, frame)
        # In a thread: the one that is interrupted may hold what the engine waits for.
        threading.Thread(target=self._engine.stop).start()
