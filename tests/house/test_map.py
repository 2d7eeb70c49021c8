"""Every module of the package is on the map in `studio/__init__.py`, and says what it is for."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "studio"
MODULES = sorted(PACKAGE.rglob("*.py"))


def doc(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def names_on(text: str) -> set[str]:
    """The modules a map names: `errors` by a line of its own, `data/render` by one below `data/`.

    Names and what is said of them stand two spaces apart, so that one line may name several.
    """
    found: set[str] = set()
    room = ""
    for line in text.partition("\n\n")[2].partition("\n\n")[2].splitlines():
        words = re.split(r" {2,}", line.strip())
        if not line.startswith(" "):
            room = words[0] if words[0].endswith("/") else ""
            words = [] if room else words
        found.update(room + word for word in words if re.fullmatch(r"\w+", word))
    return found


ON_MAP = names_on(doc(PACKAGE / "__init__.py"))
THERE = {
    str(path.relative_to(PACKAGE).with_suffix(""))
    for path in MODULES
    if path.name != "__init__.py" and len(path.relative_to(PACKAGE).parts) <= 2
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(module: Path) -> None:
    assert len(doc(module)) >= 20, f"{module} needs a docstring that says what lies in it"


def test_the_map_names_every_module_and_nothing_else() -> None:
    assert sorted(THERE - ON_MAP) == [], "these are missing on the map in studio/__init__.py"
    assert sorted(ON_MAP - THERE) == [], "these are on the map in studio/__init__.py, but not there"
