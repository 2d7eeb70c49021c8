"""Who may speak to the server: host names, origins, the key, and how much a request may hold.

A page in a browser can reach a server on this machine: by a foreign Origin, or by a name of its own that
it lets point here. Neither is served. Nothing that a proxy says about names is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.errors import UsageError
from studio.serve.refusal import Refusal

KEYS = ("STUDIO_API_KEY", "API_KEY")
NO_KEYS = ("", "empty", "none", "null", "token-abc123", "sk-no-key-required")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Anybody may ask whether the server is there.
OPEN_PATHS = ("/health",)
# A context of a million tokens is some 5 MB of text. Bodies are held whole, and many may come at once.
MOST_BYTES = 8 * 2**20
# An address of IPv6 in brackets, or a name; then a port.
HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*))(?::[0-9]*)?")
# Time in which a body must have come.
BODY_S = 30


class Guard:
    """An application behind its checks. `key` empty: none is asked for."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        names: frozenset[str],
        any_address: bool,
        most_bytes: int = MOST_BYTES,
        body_s: float = BODY_S,
    ) -> None:
        self._app, self._names, self._any_address = app, names, any_address
        self._most_bytes, self._body_s = most_bytes, body_s
        self._key = _digest(key) if key else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what passes; refuse the rest in OpenAI's form."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            body = await self._body(scope, receive)
        except Refusal as refusal:
            await refusal.response(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    def _check(self, scope: Scope) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise Refusal(
                421, "the Host of the request is not this server. If it is, start it with --public_host.", code="host"
            )
        if "origin" in headers or headers.get("sec-fetch-site", ["none"]) not in (["none"], ["same-origin"]):
            raise Refusal(403, "pages in a browser are not served: the request has an Origin.", code="origin")
        if self._key and scope["path"].rstrip("/") not in OPEN_PATHS:
            given = headers.get("authorization", [])
            kind, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
            same = hmac.compare_digest(_digest(key.strip()), self._key)
            if kind.lower() != "bearer" or not same:
                raise Refusal(401, "the key is missing or wrong; send it as a bearer token.", code="invalid_api_key")

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, None when the client has left. Raises Refusal when it is too long or too slow."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        said = int(length) if length.isdigit() and len(length) < 20 else 0
        size, parts = 0, list[bytes]()
        try:
            async with asyncio.timeout(self._body_s):
                while max(said, size) <= self._most_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size <= self._most_bytes and not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {self._body_s:g} s.", code="too_slow") from None
        raise Refusal(413, f"a request may have at most {self._most_bytes:,} bytes.", code="body_too_large")

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host.strip().lower()).rstrip(".")
        return name in self._names or (self._any_address and _is_address(name))


def find_key(environment: Mapping[str, str]) -> str:
    """The key that clients must send, or '' for none. Raises UsageError for one that protects nothing."""
    name = next((name for name in KEYS if name in environment), "")
    key = environment.get(name, "")
    if name and (key.strip().lower() in NO_KEYS or not key.isascii() or not key.isprintable() or " " in key):
        raise UsageError(
            f"{name} must be a key that nobody guesses, of printable ASCII without blanks; it is empty, a placeholder "
            f"or holds other characters. Make one with `openssl rand -hex 24`, or unset {name}."
        )
    return key


def check_open(host: str, key: str) -> None:
    """Refuse to listen for other machines without a key. Raises UsageError."""
    if not is_loopback(host) and not key:
        raise UsageError(
            f"--host {host} lets other machines ask, so a key is needed. Set STUDIO_API_KEY in the environment, "
            "or leave --host at 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def names_of(host: str, public: Iterable[str]) -> frozenset[str]:
    """The names under which a server at `host` may be asked."""
    # Its full name would have to be asked of the network, which may take long.
    own = () if is_loopback(host) else (socket.gethostname().lower(),)
    return frozenset([*LOOPBACK, host.lower(), *own, *(name.lower() for name in public)])


def _digest(key: str) -> bytes:
    # Of equal length, so that comparing tells nothing about the length either.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _without_port(host: str) -> str:
    """The name in a Host; '' for one that is none, as where something else than a port follows."""
    found = HOST.fullmatch(host)
    return (found[1] or found[2]) if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, and then what else comes."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return whole.pop() if whole else await receive()

    return again


def told_names() -> list[str]:
    """Sentences about settings of other programs that stand in the environment and are not read."""
    ours: dict[str, Any] = {"API_HOST": "host", "API_PORT": "port", "API_MODEL_NAME": "served_model_name"}
    return [f"{name} is set and not read; write --{flag}." for name, flag in ours.items() if name in os.environ]
