"""The Chat tab: models that are loaded, conversations with them, and which of two answers was better."""

from __future__ import annotations

from studio.web.panel import panel
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the tab's components into the page."""
    panel("chat", "chat")
