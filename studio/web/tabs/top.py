"""What stands above the tabs and is shared by them: model, adapters, method, quantization, template."""

from __future__ import annotations

import gradio

from studio.web.components import connect, field
from studio.web.panel import panel
from studio.web.schema import TOP
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the components into the page."""
    panel("top", "top")
    with gradio.Row(elem_id="top-fields", elem_classes="studio-fields"):
        fields = [field("top", name) for name in TOP]
    connect("top", TOP, fields)
