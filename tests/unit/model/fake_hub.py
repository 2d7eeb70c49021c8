"""A hub on loopback: the addresses of Hugging Face and of ModelScope that reading needs, in one small server.

The name of a repository says how the hub behaves: gated, gone, private, never (it does not answer),
slow (a byte a second), trouble (503), login (a page in HTML), cut (the first try of a file breaks off),
wrong (another content than the checksum says).
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STATUS = {"gated": 403, "gone": 404, "private": 401, "trouble": 503}


class FakeHub:
    """Repositories as {name: {path: content}}; `asked` are the requests in their order."""

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        self.repositories = repositories
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.broken: set[str] = set()
        hub = self

        class Handler(_Handler):
            fake = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.fake.asked.append(f"{self.command} {self.path}")
        self.fake.headers.append(dict(self.headers))
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:2] == ["api", "v1"]:
            self.modelscope(parts[2:], {name: values[0] for name, values in parse_qs(url.query).items()})
        elif parts[0] == "api":
            self.listing(parts[1:])
        else:
            parts = parts[1:] if parts[0] == "datasets" else parts
            self.file("/".join(parts[:2]), "/".join(parts[4:]))

    def listing(self, parts: list[str]) -> None:
        name, what = "/".join(parts[1:3]), parts[3] if len(parts) > 3 else "revision"
        if self.misbehaves(name) or (not self.known(name)):
            return
        if len(parts) > 4 and parts[4] not in ("main", COMMIT):
            self.answer(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
            return
        files = self.fake.repositories[name]
        if what == "tree":
            self.json([{"type": "file", "path": path, "size": len(c), "oid": _oid(c)} for path, c in files.items()])
            return
        siblings = [{"rfilename": path, "size": len(files[path]), "blobId": _oid(files[path])} for path in files]
        self.json({"_id": "1", "id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})

    def file(self, name: str, path: str) -> None:
        content = self.fake.repositories[name][path]
        if name.endswith("late-gated"):
            self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
            return
        self.content(name, path, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})

    def modelscope(self, parts: list[str], asked: dict[str, str]) -> None:
        name = "/".join(parts[1:3])
        if self.misbehaves(name) or not self.known(name):
            return
        if asked.get("Revision") != "master":
            self.answer(404, b'{"Code": 404}')
            return
        files = self.fake.repositories[name]
        if parts[-1] == "repo":
            content = b"something else" if name.endswith("wrong") else files[asked["FilePath"]]
            self.content(name, asked["FilePath"], content, {})
            return
        page, size = int(asked.get("PageNumber", 1)), int(asked.get("PageSize", 100_000))
        top = asked["Recursive"] == "False"
        rows = [
            {"Path": path, "Name": path, "Size": len(content), "Type": "blob", "Sha256": _sha(content)}
            for path, content in files.items()
            if not (top and "/" in path)
        ]
        rows += [{"Path": "folder", "Type": "tree", "Size": 0}] if top else []
        self.json({"Code": 200, "Success": True, "Data": {"Files": rows[(page - 1) * size : page * size]}})

    def content(self, name: str, path: str, content: bytes, headers: dict[str, str]) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        status = 206 if start else 200
        whole, content = content, content[start:]
        if status == 206:
            headers = {**headers, "Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"}
        breaks = name.endswith("cut") and self.command == "GET" and path not in self.fake.broken
        if breaks and path.endswith((".safetensors", ".jsonl")):
            self.fake.broken.add(path)
            self.answer(status, content, headers, cut=len(content) // 2)
            self.close_connection = True
            return
        self.answer(status, content, headers)

    def known(self, name: str) -> bool:
        if name not in self.fake.repositories:
            self.answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return False
        return True

    def misbehaves(self, name: str) -> bool:
        manner = name.rpartition("/")[2]
        if manner == "never":
            time.sleep(60)
        elif manner == "slow":
            self.send_response(200)
            self.send_header("Content-Length", "60")
            self.end_headers()
            for _ in range(60):
                self.wfile.write(b" ")
                time.sleep(1)
        elif manner == "login":
            self.answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif manner in STATUS:
            codes = {"gated": {"X-Error-Code": "GatedRepo"}, "gone": {"X-Error-Code": "RepoNotFound"}}
            self.answer(STATUS[manner], b"{}", codes.get(manner, {}))
        else:
            return False
        return True

    def json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])


def _oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
