"""How the page is served: the address that opens it, and the server behind it."""

from __future__ import annotations

import re
import signal
import socket
import urllib.parse
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from studio.errors import ArgumentError
from studio.serve.guard import is_loopback
from studio.web.site import Site

# What is being answered when the server is told to end is given so long.
END_S = 3
# Connections at once; more are turned away before anything is read of them.
CONNECTIONS = 512
# Line and headers of a request together.
MOST_HEAD = 32 * 1024
PUBLIC = re.compile(r"(?:(https?)://)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?/?")


def public_host(asked: str) -> tuple[str, str, str]:
    """Scheme, name and port ("" where none is said) of a name given by --public_host. Raises ArgumentError."""
    found = PUBLIC.fullmatch(asked.strip().lower())
    if found is None:
        raise ArgumentError(
            [f"--public_host {asked}: must be a host name such as studio.example.org, with a port and https:// or not."]
        )
    return found[1] or "", found[2], found[3] or ""


def frame_ancestor(asked: str) -> str:
    """The origin of a page that may frame this one. Raises ArgumentError for anything that is more."""
    scheme, name, port = public_host(asked)
    if not scheme:
        raise ArgumentError([f"--frame_ancestor {asked}: must begin with https:// or http://."])
    return f"{scheme}://{name}{port}"


def address_of(site: Site) -> str:
    """The address that opens the page: with the token, and as a browser reaches it."""
    if site.public_hosts:
        scheme, name, port = public_host(site.public_hosts[0])
        # Proxies speak TLS; a name of this machine is reached as it is.
        scheme = scheme or ("http" if is_loopback(name.strip("[]")) else "https")
        place = f"{name}{port}"
    else:
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        name = everywhere.get(site.host, site.host)
        scheme, place = "http", f"[{name}]:{site.port}" if ":" in name else f"{name}:{site.port}"
    return f"{scheme}://{place}{site.root_path}/?token={urllib.parse.quote(site.token, safe='')}"


def serve(app: ASGIApp, taken: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until the process is told to end by SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,
        # Whatever else is installed: one parser of requests, and nothing that is no request.
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        # What a proxy says about names and addresses is not believed.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=MOST_HEAD,
        timeout_graceful_shutdown=END_S,
    )
    server = _Server(config, ready)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.told_to_end)
    server.run(sockets=[taken])


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self._ready()

    def told_to_end(self, *_: object) -> None:
        """A signal before uvicorn waits for signals itself, or the same one after it has served its purpose."""
        self.should_exit = True
