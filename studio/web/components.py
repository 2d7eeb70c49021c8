"""The basic fields of the form as Gradio components, made from the declarations by one loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio

from studio.arguments.base import Argument
from studio.command import to_text
from studio.model.templates import named_templates
from studio.recipe import arguments_of_all
from studio.web.language import LANGUAGES, made, strings, word
from studio.web.schema import choices_of, kind_of

# Fields in which one of a list is chosen though the declaration takes any: name → its values.
_LISTS = {"quantization_bit": ("none", "8", "4")}
AUTOMATIC = "auto"


def field(part: str, name: str) -> Any:
    """The component of one argument, `#<part>-<name>`."""
    argument = arguments_of_all()[name]
    facts: dict[str, Any] = {
        "label": word(f"arguments.{name}"), "info": _about(argument), "elem_id": f"{part}-{name}",
        "elem_classes": "studio-basic", "interactive": True, "min_width": 200,
    }  # fmt: skip
    choices = _LISTS.get(name) or choices_of(argument)
    kind = kind_of(argument, tuple(choices))
    if name == "template":
        words = [(word("train.own_template"), AUTOMATIC), *((each, each) for each in sorted(named_templates()))]
        return gradio.Dropdown(words, value=AUTOMATIC, allow_custom_value=True, **facts)
    if kind == "bool" and not argument.optional:
        return gradio.Checkbox(value=bool(argument.default), **facts)
    if kind == "bool":
        words = [(word("train.automatic"), AUTOMATIC), (word("studio.yes"), "True"), (word("studio.no"), "False")]
        return gradio.Dropdown(words, value=AUTOMATIC, filterable=False, **facts)
    if choices:
        value = "none" if name == "quantization_bit" else argument.default
        return gradio.Dropdown([*choices], value=value, filterable=len(choices) > 6, **facts)
    plain = gradio.InputHTMLAttributes(autocorrect="off", spellcheck=False)
    return gradio.Textbox(
        value=_shown(argument), placeholder=_placeholder(argument), max_lines=1, html_attributes=plain, **facts
    )


def _about(argument: Argument) -> Any:
    """The flag and the help, in each language."""
    texts = {code: strings(code).get(f"arguments.{argument.name}.help", argument.help) for code in LANGUAGES}
    flagged = {code: f"`--{argument.name}` {text}" for code, text in texts.items()}
    return made(f"arguments.{argument.name}.info", flagged)


def _shown(argument: Argument) -> str:
    return "" if argument.default in (None, ()) else to_text(argument.default)


def _placeholder(argument: Argument) -> Any:
    return word("train.automatic") if argument.optional else _shown(argument)


def connect(part: str, names: Sequence[str], fields: Sequence[Any]) -> None:
    """One listener hands all values of a part to our scripts; one hidden button takes values from them."""
    listed = json.dumps(list(names))
    gradio.on(
        [each.change for each in fields], None, list(fields), None, queue=False, api_visibility="private",
        show_progress="hidden", js=f"(...values) => {{ window.studio.heard?.({part!r}, values); return []; }}",
    )  # fmt: skip
    button = gradio.Button("", elem_id=f"{part}-set", elem_classes="studio-gone", visible=True)
    button.click(
        None, list(fields), list(fields), queue=False, api_visibility="private", show_progress="hidden",
        js=f"(...now) => window.studio.wanted({part!r}, {listed}, now)",
    )  # fmt: skip
