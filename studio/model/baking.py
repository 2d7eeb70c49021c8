"""What a run asks of its chat template, written in front of the template's Jinja source.

There it travels with the template: preview, training, checkpoint and export read one and the same
text. Each line only says what holds when nobody says otherwise, so a caller of
`apply_chat_template` may still pass `enable_thinking`, and a row keeps its own system message.
"""

from __future__ import annotations

import json
import re

THINKING = re.compile(
    r"^(?:\{%-? set .*%\}\n)*?"
    r"\{%- set enable_thinking = enable_thinking if enable_thinking is defined else (true|false) %\}\n"
)


def bake(source: str, enable_thinking: bool | None, default_system: str) -> str:
    """The Jinja source with the asked defaults in front of it; None and "" ask for nothing.

    A template that is baked again obeys the newest: the line in front is read first.
    """
    lines = []
    if enable_thinking is not None:
        value = "true" if enable_thinking else "false"
        lines.append(f"{{%- set enable_thinking = enable_thinking if enable_thinking is defined else {value} %}}\n")
    if default_system:
        # Jinja reads the escapes of JSON; beyond the BMP only the character itself is read right.
        text = json.dumps(default_system, ensure_ascii=False)
        message = f"{{'role': 'system', 'content': {text}}}"
        has_one = "messages and messages[0]['role'] == 'system'"
        lines.append(f"{{%- set messages = messages if {has_one} else [{message}] + messages %}}\n")
    # The line break behind a block is the block's, so not even a template that begins with text changes.
    return "".join([*lines, source])


def baked_thinking(source: str) -> bool | None:
    """Whether thinking was asked for or off when the source was baked; None when neither."""
    found = THINKING.match(source)
    return None if found is None else found.group(1) == "true"
