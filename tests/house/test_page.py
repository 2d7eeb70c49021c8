"""The page speaks every language whole, and its scripts are small, make no markup and ask nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from studio.arguments.base import Argument
from studio.arguments.check import arguments_in
from studio.recipe import arguments_of_all, groups_of
from studio.verbs.api import ApiSet
from studio.verbs.chat import ChatSet
from studio.verbs.export import ExportSet
from studio.web.language import FOLDER, LANGUAGES, strings
from studio.works.base import WORKS

WEB = FOLDER.parent
SCRIPTS = sorted((WEB / "static").glob("*.js"))
STYLES = sorted((WEB / "static").glob("*.css"))
ROOMS = {path.stem for path in FOLDER.glob("*/*.json")}
# A whole key, as it stands in quotes: "train.start", but no file name.
KEY = re.compile(r"""["'`]([a-z_]+(?:\.[a-z_0-9]+)+)["'`]""")
ENDINGS = (".js", ".css", ".json", ".yaml", ".py", ".txt", ".md", ".jsonl", ".html", ".svg")
# Longer than the rule by a tenth is not worth a cut in the wrong place.
LINES = 330


def used() -> dict[str, set[str]]:
    """Key → the files that name it whole."""
    found: dict[str, set[str]] = {}
    for path in [*SCRIPTS, *WEB.rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        for key in KEY.findall(text):
            # What a browser keeps has names of this form too.
            kept = key.startswith("studio.") and f't("{key}"' not in text
            if key.partition(".")[0] in ROOMS and not key.endswith(ENDINGS) and not kept:
                found.setdefault(key, set()).add(path.name)
    return found


def in_form() -> dict[str, Argument]:
    """Every argument that the page may show."""
    found = dict(arguments_of_all())
    for kind in (ExportSet, ChatSet, ApiSet, *(WORKS[name].asked for name in WORKS)):
        found |= arguments_in(groups_of(kind))
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_string_that_code_names_exists(language: str) -> None:
    known = strings(language)
    # A key may also be the beginning of several: t(`bar.theme.${name}`).
    missing = {
        key: sorted(files)
        for key, files in used().items()
        if key not in known and not any(other.startswith(f"{key}.") for other in known)
    }
    # Names of Python modules look like keys: those of rooms that have none of the sort are told apart here.
    assert {key: files for key, files in missing.items() if any(name.endswith(".js") for name in files)} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_called_by_name_in_python_exists(language: str) -> None:
    called = re.compile(r"""\bword\(\s*["']([^"'{]+)["']\s*\)""")
    asked = {key for path in WEB.rglob("*.py") for key in called.findall(path.read_text(encoding="utf-8"))}
    assert asked
    assert sorted(asked - strings(language).keys()) == []


def test_every_language_has_the_same_strings() -> None:
    english = {key for key in strings("en") if not key.endswith(".help")}
    for language in LANGUAGES:
        # The English help of an argument is its declaration.
        have = {key for key in strings(language) if not (key.startswith("arguments.") and key.endswith(".help"))}
        have_all = {key for key in strings("en") if not (key.startswith("arguments.") and key.endswith(".help"))}
        assert sorted(have_all ^ have) == [], f"{language}: these are missing, or nobody else has them"
    assert english


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_string_has_the_same_places_to_fill_in_every_language(language: str) -> None:
    places = re.compile(r"\{(\w+)\}")
    known = strings(language)
    different = [
        key for key, text in strings("en").items() if set(places.findall(text)) != set(places.findall(known[key]))
    ]
    assert different == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_argument_of_the_page_has_a_label(language: str) -> None:
    assert [name for name in in_form() if f"arguments.{name}" not in strings(language)] == []


def test_every_argument_is_explained_in_every_other_language() -> None:
    for language in [code for code in LANGUAGES if code != "en"]:
        assert [name for name in in_form() if f"arguments.{name}.help" not in strings(language)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_work_has_a_name_and_says_what_it_is_for(language: str) -> None:
    keys = ["works." + "_".join(WORKS[name].words).replace("-", "_") for name in WORKS]
    assert [key for key in keys for part in ("title", "about") if f"{key}.{part}" not in strings(language)] == []
    # What stands together in a form of many fields has a heading.
    groups = {group for name in WORKS for group in groups_of(WORKS[name].asked)}
    assert sorted(group for group in groups if f"works.group.{group}" not in strings(language)) == []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_of_strings_is_flat_and_says_nothing_twice(path: Path) -> None:
    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"{path}: a key stands twice"
        return dict(pairs)

    told = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    assert all(isinstance(text, str) and text.strip() for text in told.values())


IMPORTED = re.compile(
    r"""^(?:import\b[^"'`;]*|\}\s*from\s*)["']([^"']+)["']|\bimport\(["'`]([^"'`]+)["'`]\)""", re.MULTILINE
)
NEVER = {
    "innerHTML": r"\binnerHTML\b",
    "outerHTML": r"\bouterHTML\b",
    "insertAdjacentHTML": r"\binsertAdjacentHTML\b",
    "document.write": r"\bdocument\.write(?:ln)?\s*\(",
    "eval": r"\beval\s*\(",
    "new Function": r"\bnew\s+Function\b",
    "a timer made of text": r"\bset(?:Timeout|Interval)\s*\(\s*[\"'`]",
    "javascript:": r"javascript:",
    "createContextualFragment": r"\bcreateContextualFragment\b",
    "another host": r"https?://(?!www\.w3\.org/2000/svg\b)",
}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_makes_no_markup_and_names_no_other_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES, f"split {path.name}"
    assert [name for name, pattern in NEVER.items() if re.search(pattern, text)] == []
    assert text.startswith("//"), f"{path.name} begins with a line that says what it is for"


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_a_style_names_no_other_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(\s*[\"']?//", text)


def test_a_script_is_imported_under_the_one_address_that_it_has() -> None:
    """Under two addresses it would be two scripts, each with half of what was told."""
    wrong = [
        (path.name, name)
        for path in SCRIPTS
        for found in IMPORTED.findall(path.read_text(encoding="utf-8"))
        for name in filter(None, found)
        if not re.fullmatch(r"\./[a-z-]+\.js", name)
    ]
    assert wrong == []
