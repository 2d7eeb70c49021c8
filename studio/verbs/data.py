"""studio data: the registry as a list, a dataset as training sees it and in numbers, and new entries for files."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.arguments.base import Arguments
from studio.arguments.check import arguments_in, fill, respell
from studio.arguments.preview import EntryArguments, PreviewArguments, SourceArguments
from studio.command import help_text, read_raw
from studio.data.catalog import Catalog, DatasetEntry, entry_of_file, read_catalog
from studio.errors import ArgumentError, DatasetError, UsageError, counted
from studio.material import find_weights, tokenizer_of
from studio.recipe import Recipe, arguments_of, arguments_of_all, broken_rules, recipe_groups, stage_in
from studio.registry import did_you_mean
from studio.stages.base import stage_of
from studio.verbs.working import run_work
from studio.works.base import of_verb
from studio.workspace import Workspace

HEAD = """usage: studio data list [--dataset_dir DIR]
       studio data preview NAME|PATH --model_name_or_path DIR [--template T] [--cutoff_len N] [--stage sft|pt]
       studio data statistics NAME|PATH [--model_name_or_path DIR] [--template T] [--cutoff_len N] [--stage sft|pt]
       studio data recognise PATH [--encoding E]
       studio data add PATH [--name N] [--encoding E] [--dataset_dir DIR]

  list       every dataset of the registry, and whether it can be used
  preview    rows as training sees them: raw, as a conversation, as tokens; those that bear loss are coloured
             --json prints the ids and the loss mask of every token, and the notes
  statistics rows, refused rows and why, turns; with a model also lengths in tokens, what is learned, what is cut
             --json prints all numbers
  recognise  what a file, a folder or a pattern of files without an entry is taken for, as an entry to paste
  add        the same entry, written into dataset_info.json; the files stay where they are
"""
SHOWN = ("model_name_or_path", "tokenizer_name_or_path", "template", "enable_thinking", "default_system",
         "cutoff_len", "stage", "dataset_dir", "train_on_prompt", "mask_history")  # fmt: skip
SHOWN_FILES = 4
Groups = dict[str, type[Arguments]]
PREVIEW: Groups = {"preview": PreviewArguments}
SOURCE: Groups = {"source": SourceArguments}
ENTRY: Groups = {**SOURCE, "entry": EntryArguments}


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if not words or (words[0] not in of_verb("data") and ("--help" in words or "-h" in words)):
        print(HEAD)
        known = {**arguments_in(PREVIEW | ENTRY), **arguments_of("sft")}
        print(help_text("data", [a for n, a in known.items() if n in SHOWN or a.group in (*PREVIEW, *ENTRY)]))
        return 0
    verbs = {"list": _list, "preview": _preview, "statistics": _statistics, "recognise": _recognise, "add": _add}
    verb, rest = words[0], words[1:]
    works = of_verb("data")
    if verb in works:
        return run_work(works[verb], rest, workspace)
    if verb not in verbs:
        raise UsageError(f"studio data {verb}: there is no such verb.{did_you_mean(verb, [*verbs, *works])}\n\n{HEAD}")
    return verbs[verb](rest, Workspace.find(workspace))


def _list(words: list[str], place: Workspace) -> int:
    recipe, _ = _read(words, {})
    from studio.data.inspect import visible

    catalog = read_catalog(place, recipe.data.dataset_dir)
    for name in catalog.names:
        try:
            entry = catalog[name]
            state = f"{entry.formatting}, {_where(entry, place)}"
        except DatasetError as error:
            state = f"cannot be used: {error}"
        print(visible(f"{name}: {state}"))
    if not catalog.names:
        looked = f"{place.dataset_info} and {place.path(recipe.data.dataset_dir) / place.dataset_info.name}"
        sys.stderr.write(
            f"no dataset is registered: {looked} have no entry. studio data add PATH writes one for a file.\n"
        )
    for note in catalog.notes:
        sys.stderr.write(note + "\n")
    return 0


def _where(entry: DatasetEntry, place: Workspace) -> str:
    """Its files with their size; a hub is not asked only to list."""
    if entry.hub is not None:
        return f"{entry.hub.repo} on {'ModelScope' if entry.hub.where == 'ms' else 'Hugging Face'}"
    files = entry.files()
    listed = [f"{place.shown(file)} ({file.stat().st_size:,} bytes)" for file in files[:SHOWN_FILES]]
    more = f" and {len(files) - SHOWN_FILES:,} more" if len(files) > SHOWN_FILES else ""
    drawn = f", {counted(entry.num_samples, 'row')} drawn of them" if entry.num_samples else ""
    return ", ".join(listed) + more + drawn


def _recognise(words: list[str], place: Workspace) -> int:
    recipe, asked = _read(_after_path(words, "recognise"), ENTRY)
    from studio.data.register import recognised

    raw, why = recognised(words[0], place, encoding=asked["encoding"], dataset_dir=recipe.data.dataset_dir)
    print(json.dumps({asked["name"] or _name_of(words[0]): raw}, ensure_ascii=False, indent=2))
    sys.stderr.write(f"it is taken for {why}\n")
    return 0


def _add(words: list[str], place: Workspace) -> int:
    recipe, asked = _read(_after_path(words, "add"), ENTRY)
    from studio.data.register import recognised, register

    folder = recipe.data.dataset_dir
    raw, why = recognised(words[0], place, encoding=asked["encoding"], dataset_dir=folder)
    name = asked["name"] or _name_of(words[0])
    origin = register(name, raw, place, folder)
    print(f"{name} stands in {place.shown(origin)} now; it is taken for {why}")
    return 0


def _after_path(words: list[str], verb: str) -> list[str]:
    if not words or words[0].startswith("-"):
        raise UsageError(f"studio data {verb} needs the path of a file, a folder or a pattern of files.")
    return words[1:]


def _name_of(path: str) -> str:
    """The file's name without its endings and the marks of a pattern."""
    stem = Path(path).name.partition(".")[0]
    return re.sub(r"[*?\[\]]+", "", stem).strip("-_ ") or "data"


def _entry(word: str, catalog: Catalog, place: Workspace, encoding: str) -> DatasetEntry:
    """The dataset of a name, or of a path when no dataset has that name."""
    if word in catalog:
        if encoding:
            raise UsageError(f"--encoding {encoding}: the entry of {word} says its encoding. Write it there.")
        return catalog[word]
    if "/" in word or place.path(word).exists():
        return entry_of_file(word, place, encoding=encoding)
    return catalog[word]


def _preview(words: list[str], place: Workspace) -> int:
    if not words or words[0].startswith("-"):
        raise UsageError(
            "studio data preview needs the name of a dataset or the path of a file; studio data list shows the names."
        )
    from studio.data.inspect import as_json, as_text, preview

    as_data = "--json" in words
    recipe, asked = _read([word for word in words[1:] if word != "--json"], PREVIEW | SOURCE)
    entry = _entry(words[0], read_catalog(place, recipe.data.dataset_dir), place, asked["encoding"])
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
        asked["start"] - 1,
        asked["count"],
        _progress,
    )
    if not views:
        raise DatasetError(f"--start {asked['start']}: {entry.name} has fewer rows. Choose a smaller number.")
    notes = [*(note for note in (entry.why, *entry.found().notes) if note), *notes]
    if as_data:
        print(json.dumps(as_json(views, notes), ensure_ascii=False))
        return 0
    for note in notes:
        sys.stderr.write(note + "\n")
    print(as_text(views, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return 0


def _statistics(words: list[str], place: Workspace) -> int:
    if not words or words[0].startswith("-"):
        raise UsageError(
            "studio data statistics needs the name of a dataset or the path of a file; studio data list shows names."
        )
    from studio.data.statistics import Question, as_text, statistics
    from studio.jobs import told
    from studio.jobs.signals import StopFlag

    stop = StopFlag()
    stop.saved = "nothing was kept"
    stop.install()
    as_data = "--json" in words
    recipe, asked = _read([word for word in words[1:] if word != "--json"], SOURCE)
    entry = _entry(words[0], read_catalog(place, recipe.data.dataset_dir), place, asked["encoding"])
    question, notes = Question(entry, stage_of(recipe).view(recipe)), list[str]()
    if recipe.model.model_name_or_path:
        folder, _ = find_weights(recipe, place)
        tokenizer, template, notes = tokenizer_of(recipe, folder, place)
        question = replace(question, tokenizer=tokenizer, template=template)
    found = statistics(question, place, _counted)
    found["notes"] = [*(note for note in (entry.why, *entry.found().notes) if note), *notes]
    told.result(found)
    sys.stderr.writelines(note + "\n" for note in found["notes"])
    print(json.dumps(found, ensure_ascii=False) if as_data else as_text(found))
    return 0


def _counted(what: str, done: int, total: int | None) -> None:
    """Rows done so far, to the page and to a person at the terminal."""
    from studio.jobs import told

    told.tell(done, total or 0, what)
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{what}: {done:,} of {total or 0:,} rows\r")


def _read(words: list[str], own: Groups) -> tuple[Recipe, dict[str, Any]]:
    """The parts of a recipe that are needed, and the values of the verb's own arguments."""
    spelled = respell(read_raw(words, {**arguments_of_all(), **arguments_in(own)}))
    filled = fill({**recipe_groups(stage_in(spelled.raw)), **own}, spelled.raw)
    if filled.complaints:
        raise ArgumentError(spelled.explain(filled.complaints))
    sys.stderr.writelines(note + "\n" for note in (*spelled.notes, *filled.notes))
    values: dict[str, Any] = {}
    for group in own:
        values |= filled.groups.pop(group).model_dump()
    recipe = Recipe(**filled.groups)  # type: ignore[arg-type]  # the groups are Recipe's own fields
    if complaints := broken_rules(recipe, among=set(SHOWN) - {"model_name_or_path"}):
        raise ArgumentError(spelled.explain(complaints))
    return recipe, values


def _progress(share: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rlooking for the page {share:4.0%}")
