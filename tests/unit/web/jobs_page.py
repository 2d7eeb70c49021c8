"""A workspace with the routes of jobs alone, and folders as `studio train` leaves them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from studio.jobs import steps
from studio.jobs.steps import Ending
from studio.jobs.store import store_of
from studio.web.api import jobs as routes_of_jobs
from studio.web.app import _tell
from studio.web.site import Site
from studio.workspace import Workspace

COMMAND = ("train", "--stage", "sft", "--model_name_or_path", "models/m", "--learning_rate", "0.001")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("saves", "models", "data"):
        (tmp_path / name).mkdir()
    place = Workspace(tmp_path.resolve())
    return Site(place, store_of(place), token="secret")


def client_of(site: Site) -> TestClient:
    """A browser without a page."""
    app = FastAPI()
    app.include_router(routes_of_jobs.routes(site), prefix="/api")
    _tell(app)
    return TestClient(app, base_url="http://studio/api")


@pytest.fixture
def api(site: Site) -> Iterator[TestClient]:
    with client_of(site) as client:
        yield client
    site.store.close()


def write_run(folder: Path, *, attempt: dict[str, Any] | None = None, **more: Any) -> Path:
    """A run folder as `studio train` leaves one."""
    folder.mkdir(parents=True)
    began = {"started": "2026-11-01T10:00:00+0000", "resumed_from": None, "packages": {"torch": "2"}}
    record = {
        "schema": 1, "command": "studio train --stage sft --learning_rate 0.001",
        "recipe": {"stage": "sft", "model_name_or_path": "models/m", "learning_rate": "0.001"},
        "started": "2026-11-01T10:00:00+0000", "finished": None, "attempts": [began | (attempt or {})], **more,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def write_points(folder: Path, count: int, start: int = 1) -> None:
    with (folder / "progress.jsonl").open("a") as out:
        for step in range(start, start + count):
            out.write(json.dumps({"step": step, "total_steps": 10_000, "loss": 10 / step}) + "\n")


def submit(site: Site, name: str = "one", **more: Any) -> int:
    return site.store.submit("train", COMMAND, title=name, output=f"saves/m/lora/{name}", **more).id


def end(site: Site, id: int, state: str = "failed", code: int = 10, **more: Any) -> None:
    """Let a waiting job run and end without a process."""
    job = steps.take(site.store, id)
    assert job is not None
    steps.finish(site.store, id, job.attempt, Ending(state, code, **more))  # type: ignore[arg-type]
