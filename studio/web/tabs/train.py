"""The Train tab: the form, the command that it says, what would happen, and what happens."""

from __future__ import annotations

import gradio

from studio.web.components import connect, field
from studio.web.language import word
from studio.web.panel import panel
from studio.web.schema import SECTIONS
from studio.web.site import Site


def build(site: Site) -> None:
    """Put the tab's components into the page."""
    names: list[str] = []
    fields: list[gradio.components.Component] = []
    with gradio.Row(elem_id="train-columns"):
        with gradio.Column(scale=3, min_width=320, elem_id="train-form"):
            panel("train", "train")
            for section, listed in SECTIONS.items():
                with gradio.Accordion(word(f"train.section.{section}"), open=True, elem_classes="studio-section"):
                    with gradio.Row(elem_classes="studio-fields"):
                        fields += [field("train", name) for name in listed]
                    names += listed
            panel("train-groups", "groups")
        with gradio.Column(scale=2, min_width=320, elem_id="train-side"):
            panel("train-command", "preview")
            panel("train-preflight", "preflight")
    connect("train", names, fields)
    panel("train-run", "run")
