"""The machine, for the page: GPUs with who uses them, processor, memory, disk left for runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from studio.web.machine import Machine
from studio.web.site import Site


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["machine"])
    machine = Machine(site.workspace)

    @router.get("/machine")
    def now() -> dict[str, Any]:
        """How full the machine is, at most two seconds old, and how many jobs work and wait."""
        live = site.store.jobs(states=("starting", "running", "stopping"))
        sessions = {each.pid for job in live for each in (job.supervisor, job.process) if each is not None}
        waiting = site.store.jobs(states=("queued",))
        return {**machine.look(sessions), "jobs": {"running": len(live), "queued": len(waiting)}}

    return router
