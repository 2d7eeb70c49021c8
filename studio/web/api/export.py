"""Export, for the page: what it will do, its start, how far it is, what came out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from studio.errors import ArgumentError, StudioError
from studio.jobs.store import folder_of
from studio.web.exporting import draft
from studio.web.site import Site

# Of progress.jsonl only the last line is wanted.
TAIL_BYTES = 4096
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
            "progress": _last_line(folder / "progress.jsonl"),
            "result": _object(folder / "result.json") if job.state == "succeeded" else None,
        }

    return router


def _last_line(path: Path) -> Any:
    """The last whole line of a file as JSON; None when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1]) if lines else None
    except (OSError, ValueError):
        return None


def _object(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
