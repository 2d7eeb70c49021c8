"""The demo data: registered, described in LICENSES.md, and apart from the package by licence."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from studio.data.catalog import read_catalog
from studio.data.example import to_example
from studio.data.reading import dataset_rows
from studio.errors import RowError
from studio.workspace import Workspace

TOP = Path(__file__).parents[2]
DATA = TOP / "data"
REGISTRY = json.loads((TOP / "dataset_info.json").read_text(encoding="utf-8"))
LICENCES = (DATA / "LICENSES.md").read_text(encoding="utf-8")
NOTICES = {"README.md", "LICENSES.md", "licenses"}


def data_files() -> set[str]:
    return {
        str(path.relative_to(DATA))
        for path in DATA.rglob("*")
        if path.is_file() and path.relative_to(DATA).parts[0] not in NOTICES
    }


def class_b() -> set[str]:
    """The files that LICENSES.md lists below the words Class B."""
    return set(re.findall(r"^\| `([^`]+)`", LICENCES.partition("**Class B**")[2], re.MULTILINE))


def test_every_registered_file_is_there_and_small() -> None:
    for name, entry in REGISTRY.items():
        size = (DATA / entry["file_name"]).stat().st_size
        assert 0 < size < 2_000_000, name


@pytest.mark.parametrize("name", REGISTRY)
def test_every_row_of_a_registered_file_becomes_an_example(name: str) -> None:
    entry = read_catalog(Workspace(TOP))[name]
    read = [row.value for row in dataset_rows(entry, entry.files())]
    assert read
    for row in read:
        assert not isinstance(row, RowError)
        to_example(row, entry)


def test_every_data_file_is_registered() -> None:
    assert data_files() == {entry["file_name"] for entry in REGISTRY.values()}


def test_every_data_file_has_its_source_and_licence() -> None:
    assert data_files() == set(re.findall(r"^\| `([^`]+)`", LICENCES, re.MULTILINE))


def test_every_licence_text_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(?:licenses/)?([\w.-]+\.txt)`", LICENCES.partition("Licence texts by source")[2]))
    assert named == {path.name for path in (DATA / "licenses").iterdir()}


def test_the_readme_names_every_dataset() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert [name for name in REGISTRY if f"`{name}`" not in readme] == []


def test_files_under_a_licence_of_their_own_lie_apart_and_travel_in_no_package() -> None:
    assert class_b() == {name for name in data_files() if name.startswith("own_licence/")}
    build = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"] == {"packages": ["studio"]}
    assert not any(part.startswith("data") for part in build["targets"]["sdist"]["only-include"])
    assert not list((TOP / "studio").rglob("own_licence"))
