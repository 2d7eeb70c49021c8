"""Reverse proxies as they stand before notebooks: one strips its prefix and renames the host, one keeps both."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PREFIX = "/user/nb/proxy/7860"


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `upstream`; `outside` are paths that were asked for beside the prefix."""

    daemon_threads = True

    def __init__(self, *, strips: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.strips, self.upstream = strips, ("127.0.0.1", 0)
        self.outside: list[str] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        if not self.path.startswith(PREFIX):
            self.server.outside.append(self.path)
            self.send_error(404)
            return
        path = self.path.removeprefix(PREFIX) if self.server.strips else self.path
        headers = dict(self.headers)
        if self.server.strips:
            headers |= {"Host": ":".join(map(str, self.server.upstream)), "X-Forwarded-Host": self.server.place}
        body = self.rfile.read(int(headers.get("Content-Length", 0)))
        asked = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        try:
            asked.request(self.command, path or "/", body, headers)
            answer = asked.getresponse()
            told = answer.read()
        finally:
            asked.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing: a token may stand in an address."""


@contextmanager
def proxies() -> Iterator[tuple[Proxy, Proxy]]:
    """One that strips the prefix, one that keeps it."""
    found = Proxy(strips=True), Proxy(strips=False)
    threads = [threading.Thread(target=one.serve_forever, daemon=True) for one in found]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for one, thread in zip(found, threads, strict=True):
            one.shutdown()
            thread.join()
            one.server_close()
