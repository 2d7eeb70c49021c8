"""Arguments of `studio chat`: what is asked."""

from __future__ import annotations

from studio.arguments.base import Arguments, Text, arg


class ChatArguments(Arguments):
    """One question to a model."""

    prompt: Text = arg("", level="basic")
    """The question; the answer is printed and the command ends."""

    system: Text = arg("", level="basic")
    """The system message before it; empty leaves the template's own, if it has one."""
