"""Works for the page: what one will do, its start, how far it is, what came of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from studio.data.shards import index_of
from studio.errors import ArgumentError, StudioError
from studio.jobs.job import Job
from studio.jobs.store import folder_of
from studio.web.site import Site
from studio.web.working import draft, work_of
from studio.works.base import WORKS

# Of progress.jsonl only the last line is wanted.
TAIL_BYTES = 4096
LOOKED_AT, RECENT = 200, 8
# Of a folder of shards the first are shown.
SHARDS = 20


class Asked(BaseModel):
    """A form of a work; the same `request` twice is one job."""

    model_config = ConfigDict(extra="forbid")

    values: dict[str, Any] = {}
    request: str = ""


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["works"])
    _add_shards(router, site)

    @router.get("/works")
    def works() -> list[dict[str, Any]]:
        """Every work: its name, its words, the argument that names what it writes."""
        return [
            {"name": name, "words": list(WORKS[name].words), "output": WORKS[name].output, "kind": WORKS[name].kind}
            for name in WORKS
        ]

    @router.post("/works/{name}/preview")
    def preview(name: str, asked: Asked) -> dict[str, Any]:
        """The command, what it writes, and everything that stands in the way."""
        return draft(site, WORKS[name], asked.values).told(site.workspace)

    @router.post("/works/{name}")
    def start(name: str, asked: Asked) -> dict[str, Any]:
        """Put it into the queue."""
        made = draft(site, WORKS[name], asked.values)
        if made.asked is None or made.complaints:
            raise ArgumentError(made.complaints)
        job = site.store.submit(
            made.work.kind,
            made.argv,
            title=made.title(site.workspace),
            output=os.path.realpath(made.target) if made.target else "",
            request=asked.request,
            environment=site.environment,
        )
        return _about(job)

    @router.get("/works/{name}/jobs")
    def recent(name: str) -> list[dict[str, Any]]:
        """The newest jobs of this work, the newest first."""
        found = site.store.jobs(kinds=(WORKS[name].kind,), limit=LOOKED_AT)
        return [_about(job) for job in found if work_of(job) is WORKS[name]][:RECENT]

    @router.get("/works/jobs/{number}")
    def news(number: int) -> dict[str, Any]:
        """Where one stands, and what came of it when it has ended well."""
        job = site.store.get(number)
        work = work_of(job)
        if work is None:
            raise StudioError(f"job {number} is none of these works, but {job.kind}. Look at it in the list of jobs.")
        folder = folder_of(site.workspace, number)
        return {
            **_about(job), "work": work.name, "sentence": job.sentence, "started": job.started, "ended": job.ended,
            "progress": last_line(folder / "progress.jsonl"),
            "result": read_object(folder / "result.json") if job.state == "succeeded" else None,
        }  # fmt: skip

    return router


def _add_shards(router: APIRouter, site: Site) -> None:
    @router.get("/works/shards")
    def shards(folder: str) -> dict[str, Any]:
        """What the index of a folder of shards lists: how many there are, and the first of them."""
        index = index_of(site.workspace.path(folder))
        if index is None:
            raise StudioError(f"{folder[:200]!r} is no folder of shards: it has no index.json. It may have been moved.")
        first = [
            {"name": each.name, "rows": each.rows, "packed": each.packed, "unpacked": each.unpacked}
            for each in index.shards[:SHARDS]
        ]
        return {"count": len(index.shards), "shards": first}


def _about(job: Job) -> dict[str, Any]:
    return {
        "id": job.id, "kind": job.kind, "state": job.state, "title": job.title, "active": job.active,
        "argv": list(job.argv),
    }  # fmt: skip


def last_line(path: Path) -> Any:
    """The last whole line of a file as JSON; None when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1]) if lines else None
    except (OSError, ValueError):
        return None


def read_object(path: Path) -> Any:
    """A file as JSON; None when there is none, or none that is whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
