"""What stands above the tabs and is shared by them: model, adapters, method, quantization, template."""

from __future__ import annotations

from studio.web.panel import panel
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the components into the page."""
    panel("top", "top")
