"""Puts our script first into the head of the page, before anything of Gradio's runs."""

from __future__ import annotations

import functools
import gzip
import hashlib
import html
import json
import re
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.web.language import LANGUAGES, TAGS, strings

STATIC = Path(__file__).parent / "static"
# Gradio's page asks for these at the root of the host, behind a proxy at somebody else's; and it names
# pictures of its own house, which nobody asks for, as those of this page.
UNWANTED = re.compile(rb'<link rel="manifest"[^>]*>|<meta\s+(?:property="og:|name="twitter:)[^>]*>')
BASE = re.compile(rb"<base [^>]*>")


@functools.cache
def version() -> str:
    """A mark that changes with any script or string, so that a browser may keep them for ever."""
    found = hashlib.sha256()
    for path in sorted(STATIC.rglob("*.*")):
        found.update(path.read_bytes())
    for code in LANGUAGES:
        found.update(json.dumps(strings(code)).encode())
    return found.hexdigest()[:12]


def script(root_path: str) -> bytes:
    """What the head begins with: settings for the scripts, the language, the style."""
    settings = {"root": root_path, "version": version(), "languages": LANGUAGES, "tags": TAGS}
    # "<" must not end the element, whatever the path holds.
    plain = json.dumps(settings, ensure_ascii=True).replace("<", "\\u003c")
    first = (STATIC / "first.js").read_text(encoding="utf-8")
    place = f"{html.escape(root_path, quote=True)}/studio/static/{version()}"
    return "".join(
        [
            f"<script>window.studioSettings = {plain};\n{first}</script>",
            f'<link rel="stylesheet" href="{place}/studio.css">',
            f'<link rel="icon" type="image/svg+xml" href="{place}/icon.svg">',
            f'<link rel="modulepreload" href="{place}/studio.js">',
        ]
    ).encode()


class Head:
    """An application whose HTML page begins with our script."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._script = app, script(root_path)
        # Whatever the address of the page ends with, what it loads lies below the prefix.
        self._base = f'<base href="{html.escape(root_path, quote=True)}/">'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; change the page only."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        accepted = dict(scope["headers"]).get(b"accept-encoding", b"")
        # A compressed page could not be read here; it is compressed when it is whole.
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"accept-encoding", b"range")]
        started: list[Message] = []
        body = bytearray()

        async def insert(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            await self._send_page(started[0], bytes(body), accepted, scope["method"] == "HEAD", send)

        # A HEAD is answered by what GET would send, without its body.
        await self._app({**scope, "method": "GET", "headers": headers}, receive, insert)

    async def _send_page(self, start: Message, body: bytes, accepted: bytes, bare: bool, send: Send) -> None:
        page = self._changed(body) if start["status"] == 200 else body
        ours = [(b"cache-control", b"no-store"), (b"vary", b"accept-encoding")]
        if b"gzip" in accepted:
            page = gzip.compress(page, 5, mtime=0)
            ours.append((b"content-encoding", b"gzip"))
        replaced = (b"content-length", b"cache-control", b"vary", b"etag", b"link")
        kept = [(name, value) for name, value in start["headers"] if name.lower() not in replaced]
        await send({**start, "headers": [*kept, *ours, (b"content-length", str(len(page)).encode())]})
        await send({"type": "http.response.body", "body": b"" if bare else page})

    def _changed(self, page: bytes) -> bytes:
        head, mark, rest = page.partition(b"<head>")
        # Only in what stands before the configuration: nothing of that is touched.
        top, config, below = rest.partition(b"window.gradio_config")
        top = BASE.sub(self._base, UNWANTED.sub(b"", top), count=1)
        return head + mark + self._script + top + config + UNWANTED.sub(b"", below)
