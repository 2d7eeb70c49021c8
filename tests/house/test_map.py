"""Every module of the package is on the map in `studio/__init__.py`, and says what it is for."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "studio"
MODULES = sorted(PACKAGE.rglob("*.py"))


def doc(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def entries(text: str) -> dict[str, str]:
    """The lines of the map by what they begin with, `x.py` or `x/`, lines that go on included."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        begun = re.match(r"[\s│├└─]*(\w+(?:\.py|/))", line)
        name = begun[1] if begun else name
        if name:
            found[name] = found.get(name, "") + line + "\n"
    return found


MAP = entries(doc(PACKAGE / "__init__.py"))


def named_on_map(module: Path) -> bool:
    """A file at the top by its own line; one in a room by its name in the room's lines."""
    first, *inner = module.relative_to(PACKAGE).parts
    if not inner:
        return first == "__init__.py" or first in MAP
    stem = inner[0].removesuffix(".py")
    return stem == "__init__" or bool(re.search(rf"\b{stem}\b", MAP.get(f"{first}/", "")))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(module: Path) -> None:
    assert len(doc(module)) >= 20, f"{module} needs a docstring that says what lies in it"


def test_every_module_is_on_the_map() -> None:
    missing = [str(path.relative_to(PACKAGE)) for path in MODULES if not named_on_map(path)]
    assert not missing, f"not on the map in studio/__init__.py: {missing}"


def test_the_map_names_nothing_that_is_not_there() -> None:
    assert MAP, "the docstring of studio/__init__.py must hold the map"
    gone = [name for name in MAP if not (PACKAGE / name).exists()]
    assert not gone, f"on the map in studio/__init__.py, but not in the package: {gone}"
