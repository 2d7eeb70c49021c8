"""Arguments of `studio chat`: what is asked."""

from __future__ import annotations

from studio.arguments.base import Arguments, Text, arg


class ChatArguments(Arguments):
    """One question to a model, or a conversation with it."""

    prompt: Text = arg("", level="basic")
    """The question; the answer is printed and the command ends. Empty begins a conversation."""

    system: Text = arg("", level="basic")
    """The system message before it; empty leaves the template's own, if it has one."""

    tools: Text = arg("")
    """A JSON file with the tools that the model may call, as OpenAI writes them."""
