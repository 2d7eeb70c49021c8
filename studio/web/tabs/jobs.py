"""The Jobs tab: queue, history, one run opened, several compared; its script draws everything."""

from __future__ import annotations

from studio.web.panel import panel
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the tab's components into the page."""
    panel("jobs", "jobs")
