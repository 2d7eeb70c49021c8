"""A workspace with three small datasets and the routes of datasets alone, as the page's process has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from studio.jobs.store import Store
from studio.web.api import datasets
from studio.web.app import _tell
from studio.web.site import Site
from studio.workspace import Workspace

MODEL = {"model_name_or_path": "models/tiny-chat"}


@pytest.fixture
def site(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # As the page's process has it.
    monkeypatch.setenv("STUDIO_ROOTS", str(workspace.root))
    store = Store(workspace.root / ".studio" / "studio.db")
    yield Site(workspace, store, token="secret")
    store.close()


@pytest.fixture
def api(site: Site) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(datasets.routes(site), prefix="/api")
    _tell(app)
    with TestClient(app, base_url="http://studio/api", raise_server_exceptions=False) as client:
        yield client
