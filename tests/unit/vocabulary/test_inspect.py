"""How a look at a vocabulary is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from studio.vocabulary.inspect import as_text


@pytest.mark.parametrize(
    ("terminal", "no_colour", "coloured"),
    [(True, "", True), (True, "1", False), (False, "", False)],
    ids=["a terminal", "a terminal with NO_COLOR", "a pipe"],
)
def test_tokens_are_coloured_only_where_a_terminal_shows_colours(
    terminal: bool, no_colour: str, coloured: bool, do: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = do("tokenizer-inspect", model_name_or_path="models/tiny", text="river 京")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("NO_COLOR", no_colour)
    text = as_text(found)
    assert ("\033[" in text) is coloured
    assert ("| 京" in text or "|京(" in text) is not coloured
