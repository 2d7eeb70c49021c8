"""docs/fidelity.md, which `python docs/write_fidelity.py` writes, has a row for every stage and none out of bounds."""

import re
from pathlib import Path

from studio.recipe import STAGES

PAGE = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (?P<what>.+) \| (?P<reference>.+) \| (?P<difference>\S+) \| (?P<tolerance>\S+) \| `(?P<test>.+)` \|$"
)
TESTS = Path(__file__).parents[1] / "fidelity"


def rows_by_stage() -> dict[str, list[re.Match[str]]]:
    found: dict[str, list[re.Match[str]]] = {}
    for part in PAGE.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        stage = re.search(r"\(`(\w+)`\)$", title)
        lines = [line for line in body.splitlines() if line.startswith("| ")][1:]
        matches = [ROW.match(line) for line in lines]
        assert all(matches), f"a row of {title} cannot be read"
        found[stage[1] if stage else "all"] = [match for match in matches if match]
    return found


def test_every_stage_is_compared_with_something() -> None:
    found = rows_by_stage()
    missing = [stage for stage in STAGES if not found.get(stage)]
    assert not missing, f"no comparison of {missing}: write tests/fidelity/test_<stage>.py, then the page anew"


def test_no_difference_is_larger_than_its_tolerance() -> None:
    rows = [row for rows in rows_by_stage().values() for row in rows]
    assert [row["what"] for row in rows if not float(row["difference"]) <= float(row["tolerance"])] == []
    assert len(rows) >= 3 * len(list(STAGES))


def test_the_tests_that_it_names_are_there() -> None:
    named = {row["test"] for rows in rows_by_stage().values() for row in rows}
    assert [name for name in named if not (TESTS / name).is_file()] == []
    unnamed = {path.name for path in TESTS.glob("test_*.py")} - named
    assert not unnamed, f"these keep no measure, or the page is older than they: {unnamed}"
