"""A place in the page that a script of ours fills."""

from __future__ import annotations

import gradio

# The module exports mount(element); it is loaded when the panel is first in the page.
_LOAD = """
const place = element.querySelector('[data-panel]');
import(window.studio.script('%s')).then((module) => module.mount(place)).catch(window.studio.broken);
"""


def panel(name: str, script: str) -> gradio.HTML:
    """An empty element with the id `name`, filled by `static/<script>.js`."""
    return gradio.HTML(
        f'<div id="{name}" data-panel="{script}" class="studio-panel"></div>',
        js_on_load=_LOAD % script,
        elem_id=f"{name}-holder",
        apply_default_css=False,
        padding=False,
    )
