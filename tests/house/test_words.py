"""Names say what is inside, and no error is swallowed whole."""

import ast
from pathlib import Path

TOP = Path(__file__).parents[2]
FILES = [path for folder in ("studio", "tests", "benchmarks", "examples") for path in (TOP / folder).rglob("*.py")]
EMPTY_WORDS = ("util", "utils", "common", "helper", "helpers", "manager", "misc")
MAY_CATCH_ALL = {
    "studio/jobs/supervisor.py": "whatever a job dies of must become a sentence for the user",
    "studio/jobs/worker.py": "the same",
    "studio/doctor/finding.py": "a check that fails is a finding, and the others must be heard",
    "studio/doctor/probe.py": "whatever a library or a driver raises when it is tried is the answer",
    "studio/model/asking.py": "it is raised again in the thread that asked",
    "studio/loop/trackers.py": "a tracker is foreign code; whatever it raises, the run goes on and says so",
    "studio/web/live.py": "one event of the page must not end the page",
}


def swallows_all(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does not end by raising, as it is or as a sentence."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds
    )
    return broad and not isinstance(handler.body[-1], ast.Raise)


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = [
        str(path.relative_to(TOP))
        for path in FILES
        for part in path.relative_to(TOP).with_suffix("").parts
        if set(part.split("_")) & set(EMPTY_WORDS)
    ]
    assert not empty, f"name these files for what they hold: {empty}"


def test_no_error_is_swallowed_whole() -> None:
    found = [
        f"{path.relative_to(TOP)}:{node.lineno}"
        for path in FILES
        if str(path.relative_to(TOP)) not in MAY_CATCH_ALL
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and swallows_all(node)
    ]
    assert not found, f"name the errors that are expected here: {found}"
