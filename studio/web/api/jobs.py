"""Jobs, for the page: lists, one of them, its news, and what may be asked of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from studio.command import to_text
from studio.errors import ArgumentError, StudioError, WorkspaceError
from studio.jobs.identity import send
from studio.jobs.job import Job
from studio.jobs.lineage import dependants, discard_run
from studio.jobs.look import folder_in, recipe_in
from studio.jobs.runs import RunRow, read_run
from studio.jobs.slots import check_devices
from studio.jobs.store import DEFAULTS
from studio.web.api.evaluations import add_evaluations
from studio.web.api.news import add_news, add_samples, brief, named_like_a_route
from studio.web.api.news import found as found_in
from studio.web.jobs_view import WHY_NOT, View
from studio.web.site import Site

MOST_COMPARED = 8
TITLE = 200
Action = Literal["stop", "kill", "pause", "resume", "retry"]


class Body(BaseModel):
    """What the page posts; a name that is not known is an error, not nothing."""

    model_config = ConfigDict(extra="forbid")


class Start(Body):
    """Values of the form; the same `request` again starts nothing twice."""

    values: dict[str, Any]
    devices: list[str] = Field(default=[], max_length=64)
    request: str = Field(default="", max_length=100)
    model_name: str = Field(default="", max_length=1000)
    run_name: str = Field(default="", max_length=1000)


class Move(Body):
    """The waiting job to stand before; null is the end of the queue."""

    before: int | None = None


class Compare(Body):
    """Jobs and runs whose recipes are held against each other."""

    ids: list[int | str] = Field(min_length=2, max_length=MOST_COMPARED)


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    api = APIRouter(tags=["jobs"])
    view = View(site)
    _lists(api, view)
    _settings(api, view)
    add_news(api, view)
    add_samples(api, view)
    add_evaluations(api, view)
    _one(api, view)  # last: its paths take whatever is left
    return api


def _lists(api: APIRouter, view: View) -> None:
    @api.get("/jobs")
    def jobs(before: int | None = None) -> Response:
        """The newest jobs and the runs started outside; `before` gives the jobs older than one."""
        return Response(view.listing(before), media_type="application/json")

    @api.post("/jobs")
    def start(asked: Start) -> dict[str, Any]:
        """Queue a training."""
        from studio.web.form import compose

        made = compose(
            view.site, asked.values, model_name=asked.model_name, run_name=asked.run_name, devices=tuple(asked.devices)
        )
        if made.complaints:
            raise ArgumentError(list(made.complaints))
        check_devices(asked.devices)
        job = view.store.submit(
            "train", made.argv, title=made.output_dir.removeprefix("saves/")[:TITLE], devices=asked.devices,
            output=made.output_dir, request=asked.request, environment=view.site.environment,
        )  # fmt: skip
        return view.brief(job)

    @api.post("/jobs/diff")
    def diff(asked: Compare) -> list[dict[str, Any]]:
        """The arguments in which recipes differ: name and one value for each, null where it was not said."""
        found = [found_in(view, str(id)) for id in asked.ids]
        recipes = [_recipe(one, view) for one in found]
        defaults = _defaults([recipe.get("stage", "sft") for recipe in recipes])
        names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
        rows = [{"name": name, "values": [_value(recipe, name, defaults) for recipe in recipes]} for name in names]
        return [row for row in rows if len(set(row["values"])) > 1]


def _settings(api: APIRouter, view: View) -> None:
    @api.get("/settings")
    def settings() -> dict[str, int]:
        """How many jobs run at a time, and how long a stop may take."""
        return {name: view.store.setting(name) for name in DEFAULTS}

    @api.put("/settings")
    def change(asked: dict[str, int]) -> dict[str, int]:
        """Change some of them."""
        for name, value in asked.items():
            view.store.set_setting(name, value)
        return settings()


def _one(api: APIRouter, view: View) -> None:
    @api.get("/jobs/{id:path}/dependants")
    def needed(id: str) -> dict[str, Any]:
        """What would miss the folder of a run."""
        if run := named_like_a_route(view, id, "dependants"):
            return view.whole(run)
        return {"dependants": _dependants(found_in(view, id), view)}

    @api.post("/jobs/{id:path}/move")
    def move(id: str, asked: Move) -> dict[str, Any]:
        """Give a waiting job another place in the queue."""
        job = _job(view, id)
        _as_conflict(view.store.move, job.id, asked.before)
        return view.brief(view.store.get(job.id))

    @api.post("/jobs/{id:path}/{action}")
    def act(id: str, action: Action) -> dict[str, Any]:
        """Stop (saves first), kill, pause, resume or retry."""
        found = found_in(view, id)
        if isinstance(found, RunRow):
            return _act_outside(found, action, view)
        if action in ("resume", "retry"):
            if found.state == "succeeded" and found.kind != "serve":
                raise WorkspaceError(f"{found.name}: {WHY_NOT['finished']}.")
            from studio.web.trust import refuse_trust

            refuse_trust(view.site, found.argv)
            return view.brief(_as_conflict(view.store.again, found.id))
        return view.brief(_as_conflict(view.store.wish, found.id, action))

    @api.delete("/jobs/{id:path}")
    def delete(id: str, *, files: bool = False, force: bool = False) -> dict[str, Any]:
        """Forget a job, and with `files` remove its run's folder; `force` although something depends on it."""
        return _delete(found_in(view, id), view, files=files, force=force)

    @api.get("/jobs/{id:path}")
    def whole(id: str) -> dict[str, Any]:
        """Everything about one."""
        return view.whole(found_in(view, id))


def _job(view: View, id: str) -> Job:
    found = found_in(view, id)
    if isinstance(found, RunRow):
        raise WorkspaceError("a run that was started in a terminal has no place in the queue.")
    return found


def _as_conflict(change: Any, *words: Any) -> Any:
    """Do it; what the job's state does not allow is a conflict with it, not a wrong question."""
    try:
        return change(*words)
    except StudioError as error:
        if error.exit_code == StudioError.exit_code:
            raise WorkspaceError(str(error)) from None
        raise


def _act_outside(row: RunRow, action: Action, view: View) -> dict[str, Any]:
    """Signals go to the process that the run's record names, and only while it is that one."""
    refused = view.brief_run(row)["can"][action]
    if refused:
        raise WorkspaceError(f"{view.place.shown(row.folder)}: {refused}.")
    if action in ("stop", "kill"):
        if row.process is None or not send(row.process, signal.SIGTERM if action == "stop" else signal.SIGKILL):
            raise WorkspaceError(
                f"{view.place.shown(row.folder)}: its process cannot be told from others any more. "
                "End it where it was started."
            )
        return view.brief_run(row)
    from studio.web.form import refuse_words

    refuse_words(view.site, row.argv[1:])
    job = view.store.submit(
        "train", row.argv, title=view.place.shown(row.folder).removeprefix("saves/")[:TITLE],
        output=str(row.folder), environment=view.site.environment,
    )  # fmt: skip
    return view.brief(job)


def _dependants(found: Job | RunRow, view: View) -> list[dict[str, Any]]:
    folder = folder_in(found)
    if folder is None or not folder.is_dir():
        return []
    active = view.store.jobs(states=("queued", "starting", "running", "stopping"), limit=10_000)
    others = [job for job in active if not isinstance(found, Job) or job.id != found.id]
    return [view.relative(one) for one in dependants(view.place, folder, others)]


def _delete(found: Job | RunRow, view: View, *, files: bool, force: bool) -> dict[str, Any]:
    name = f"job {found.id}" if isinstance(found, Job) else view.place.shown(found.folder)
    if refused := brief(found, view)["can"]["delete"]:
        raise WorkspaceError(f"{name}: {refused}.")
    if isinstance(found, RunRow) and not files:
        raise WorkspaceError(f"{name} is listed for its folder; it can only be removed with its files.")
    folder = folder_in(found)
    if files and folder is not None and folder.is_dir():
        needed = [] if force else _dependants(found, view)
        if needed:
            told = ", ".join(str(each["title"]) for each in needed[:5])
            raise WorkspaceError(
                f"{view.place.shown(folder)} is still needed by {told}. Remove them first, or force it."
            )
        discard_run(folder, view.place)
    if isinstance(found, Job):
        _as_conflict(view.store.remove, found.id)
    return {"removed": name}


def _recipe(found: Job | RunRow, view: View) -> dict[str, str]:
    if isinstance(found, RunRow):
        return found.recipe
    row = read_run(Path(found.output)) if found.output else None
    return row.recipe if row and row.recipe else recipe_in(found.argv)


def _defaults(stages: list[str]) -> dict[str, Any]:
    """Name → default, where the stages agree."""
    from studio.recipe import arguments_of

    found: dict[str, Any] = {}
    for stage in dict.fromkeys(stages):
        try:
            found |= {name: argument.default for name, argument in arguments_of(stage).items()}
        except StudioError:
            continue
    return found


def _value(recipe: dict[str, str], name: str, defaults: dict[str, Any]) -> str | None:
    if name in recipe:
        return recipe[name]
    default = defaults.get(name)
    return None if default in (None, "", ()) else to_text(default)
