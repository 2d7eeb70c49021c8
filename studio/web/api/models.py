"""The models of a workspace: what is offered for a path, and what a path is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from studio.web.models_view import about, listed
from studio.web.site import Site


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    router = APIRouter(tags=["models"])

    @router.get("/models")
    def models() -> list[dict[str, Any]]:
        """The model folders of models/ and saves/, the newest first, with what each is."""
        return [model.as_json() for model in listed(site.workspace)]

    @router.get("/models/about")
    def what(path: str) -> dict[str, Any]:
        """What a path is, in a sentence, and what it is called in the name of a run."""
        return about(path, site.workspace)

    return router
