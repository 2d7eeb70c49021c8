"""Who did what, one JSON line each, in .studio/audit.jsonl: logins, jobs, exports, changes of the registry."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time

from starlette.types import Message, Send

from studio.web.site import Site
from studio.web.visitor import Visitor

# Asked by POST because they carry much, but nothing changes.
ONLY_ASKS = re.compile(
    r"/api/(recipe|recipe/read|preflight(/\d+)?|jobs/diff|export/preview|datasets/(rows|look|try|registry/check)"
    r"|serve/\d+/(v1/.*|prompt))"
)
MOST_HELD = 4096


class Audit:
    """Writes the lines. What was typed, tokens and keys never stand in one."""

    def __init__(self, site: Site) -> None:
        self._path = site.workspace.root / ".studio" / "audit.jsonl"
        self._who = hashlib.sha256(site.token.encode()).hexdigest()[:8]
        self._lock = threading.Lock()

    def write(self, what: str, visitor: Visitor, **more: object) -> None:
        """Add a line; a disk that is full must not keep anybody from stopping a job."""
        line = {"time": round(time.time(), 3), "what": what, "from": visitor.address, "token": self._who, **more}
        with self._lock, contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "a", encoding="utf-8") as out:
                out.write(json.dumps(line, ensure_ascii=True) + "\n")

    def listen(self, visitor: Visitor, send: Send) -> Send:
        """Send, and write a line when something was changed."""
        changes = visitor.method in ("POST", "PUT", "PATCH", "DELETE") and visitor.path.startswith("/api/")
        if not changes or ONLY_ASKS.fullmatch(visitor.path):
            return send
        status = 0
        body = bytearray()

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif len(body) <= MOST_HELD:
                body.extend(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                more = {"job": job} if (job := _job_in(bytes(body))) is not None else {}
                self.write(f"{visitor.method} {visitor.path[:300]}", visitor, status=status, **more)

        return tell


def _job_in(body: bytes) -> int | None:
    """The number of the job that an answer tells of."""
    if len(body) > MOST_HELD:
        found = re.match(rb'\{"id":\s?(\d{1,18}),', body)
        return int(found[1]) if found else None
    try:
        told = json.loads(body)
    except ValueError:
        return None
    number = told.get("id") if isinstance(told, dict) else None
    return number if isinstance(number, int) else None
