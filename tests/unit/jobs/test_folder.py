"""Which output folders are refused before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studio.command import read_recipe
from studio.errors import StudioError
from studio.jobs.folder import inspect
from studio.recipe import Recipe
from studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    for name in ("saves/old-run", "models/m", "data"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("saves/old-run/kept.txt", "data/rows.json", "models/m/config.json"):
        (tmp_path / name).write_text("x")
    return Workspace(tmp_path)


def recipe(folder: str, *more: str) -> Recipe:
    return read_recipe(["--model_name_or_path", "models/m", "--dataset", "d", "--output_dir", folder, *more])[0]


@pytest.mark.parametrize("folder", ["saves", "models", ".", "data"])
def test_the_rooms_of_the_workspace_are_never_moved_aside(folder: str, place: Workspace) -> None:
    with pytest.raises(StudioError, match="lies there"):
        inspect(recipe(folder, "--overwrite_output_dir"), place.path(folder), place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told_before_the_start(place: Workspace) -> None:
    place.saves.chmod(0o555)
    with pytest.raises(StudioError, match="this user may not write in"):
        inspect(recipe("saves/new"), place.saves / "new", place)
