"""In front of everything: who may ask, under which name, from which page, and how much.

It holds for our routes and for Gradio's alike. A page in a browser can reach a server on this machine: from
another origin, or by a name of its own that it lets point here. Neither is served, whatever else it knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.serve.guard import is_loopback, names_of
from studio.web.audit import Audit
from studio.web.listen import public_host
from studio.web.login import Login
from studio.web.shield import shielded
from studio.web.site import Site
from studio.web.visitor import Visitor, read

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SAFE = ("GET", "HEAD", "OPTIONS")
# Anybody may ask whether the studio is there; the answer says no more than that.
OPEN = "/health"
# Files come as their bytes or in a form; every other body is JSON, held whole.
UPLOADS = ("/gradio_api/upload", "/api/datasets/upload")
MOST_UPLOAD = 512 * 2**20
MOST_BODY = 2**20
MOST_HEADERS, MOST_ADDRESS = 16 * 1024, 8 * 1024
BODY_S = 30


class Refusal(Exception):
    """Why a request is not served: a constant sentence, so that it tells a stranger nothing."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Guard:
    """An application behind its checks."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site
        self._audit = Audit(site)
        self._login = Login(site, self._audit)
        public = [public_host(name) for name in site.public_hosts]
        self._public = frozenset(name.strip("[]") for _, name, _ in public)
        self._names = names_of(site.host, self._public)
        # A name can be pointed here by anybody; an address cannot.
        self._any_address = not is_loopback(site.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what passes, refuse the rest."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = self._without_prefix(scope)
        send = shielded(send, scope, self._site)
        try:
            await self._serve(scope, receive, send)
        except Refusal as refusal:
            await JSONResponse({"error": refusal.sentence}, refusal.status)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        visitor = read(scope)
        self._check_size(scope)
        self._check_place(visitor)
        self._check_page(visitor)
        if visitor.method not in METHODS:
            raise Refusal(405, "this method is not answered.")
        if visitor.path != OPEN:
            answer = self._login.answer(visitor)
            if answer is not None:
                await answer(scope, receive, send)
                return
            if visitor.method not in SAFE and not visitor.origin and not visitor.site and not visitor.bearer:
                raise Refusal(403, "a program sends the token as a bearer token, not as a cookie.")
        if self._site.root_path and visitor.path == "":
            await _slash(self._site.root_path)(scope, receive, send)
            return
        receive = await self._limited(visitor, receive)
        await self._app(scope, receive, self._audit.listen(visitor, send))

    def _without_prefix(self, scope: Scope) -> Scope:
        """The request as if a proxy had stripped the prefix; proxies say nothing else that is believed."""
        path, raw, root = scope["path"], scope.get("raw_path") or b"", self._site.root_path
        if root and (path == root or path.startswith(f"{root}/")):
            path, raw = path.removeprefix(root), raw.removeprefix(root.encode())
        kept = [
            (name, value)
            for name, value in scope["headers"]
            if not name.startswith(b"x-forwarded-") and name not in (b"forwarded", b"x-original-url", b"x-rewrite-url")
        ]
        return {**scope, "path": path, "raw_path": raw, "root_path": "", "headers": kept}

    def _check_size(self, scope: Scope) -> None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_ADDRESS:
            raise Refusal(414, "the address is too long.")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
            raise Refusal(431, "the headers are too long.")

    def _check_place(self, visitor: Visitor) -> None:
        """The host that is asked must be this one."""
        name = visitor.host_name
        if not name or not (name in self._names or (self._any_address and visitor.host_is_address)):
            raise Refusal(421, "this name is not the studio's. If it is, start it with --public_host NAME.")

    def _check_page(self, visitor: Visitor) -> None:
        """A page that asks must be ours; a link that a person follows may stand anywhere."""
        if visitor.origin and not self._is_ours(visitor):
            raise Refusal(
                403, "a page of another origin asks. If it is the studio's own, start it with --public_host NAME."
            )
        opens_page = visitor.method == "GET" and visitor.mode == "navigate"
        if visitor.site not in ("", "none", "same-origin") and not opens_page:
            raise Refusal(403, "a page of another site asks.")

    def _is_ours(self, visitor: Visitor) -> bool:
        """Whether an Origin names the host that is asked, or a name given at the start."""
        name, port, standard = visitor.origin_place
        if not name:
            return False
        same = (name, port or standard) == (visitor.host_name, visitor.host_port or standard)
        return same or name in self._public

    async def _limited(self, visitor: Visitor, receive: Receive) -> Receive:
        """The body, within its limits."""
        if visitor.method in ("GET", "HEAD", "OPTIONS"):
            return receive
        if visitor.path in UPLOADS:
            return _counted(receive, visitor.headers, MOST_UPLOAD)
        return await _whole(receive, visitor.headers, MOST_BODY)


def _said(headers: Mapping[str, str]) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else MOST_UPLOAD + 1


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"a request may have at most {most:,} bytes here.")


def _counted(receive: Receive, headers: Mapping[str, str], most: int) -> Receive:
    """A body that is read as it comes and ends when it is too long."""
    if _said(headers) > most:
        raise _too_large(most)
    size = 0

    async def count() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            # Raised where the application reads: it makes an answer of this kind.
            raise HTTPException(413, _too_large(most).sentence)
        return message

    return count


async def _whole(receive: Receive, headers: Mapping[str, str], most: int) -> Receive:
    """A body that has come as a whole, and in time."""
    if _said(headers) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    parts.clear()
                    break
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise _too_large(most)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {BODY_S} s.") from None
    held: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

    async def again() -> Message:
        return held.pop() if held else await receive()

    return again


def _slash(root_path: str) -> Response:
    """From /prefix to /prefix/: what the page loads lies beside it."""
    return RedirectResponse(f"{root_path}/", 308)
