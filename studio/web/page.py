"""The page: Gradio's blocks, with a tab from each file in `tabs/`."""

from __future__ import annotations

import gradio

from studio.web.language import word
from studio.web.panel import panel
from studio.web.site import Site
from studio.web.tabs import chat, datasets, export, jobs, top, train

# Name of the tab (also in the page's address: #train) → what builds it.
TABS = {"train": train.build, "datasets": datasets.build, "jobs": jobs.build, "chat": chat.build,
        "export": export.build}  # fmt: skip


def blocks(site: Site) -> gradio.Blocks:
    """The whole page. Nothing in it opens a connection that stays: no state, no timers, no chat interface."""
    # Uploads that Gradio keeps are swept once a day.
    with gradio.Blocks(analytics_enabled=False, title="studio", fill_width=True, delete_cache=(86400, 86400)) as page:
        panel("studio-bar", "bar")
        top.build(site)
        with gradio.Tabs(elem_id="studio-tabs"):
            for name, build in TABS.items():
                with gradio.Tab(word(f"tabs.{name}"), id=name, elem_id=f"tab-{name}"):
                    build(site)
    return page
