"""An application behind the guard, for the tests of the guard: it counts what reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from studio.jobs.store import Store
from studio.web.guard import Guard
from studio.web.site import Site
from studio.workspace import Workspace

TOKEN = "a-token-of-the-tests-0123456789"
HERE = "http://127.0.0.1:7860"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Behind:
    """The application behind the guard; `reached` are the paths that it was asked for."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.seen: dict[str, str] = {}
        methods = ["GET", "POST", "PUT", "DELETE", "PATCH"]
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=methods)])

    async def answer(self, request: Request) -> Response:
        self.reached.append(request.url.path)
        self.seen = dict(request.headers)
        body = await request.body()
        foreign = {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}
        return JSONResponse({"bytes": len(body)}, headers=foreign)


def site_of(root: Path, **more: object) -> Site:
    return Site(Workspace(root), Store(root / ".studio" / "studio.db"), TOKEN, port=7860, **more)  # type: ignore[arg-type]


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def client(tmp_path: Path, behind: Behind) -> Iterator[TestClient]:
    with TestClient(Guard(behind.app, site_of(tmp_path)), base_url=HERE, follow_redirects=False) as found:
        yield found


def enter(client: TestClient) -> None:
    """Open the address that the terminal shows."""
    assert client.get(f"/?token={TOKEN}").status_code == 303
