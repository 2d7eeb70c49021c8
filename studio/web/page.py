"""The page: Gradio's blocks, with a tab from each file in `tabs/`."""

from __future__ import annotations

import gradio

from studio.web.language import word
from studio.web.panel import panel
from studio.web.site import Site
from studio.web.tabs import chat, datasets, evaluate, export, jobs, top, train, vocabulary

# Name of the tab (also in the page's address: #train) → what builds it.
TABS = {"train": train.build, "datasets": datasets.build, "vocabulary": vocabulary.build, "jobs": jobs.build,
        "evaluate": evaluate.build, "chat": chat.build, "export": export.build}  # fmt: skip


def theme() -> gradio.themes.Base:
    """Colours and sizes; text that explains is dark enough to be read (4.5 to 1)."""
    # Gradio's half bold files of these fonts have no Latin letters: every heading would come from another font.
    sans, mono = (gradio.themes.LocalFont(name, weights=(400, 700)) for name in ("Source Sans Pro", "IBM Plex Mono"))
    found = gradio.themes.Default(
        primary_hue=gradio.themes.colors.indigo,
        neutral_hue=gradio.themes.colors.slate,
        font=(sans, "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(mono, "ui-monospace", "Consolas", "monospace"),
    )
    dressed: gradio.themes.Base = found.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_400",
        input_placeholder_color_dark="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        color_accent="*primary_600",
    )
    return dressed


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
    built: gradio.Blocks = page
    return built
