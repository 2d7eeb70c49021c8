"""The files in examples/ say complete commands about datasets that are there."""

import json
from pathlib import Path

import pytest

from studio.command import read_recipe, read_set
from studio.recipe import ExportSet

ROOT = Path(__file__).parents[2]
TRAIN = sorted(path for path in (ROOT / "examples").glob("*.yaml") if path.name != "export.yaml")


@pytest.mark.parametrize("path", TRAIN, ids=lambda path: path.stem)
def test_an_example_is_a_recipe_without_notes_on_registered_data(path):
    recipe, notes = read_recipe([str(path)])
    registered = json.loads((ROOT / "dataset_info.json").read_text())
    assert not notes
    assert set(recipe.data.dataset) <= set(registered)
    assert f"studio train examples/{path.name}" in path.read_text()


def test_the_export_example_is_read_whole():
    asked, notes = read_set(ExportSet, [str(ROOT / "examples" / "export.yaml")])
    assert not notes
    assert asked.export.infer_dtype == "float32"
