"""What happens in one job, for the page: its curve and log as they grow, the answers it rewarded, its scores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, JSONResponse, Response

from studio.jobs.job import ENDED, Job
from studio.jobs.look import log_path, own_path, progress_path
from studio.jobs.runs import RunRow
from studio.web.jobs_view import View
from studio.web.news import log_news
from studio.web.rollouts import ROLLOUTS, SCORES, Order, Rollouts, read_scores

MOST_SAMPLES = 50


def add_news(api: APIRouter, view: View) -> None:
    """The routes of the curve and the log."""

    @api.get("/jobs/{id:path}/news")
    def news(id: str, points: str = "", log: str = "") -> dict[str, Any]:
        """What came since: points of the curve after a cursor, text of the log after an offset."""
        if run := named_like_a_route(view, id, "news"):
            return view.whole(run)
        one = found(view, id)
        path = progress_path(one, view.place)
        has_points = not isinstance(one, Job) or (one.kind == "train" and one.attempt > 0)
        nothing = {"reset": points != "", "cursor": "", "rows": []}
        offset = int(log) if log.isascii() and log.isdigit() and len(log) < 18 else None
        return {
            "job": brief(one, view),
            "points": view.curves.news(path, points) if has_points else nothing,
            "log": log_news(log_path(one, view.place), offset, ended=one.state in ENDED),
        }

    @api.get("/jobs/{id:path}/log")
    def log(id: str) -> Response:
        """The whole log, to keep."""
        if run := named_like_a_route(view, id, "log"):
            return JSONResponse(view.whole(run))
        one = found(view, id)
        path = log_path(one, view.place)
        if not path.is_file():
            raise HTTPException(404, "there is no log yet.")
        name = f"job-{one.id}.log" if isinstance(one, Job) else f"{one.folder.name}.log"
        return FileResponse(path, media_type="text/plain; charset=utf-8", filename=name)


def add_samples(api: APIRouter, view: View) -> None:
    """The routes of what a run of reinforcement learning wrote, and of what a reward model was measured on."""
    rollouts = Rollouts()

    @api.get("/jobs/{id:path}/rollouts")
    def samples(
        id: str,
        step: int | None = None,
        order: Order = "newest",
        start: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        count: Annotated[int, Query(ge=1, le=MOST_SAMPLES)] = 10,
    ) -> dict[str, Any]:
        """A page of the answers that the run rewarded, of all steps or of the one nearest to `step`."""
        if run := named_like_a_route(view, id, "rollouts"):
            return view.whole(run)
        path = own_path(found(view, id), ROLLOUTS)
        nothing: dict[str, Any] = {"total": 0, "step": None, "steps": None, "spread": None, "rows": []}
        return rollouts.page(path, step=step, order=order, start=start, count=count) if path else nothing

    @api.get("/jobs/{id:path}/rollouts/{number}")
    def sample(id: str, number: int) -> dict[str, Any]:
        """One of them with its whole texts."""
        path = own_path(found(view, id), ROLLOUTS)
        row = rollouts.whole(path, number) if path else None
        if row is None:
            raise HTTPException(404, f"there is no answer {number} in this run; a resumed run writes some anew.")
        return row

    @api.get("/jobs/{id:path}/scores")
    def scores(id: str) -> dict[str, Any]:
        """How a reward model scores the pairs of each split: accuracy, margin, and histograms."""
        if run := named_like_a_route(view, id, "scores"):
            return view.whole(run)
        path = own_path(found(view, id), SCORES)
        return {"splits": read_scores(path) if path else {}}


def found(view: View, id: str) -> Job | RunRow:
    """The job or run of a name. Raises HTTPException when there is none."""
    one = view.find(id)
    if one is None:
        raise HTTPException(404, f"there is no job {id[:200]!r} here. It may have been removed.")
    return one


def named_like_a_route(view: View, id: str, last: str) -> RunRow | Job | None:
    """The run in a folder whose last name is that of a route, such as saves/m/news."""
    return view.find(f"{id}/{last}") if view.find(id) is None else None


def brief(one: Job | RunRow, view: View) -> dict[str, Any]:
    """A job or a run as lists show it."""
    return view.brief(one) if isinstance(one, Job) else view.brief_run(one)
