"""Our script comes first in the page, however it is asked for, and the page says where it lies."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from studio.jobs.store import Store
from studio.web.app import make_app
from studio.web.head import Head
from studio.web.site import Site
from studio.workspace import Workspace

TOKEN = "a-token-of-the-tests-0123456789"
BEARER = {"authorization": f"Bearer {TOKEN}"}
PREFIX = "/proxy/7860"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    place = Workspace(tmp_path_factory.mktemp("head"))
    site = Site(place, Store(place.root / ".studio" / "studio.db"), TOKEN, root_path=PREFIX)
    with TestClient(make_app(site), base_url="http://127.0.0.1:7860") as found:
        yield found


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br", "gzip, deflate, br, zstd", ""])
@pytest.mark.parametrize("path", ["/", f"{PREFIX}/"])
def test_our_script_is_the_first_of_the_page(client: TestClient, path: str, encoding: str) -> None:
    page = client.get(path, headers={**BEARER, "accept-encoding": encoding})
    head = page.text.partition("<head>")[2]
    assert head.startswith("<script>window.studioSettings = ")
    assert head.index("Object.defineProperty(navigator") < head.index("window.gradio_config =")
    assert page.headers["cache-control"] == "no-store"
    assert ("content-encoding" in page.headers) == ("gzip" in encoding)


def test_a_head_request_tells_of_the_page_without_it(client: TestClient) -> None:
    asked = {**BEARER, "accept-encoding": "identity"}
    told, page = client.head("/", headers=asked), client.get("/", headers=asked)
    assert told.status_code == 200
    assert told.content == b""
    assert abs(int(told.headers["content-length"]) - len(page.content)) < 200


def test_everything_that_the_page_loads_lies_below_the_prefix(client: TestClient) -> None:
    text = client.get("/", headers=BEARER).text
    assert f'<base href="{PREFIX}/">' in text
    assert f'href="{PREFIX}/studio/static/' in text
    assert "manifest.json" not in text.partition("window.gradio_config")[0]
    assert "githubusercontent" not in text


async def page_of(text: bytes, accepted: bytes) -> bytes:
    """What Head makes of a page that comes in two pieces."""

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": text[:5], "more_body": True})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": text[5:]})  # type: ignore[operator]

    sent = []

    async def keep(message: object) -> None:
        sent.append(message)

    headers = [(b"accept-encoding", accepted)]
    scope = {"type": "http", "path": "/", "method": "GET", "headers": headers}
    await Head(app, '/a"><script>')(scope, None, keep)  # type: ignore[arg-type]
    return b"".join(message["body"] for message in sent[1:])


def test_a_page_in_pieces_is_put_together_and_a_prefix_is_never_markup() -> None:
    import anyio

    plain = anyio.run(page_of, b"<html><head><title>x</title></head></html>", b"")
    assert plain.startswith(b"<html><head><script>window.studioSettings")
    assert b'"><script>' not in plain
    assert gzip.decompress(anyio.run(page_of, b"<html><head></head></html>", b"gzip")).endswith(b"</html>")
