"""Every string of the page by key: a folder a language, a JSON file a subject.

`{name}` in a string is filled by whoever shows it. English is complete; a test holds the others to it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
# Code → what it calls itself. The first one is shown where nothing else was chosen.
LANGUAGES = {"en": "English", "zh": "中文"}
# The tags under which browsers and Gradio know them.
TAGS = {"en": "en", "zh": "zh-CN"}


@functools.cache
def strings(language: str) -> dict[str, str]:
    """Key → text of a language. Keys are `subject.name`; the subject is the name of the file."""
    found: dict[str, str] = {}
    for path in sorted((FOLDER / language).glob("*.json")):
        for key, text in json.loads(path.read_text(encoding="utf-8")).items():
            found[f"{path.stem}.{key}"] = text
    return found


# What Gradio's own components show: language → key → text. The page carries these in its head.
_SHOWN: dict[str, dict[str, str]] = {code: {} for code in LANGUAGES}


def word(key: str) -> Any:
    """A text of ours as Gradio wants it: a key that the page looks up in the person's language."""
    if key not in strings("en"):
        raise KeyError(f"no string {key!r} in {FOLDER / 'en'}")
    return made(key, {code: strings(code).get(key, strings("en")[key]) for code in LANGUAGES})


def made(key: str, texts: Mapping[str, str]) -> Any:
    """The same for a text that is put together: language → text."""
    from gradio.i18n import I18nData

    for code in LANGUAGES:
        _SHOWN[code][key] = texts[code]
    return I18nData(key)


def for_gradio() -> Any:
    """The strings of Gradio's components, as it hands them to the page; to be asked once the page is built.

    Gradio takes the browser's language, as the script in the page's head has set it.
    """
    from gradio.i18n import I18n

    return I18n(**{TAGS[code]: _SHOWN[code] for code in LANGUAGES})
