"""Export, for the page: what it will do, its start, how far it is, what came out."""

from __future__ import annotations

import os
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from studio.errors import ArgumentError, StudioError
from studio.jobs.store import folder_of
from studio.web.api.works import last_line, read_object
from studio.web.exporting import draft
from studio.web.site import Site

RECENT = 6


class Asked(BaseModel):
    """A form of the Export tab; the same `request` twice is one job."""

    model_config = ConfigDict(extra="forbid")

    values: dict[str, Any] = {}
    request: str = ""


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["export"])

    @router.post("/export/preview")
    def preview(asked: Asked) -> dict[str, Any]:
        """The command, the full target, sizes and disk; everything that stands in the way."""
        return draft(site, asked.values).told(site.workspace)

    @router.post("/export")
    def start(asked: Asked) -> dict[str, Any]:
        """Put the export into the queue."""
        made = draft(site, asked.values)
        if made.asked is None or made.target is None or made.complaints:
            raise ArgumentError(made.complaints or ["--export_dir must name the folder to write; it is empty."])
        job = site.store.submit(
            "export",
            made.argv,
            title=made.target.name,
            output=os.path.realpath(made.target),
            request=asked.request,
            environment=site.environment,
        )
        return {"id": job.id, "kind": job.kind, "state": job.state, "title": job.title}

    @router.get("/export")
    def recent() -> list[dict[str, Any]]:
        """The newest exports, the newest first."""
        return [
            {"id": job.id, "state": job.state, "title": job.title, "active": job.active}
            for job in site.store.jobs(kinds=("export",), limit=RECENT)
        ]

    @router.get("/export/{number}")
    def news(number: int) -> dict[str, Any]:
        """Where an export stands, and its result when it has ended well."""
        job = site.store.get(number)
        if job.kind != "export":
            raise StudioError(f"job {number} is no export, but {job.kind}. Look at it in the list of jobs.")
        folder = folder_of(site.workspace, number)
        return {
            "id": job.id,
            "state": job.state,
            "active": job.active,
            "title": job.title,
            "sentence": job.sentence,
            "started": job.started,
            "ended": job.ended,
            "progress": last_line(folder / "progress.jsonl"),
            "result": read_object(folder / "result.json") if job.state == "succeeded" else None,
        }

    return router
