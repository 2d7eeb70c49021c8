"""Puts our script first into the head of the page, before anything of Gradio's runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.web.language import LANGUAGES, TAGS, strings

STATIC = Path(__file__).parent / "static"


def version() -> str:
    """A mark that changes with any script or string, so that a browser may keep them for ever."""
    found = hashlib.sha256()
    for path in sorted(STATIC.rglob("*.*")):
        found.update(path.read_bytes())
    for code in LANGUAGES:
        found.update(json.dumps(strings(code)).encode())
    return found.hexdigest()[:12]


def script(root_path: str) -> bytes:
    """The element to insert: settings for the scripts, and the language."""
    settings = {"root": root_path, "version": version(), "languages": LANGUAGES, "tags": TAGS}
    # "<" must not end the element, whatever the path holds.
    plain = json.dumps(settings, ensure_ascii=True).replace("<", "\\u003c")
    first = (STATIC / "first.js").read_text(encoding="utf-8")
    style = f'<link rel="stylesheet" href="{root_path}/studio/static/studio.css?v={settings["version"]}">'
    return f"<script>window.studioSettings = {plain};\n{first}</script>{style}".encode()


class Head:
    """An application whose HTML pages begin with our script."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._script = app, script(root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; change pages only."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Compressed pages could not be read here; the guard behind a proxy compresses nothing either.
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        is_page = scope["path"].rstrip("/") in ("", scope.get("root_path", "").rstrip("/"))
        held: list[Message] = []
        body = bytearray()

        async def insert(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            start = held.pop()
            page = bytes(body).replace(b"<head>", b"<head>" + self._script, 1)
            kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            await send({**start, "headers": [*kept, (b"content-length", str(len(page)).encode())]})
            await send({"type": "http.response.body", "body": page})

        if is_page and scope["method"] in ("GET", "HEAD"):
            await self._app({**scope, "headers": headers}, receive, insert)
        else:
            await self._app(scope, receive, send)
