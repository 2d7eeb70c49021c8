"""How an answer appears on a screen or in a pipe; nothing of it may steer the terminal."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, TextIO

from studio.data.inspect import visible

DIM, OFF = "\033[2m", "\033[0m"
# They join emoji and letters of several scripts, and move nothing.
JOINERS = re.compile("([\u200c\u200d])")


class Screen:
    """Where answers and notes go: answers to `out`, notes to `err`."""

    def __init__(self, out: TextIO, err: TextIO, *, colour: bool) -> None:
        self._out, self._err, self._colour = out, err, colour
        self._harmless = out.isatty()
        self._thinking = False
        self._at_start = True
        self._begun = False

    def show(self, delta: dict[str, Any]) -> None:
        """Show what is new of an answer."""
        for name in ("reasoning_content", "content"):
            text = delta.get(name, "")
            # Many models begin with a blank or an empty line.
            text = text if self._begun else text.lstrip()
            if text:
                self._turn(thinking=name == "reasoning_content")
                self._write(text)
        for call in delta.get("tool_calls", ()):
            self._turn(thinking=False)
            function = call["function"]
            line = "" if self._at_start else "\n"
            self._write(f"{line}→ {function['name']}({function['arguments']})\n")

    def end_answer(self) -> None:
        """The answer is whole."""
        self._turn(thinking=False)
        if not self._at_start:
            self._write("\n")
        self._begun = False

    def note(self, sentence: str) -> None:
        """Something that is not part of an answer."""
        self._out.flush()
        text = _harmless(sentence)
        dimmed = self._colour and self._err.isatty()
        self._err.write(f"{DIM}{text}{OFF}\n" if dimmed else f"{text}\n")
        self._err.flush()

    def _turn(self, *, thinking: bool) -> None:
        """Thinking stands apart: dimmed on a screen, between its marks elsewhere."""
        if thinking == self._thinking:
            return
        self._thinking = thinking
        if self._colour:
            self._out.write(DIM if thinking else f"{OFF}\n\n")
        else:
            self._out.write("<think>\n" if thinking else "\n</think>\n\n")

    def _write(self, text: str) -> None:
        self._at_start, self._begun = text.endswith("\n"), True
        self._out.write(_harmless(text) if self._harmless else text)
        self._out.flush()


def _harmless(text: str) -> str:
    return "".join(part if JOINERS.fullmatch(part) else visible(part) for part in JOINERS.split(text))


def on_terminal() -> Screen:
    """The screen of this process."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return Screen(sys.stdout, sys.stderr, colour=colour)
