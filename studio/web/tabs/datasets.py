"""The Datasets tab: one place that static/datasets.js fills."""

from __future__ import annotations

from studio.web.panel import panel
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the tab's components into the page."""
    panel("datasets", "datasets")
