"""Named files of pairs that a reward model is measured on at the end of its run. Light: no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from studio.data.catalog import entry_of_file
from studio.data.render import View
from studio.data.report import Report
from studio.data.rows import Rows, prepare
from studio.errors import StudioError
from studio.material import Material
from studio.model.prompting import context_of
from studio.recipe import Recipe
from studio.workspace import Workspace

ARGUMENT = "test_reward_model_acc_files"
# A name stands in keys of results and in a picture.
NAME = re.compile(r"[\w.-]{1,60}")
# What scores.json calls the held-out rows of the run itself.
HELD_OUT = "eval"


def complaints(files: Mapping[str, Any], recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """What must be mended in the test files; their rows are rendered, and kept for the end of the run."""
    told = []
    for name, path in files.items():
        if not NAME.fullmatch(name) or name == HELD_OUT:
            told.append(
                f"--{ARGUMENT}: a name must be letters, digits, points and dashes, at most 60, and not {HELD_OUT}; "
                f"got {name!r}. Choose another."
            )
        elif not isinstance(path, str) or not path:
            told.append(f"--{ARGUMENT} {name}: must lead to the path of a file; got {path!r}. Write it as text.")
        else:
            try:
                rows, _ = rows_of(path, recipe, material, place)
            except StudioError as error:
                told.append(f"--{ARGUMENT} {name}: {error}")
                continue
            limit, longest = context_of(material.config), int(rows.lengths.max())
            if limit and longest > limit:
                told.append(
                    f"--{ARGUMENT} {name}: its longest row has {longest:,} tokens, but the model has positions for "
                    f"{limit:,}. Lower --cutoff_len to {limit}."
                )
    return told


def rows_of(path: str, recipe: Recipe, material: Material, place: Workspace) -> tuple[Rows, Report]:
    """The pairs of one file, rendered as the run's own, or as they were rendered before.

    Raises StudioError when the file is not there, holds no pairs, or has too many bad rows.
    """
    data = recipe.data
    view = View(data.cutoff_len, wants="pairs")
    return prepare(
        [entry_of_file(path, place)], material.tokenizer, material.template, view, place,
        skip_bad_rows=data.skip_bad_rows, max_bad_rows=data.max_bad_rows,
    )  # fmt: skip
