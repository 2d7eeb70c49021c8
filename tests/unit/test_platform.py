"""A Python or a system that studio does not run on hears so in a sentence, and not in a traceback."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from studio.__main__ import unfit

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 13), (2, 7, 18)])
def test_an_older_python_is_told_what_to_do(version: tuple[int, ...]) -> None:
    said = unfit(version, "linux")
    assert f"studio needs Python 3.11 or newer; this is {version[0]}.{version[1]} (" in said
    assert "python3.11 -m venv" in said


@pytest.mark.parametrize("platform", ["win32", "darwin", "freebsd14"])
def test_another_system_is_told_what_to_do(platform: str) -> None:
    assert f"this is {platform}." in unfit((3, 13, 0), platform)
    assert "WSL 2" in unfit((3, 13, 0), platform)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 1, "final", 0), (3, 14, 0), (4, 0, 0)])
def test_a_newer_python_on_linux_may_go_on(version: tuple[int, ...]) -> None:
    assert unfit(version, "linux") == ""


def test_the_readme_has_the_section_that_is_named() -> None:
    (section,) = set(re.findall(r'README\.md, "(.*?)"', unfit((3, 8), "linux") + unfit((3, 11), "win32")))
    assert f"\n## {section}\n" in (TOP / "README.md").read_text(encoding="utf-8")


def test_an_older_python_can_read_what_runs_before_the_sentence() -> None:
    read = {"studio/__main__.py"}
    todo = list(read)
    while todo:
        tree = ast.parse((TOP / todo.pop()).read_text(encoding="utf-8"), feature_version=(3, 8))
        named = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
        files = {f"{name.replace('.', '/')}.py" for name in named if name.startswith("studio.")}
        files.add("studio/__init__.py")
        todo += sorted(files - read)
        read |= files
    assert read == {"studio/__main__.py", "studio/__init__.py", "studio/errors.py"}
