"""How a conversation becomes text: the chat template, shared by preview, training, chat, export."""

from __future__ import annotations

from studio.arguments.base import Arguments, Text, arg


class TemplateArguments(Arguments):
    """The chat template of a command."""

    template: Text = arg("", level="basic")
    """Chat template: empty or auto for the model's own, a named one such as chatml or qwen3, or a Jinja file's path."""

    enable_thinking: bool | None = arg(None, level="basic")
    """Whether a thinking model thinks before it answers; unset leaves it to the template."""

    default_system: Text = arg("")
    """System message of conversations that have none; empty leaves the template's own, if it has one."""
