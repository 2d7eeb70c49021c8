"""studio data: the registry as a list, and a dataset as training sees it."""

from __future__ import annotations

import json
import os
import sys

from studio.arguments.check import arguments_in, fill
from studio.arguments.preview import PreviewArguments
from studio.command import help_text, read_raw
from studio.data.catalog import read_catalog
from studio.errors import ArgumentError, DatasetError, UsageError
from studio.material import find_weights, tokenizer_of
from studio.recipe import Recipe, arguments_of, recipe_groups
from studio.registry import did_you_mean
from studio.stages.base import stage_of
from studio.workspace import Workspace

HEAD = """usage: studio data list [--dataset_dir DIR]
       studio data preview NAME --model_name_or_path DIR [--template T] [--cutoff_len N] [--stage sft|pt]

  list      every dataset of the registry, and whether it can be used
  preview   rows as training sees them: raw, as a conversation, as tokens; those that bear loss are coloured
            --json prints the ids and the loss mask of every token
"""
SHOWN = ("model_name_or_path", "tokenizer_name_or_path", "template", "cutoff_len", "stage", "dataset_dir",
         "train_on_prompt", "mask_history")  # fmt: skip


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if not words or "--help" in words or "-h" in words:
        print(HEAD)
        known = {**arguments_in({"preview": PreviewArguments}), **arguments_of("sft")}
        print(help_text("data", [a for n, a in known.items() if n in SHOWN or a.group == "preview"]))
        return 0
    verb, rest = words[0], words[1:]
    place = Workspace.find(workspace)
    if verb == "list":
        return _list(rest, place)
    if verb == "preview":
        return _preview(rest, place)
    raise UsageError(f"studio data {verb}: there is no such verb.{did_you_mean(verb, ('list', 'preview'))}\n\n{HEAD}")


def _list(words: list[str], place: Workspace) -> int:
    recipe, _ = _read(words)
    catalog = read_catalog(place, recipe.data.dataset_dir)
    for name in catalog.names:
        try:
            entry = catalog[name]
            files = entry.files()
            state = f"{entry.formatting}, " + ", ".join(f"{place.shown(f)} ({f.stat().st_size:,} bytes)" for f in files)
        except DatasetError as error:
            state = f"cannot be used: {error}"
        print(f"{name}: {state}")
    if not catalog.names:
        looked = f"{place.dataset_info} and {place.path(recipe.data.dataset_dir) / place.dataset_info.name}"
        sys.stderr.write(f"no dataset is registered: {looked} have no entry. Write one into either.\n")
    for note in catalog.notes:
        sys.stderr.write(note + "\n")
    return 0


def _preview(words: list[str], place: Workspace) -> int:
    if not words or words[0].startswith("-"):
        raise UsageError("studio data preview needs the name of a dataset; studio data list shows them.")
    from studio.data.inspect import as_json, as_text, preview

    as_data = "--json" in words
    recipe, asked = _read([word for word in words[1:] if word != "--json"])
    entry = read_catalog(place, recipe.data.dataset_dir)[words[0]]
    if not recipe.model.model_name_or_path:
        raise ArgumentError(["studio data preview needs --model_name_or_path: its tokenizer makes the tokens."])
    folder, _ = find_weights(recipe, place)
    tokenizer, template, notes = tokenizer_of(recipe, folder, place)
    views = preview(
        entry,
        tokenizer,
        template,
        stage_of(recipe).view(recipe),
        place,
        asked.start - 1,
        asked.count,
        _progress,
    )
    if not views:
        raise DatasetError(f"--start {asked.start}: {entry.name} has fewer rows. Choose a smaller number.")
    if as_data:
        print(json.dumps(as_json(views), ensure_ascii=False))
        return 0
    for note in notes:
        sys.stderr.write(note + "\n")
    print(as_text(views, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return 0


def _read(words: list[str]) -> tuple[Recipe, PreviewArguments]:
    """The parts of a recipe that a preview needs, and the page."""
    known = {**arguments_of("sft"), **arguments_in({"preview": PreviewArguments})}
    raw = read_raw(words, known)
    stage = str(raw.get("stage", "sft"))
    filled = fill({**recipe_groups(stage), "preview": PreviewArguments}, raw)
    if filled.complaints:
        raise ArgumentError(filled.complaints)
    page = filled.groups.pop("preview")
    assert isinstance(page, PreviewArguments)
    return Recipe(**filled.groups), page  # type: ignore[arg-type]  # the groups are Recipe's own fields


def _progress(share: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rlooking for the page {share:4.0%}")
