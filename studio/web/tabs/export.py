"""The Export tab: a script fills it (`static/export.js`)."""

from __future__ import annotations

from studio.web.panel import panel
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the tab's components into the page."""
    panel("export", "export")
