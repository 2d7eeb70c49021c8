"""Models to talk to, for the page: load one, ask it, let it go; and which of two answers was better."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from studio.errors import StudioError, UsageError, WorkspaceError
from studio.jobs.store import folder_of
from studio.web import preferences
from studio.web.proxy import PATHS, Endpoint, Passed, read_body, read_endpoint
from studio.web.serving import Load, command_of, is_news, title_of, told, why_not
from studio.web.site import Site

SHOWN = 50


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["serve"])
    _loading(router, site)
    _asking(router, site)
    _preferring(router, site)
    return router


def _loading(router: APIRouter, site: Site) -> None:
    @router.get("/serve")
    def loaded() -> dict[str, Any]:
        """Models that are loaded, are being loaded, or ended a short while ago; the newest first."""
        jobs = site.store.jobs(kinds=("serve",), limit=SHOWN)
        return {"models": [told(site, job) for job in jobs if is_news(job)]}

    @router.post("/serve", response_model=None)
    def load(asked: Load) -> dict[str, Any] | Response:
        """Start to load a model; refused while a training job owns the device, with the number of that job."""
        argv = command_of(site, asked)
        if refusal := why_not(site, asked.devices):
            sentence, other = refusal
            return JSONResponse({"error": sentence, "complaints": [sentence], "job": other}, 409)
        job = site.store.submit(
            "serve",
            argv,
            title=title_of(asked),
            devices=asked.devices,
            request=asked.request,
            environment=site.environment,
        )
        return told(site, job)

    @router.post("/serve/{id}/unload")
    def unload(id: int) -> dict[str, Any]:
        """Let a model go: its process ends, and its memory is free."""
        _serve_job(site, id)
        return told(site, site.store.wish(id, "stop"))


def _asking(router: APIRouter, site: Site) -> None:
    @router.api_route("/serve/{id}/v1/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    async def ask(id: int, path: str, request: Request) -> Response:
        """A request to a loaded model, in the form of OpenAI's API; answers come as they are written."""
        if PATHS.get(path) != request.method:
            known = ", ".join(f"{method} /v1/{name}" for name, method in PATHS.items())
            raise UsageError(f"{request.method} /v1/{path} is not passed on to a model; {known} are.")
        # The store and the files are read in a thread: a slow disk must not hold up other streams.
        endpoint = await asyncio.to_thread(_endpoint, site, id)
        return Passed(endpoint, path, await read_body(request))

    @router.post("/serve/{id}/prompt", include_in_schema=False)
    async def prompt(id: int, request: Request) -> Response:
        """What the model would read: the rendered prompt and its tokens."""
        return Passed(await asyncio.to_thread(_endpoint, site, id), "prompt", await read_body(request))


def _preferring(router: APIRouter, site: Site) -> None:
    @router.get("/preferences")
    def preferred() -> dict[str, Any]:
        """The dataset of preferred answers, and how many rows it has."""
        return {"name": preferences.NAME, "rows": preferences.count(site.workspace), "path": _path(site)}

    @router.post("/preferences")
    def prefer(asked: preferences.Preference) -> dict[str, Any]:
        """Write that one answer is better than another."""
        rows = preferences.add(site.workspace, asked)
        return {"name": preferences.NAME, "rows": rows, "path": _path(site)}


def _path(site: Site) -> str:
    return site.workspace.shown(preferences.file_of(site.workspace))


def _serve_job(site: Site, id: int) -> Any:
    job = site.store.get(id)
    if job.kind != "serve":
        raise StudioError(f"job {id} is no loaded model, but {job.kind}. Look at it in the Jobs tab.")
    return job


def _endpoint(site: Site, id: int) -> Endpoint:
    """Where a loaded model answers. Raises WorkspaceError while or when it does not."""
    job = _serve_job(site, id)
    found = read_endpoint(folder_of(site.workspace, id)) if job.state == "running" else None
    if found is None:
        why = "is being loaded; wait until it is ready" if job.active else f"is not loaded any more ({job.state})"
        raise WorkspaceError(f"{job.title or f'job {id}'} {why}.")
    return found
