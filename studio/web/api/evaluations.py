"""What was measured, of a run and of models without one, for the page: every kept evaluation, and the rows of one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Response

from studio.evaluate.kept import FOLDER, as_csv
from studio.jobs.look import folder_in
from studio.web.api.news import found, named_like_a_route
from studio.web.evaluations import elsewhere, listed, one_elsewhere, whole
from studio.web.jobs_view import View
from studio.web.site import Site


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
        return _there(whole(folder / FOLDER, file) if folder else None, file)


def routes(site: Site) -> APIRouter:
    """The routes of evaluations that belong to no run, below /api."""
    router = APIRouter(tags=["evaluations"])
    place = site.workspace

    @router.get("/evaluations")
    def past() -> dict[str, Any]:
        """Evaluations of models that belong to no run, the newest first, without rows; how many older there are."""
        found, older = elsewhere(place)
        return {"evaluations": found, "older": older}

    @router.get("/evaluations/{folder}/{file}")
    def one(folder: str, file: str) -> dict[str, Any]:
        """One of them with its rows."""
        return _there(one_elsewhere(place, folder, file), file)

    @router.get("/evaluations/{folder}/{file}/csv")
    def table(folder: str, file: str) -> Response:
        """The same as CSV: a line for each model, group and measure."""
        text = as_csv(_there(one_elsewhere(place, folder, file), file))
        return Response(text, media_type="text/csv", headers={"Content-Disposition": "attachment"})

    return router


def _there(kept: dict[str, Any] | None, file: str) -> dict[str, Any]:
    if kept is None:
        raise HTTPException(404, f"there is no evaluation {file[:200]!r} here. It may have been removed.")
    return kept
