"""Files and functions stay small enough to be read in one go."""

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FILES = sorted(
    path for folder in ("studio", "tests", "benchmarks", "examples") for path in (TOP / folder).rglob("*.py")
)
# The rule is 300 and 50; a tenth above it is not worth a cut in the wrong place.
FILE_LINES, FUNCTION_LINES = 330, 55


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TOP)))
def test_a_file_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    long = [
        f"{node.name}() has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]
    if (lines := text.count("\n")) > FILE_LINES:
        long.append(f"the file has {lines} lines")
    assert not long, f"split {path.relative_to(TOP)}: {long}"
