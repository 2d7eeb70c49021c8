"""From the page to a model that a job serves: its requests and its streams, and nothing else.

The browser never learns the key of the job or its port, and the job never sees the page's cookie or token.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from studio.errors import WorkspaceError

# What may be asked, and how.
PATHS = {"chat/completions": "POST", "prompt": "POST", "score": "POST", "models": "GET"}
MOST_BYTES = 8 * 2**20
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# A job on this machine answers a connection at once or not at all; an answer may take as long as it takes.
CONNECT_S = 10
# What of an answer's head is passed on.
PASSED = ("content-type", "retry-after")


@dataclass(frozen=True)
class Endpoint:
    """Where a served model answers, under which names, and its key."""

    url: str
    names: tuple[str, ...]
    key: str


def read_endpoint(folder: Path) -> Endpoint | None:
    """What a serve job has written into its folder; None while it has not, or when it names another machine."""
    try:
        found = json.loads((folder / "endpoint.json").read_text(encoding="utf-8"))
        key = (folder / "key").read_text(encoding="utf-8").strip()
        url, names = str(found["url"]), tuple(map(str, found["names"]))
        parts = urllib.parse.urlsplit(url)
        # What urlsplit passes over silently, such as a line break, is no part of an address of ours.
        ours = url.isprintable() and parts.scheme == "http" and parts.hostname in LOOPBACK and parts.port
        ours = ours and parts.path == "/v1" and not parts.fragment
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Endpoint(url, names, key) if ours and not parts.username and not parts.query else None


async def read_body(request: Request) -> bytes:
    """The whole body of a request. Raises WorkspaceError when it is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise WorkspaceError(f"a conversation may have at most {MOST_BYTES:,} bytes. Begin a new one.")
    return bytes(body)


class Passed(Response):
    """The answer of a served model on its way to the page; when the browser leaves, the model is told to stop."""

    def __init__(self, endpoint: Endpoint, path: str, body: bytes) -> None:
        super().__init__()
        self._endpoint, self._path, self._body = endpoint, path, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, and pass on piece by piece."""
        async with anyio.create_task_group() as group:
            group.start_soon(_until_left, receive, group.cancel_scope)
            await self._pass(scope, receive, send)
            group.cancel_scope.cancel()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        import httpx2

        headers = {"authorization": f"Bearer {self._endpoint.key}", "content-type": "application/json"}
        # No proxy of the environment stands between us and ourselves; http needs no certificates.
        client = httpx2.AsyncClient(
            verify=False, trust_env=False, follow_redirects=False, timeout=httpx2.Timeout(None, connect=CONNECT_S)
        )
        method, begun = PATHS[self._path], False
        async with client:
            try:
                url = f"{self._endpoint.url}/{self._path}"
                async with client.stream(method, url, headers=headers, content=self._body or None) as answer:
                    kept = [(name, answer.headers[name]) for name in PASSED if name in answer.headers]
                    begun = True
                    await send(_head(answer.status_code, kept))
                    async for part in answer.aiter_raw():
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            except httpx2.HTTPError:
                if not begun:
                    told = "the model does not answer any more. Look at its job in the Jobs tab, or load it again."
                    await JSONResponse({"error": told}, 502)(scope, receive, send)
                    return
                # The stream has no end then: whoever reads it sees that it was cut.
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _head(status: int, kept: list[tuple[str, str]]) -> dict[str, Any]:
    # A proxy that collects the answer first would undo the streaming.
    ours = [("cache-control", "no-store"), ("x-accel-buffering", "no"), ("x-content-type-options", "nosniff")]
    headers = [(name.encode(), value.encode()) for name, value in (*kept, *ours)]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _until_left(receive: Callable[[], Awaitable[Any]], scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
