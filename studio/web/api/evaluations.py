"""What was measured of a run, for the page: every kept evaluation, and the rows of one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from studio.jobs.look import folder_in
from studio.web.api.news import found, named_like_a_route
from studio.web.evaluations import listed, whole
from studio.web.jobs_view import View


def add_evaluations(api: APIRouter, view: View) -> None:
    """The routes of this subject, below those of jobs."""

    @api.get("/jobs/{id:path}/evaluations")
    def evaluations(id: str) -> dict[str, Any]:
        """Every evaluation that the run's folder holds, oldest first: measures, groups, differences; no rows."""
        if run := named_like_a_route(view, id, "evaluations"):
            return view.whole(run)
        folder = folder_in(found(view, id))
        return {"evaluations": listed(folder) if folder else []}

    @api.get("/jobs/{id:path}/evaluations/{file}")
    def evaluation(id: str, file: str) -> dict[str, Any]:
        """One of them with its rows."""
        folder = folder_in(found(view, id))
        kept = whole(folder, file) if folder else None
        if kept is None:
            raise HTTPException(404, f"there is no evaluation {file[:200]!r} in this run. It may have been removed.")
        return kept
