"""The Vocabulary tab: a script fills it (`static/vocabulary.js`)."""

from __future__ import annotations

from studio.web.panel import panel
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the tab's components into the page."""
    panel("vocabulary", "vocabulary")
