"""Machine, for the page."""

from __future__ import annotations

from fastapi import APIRouter

from studio.web.site import Site


def routes(site: Site) -> APIRouter:
    """The routes of this subject, below /api."""
    return APIRouter(tags=["machine"])
