"""`studio data clean`: sources → cleaned rows as files, with an account of every step.

Three passes: each row by itself, in several processes; keys of all rows compared on the disk; the files written anew
without the duplicates. Memory holds some chunks of rows and one part of the keys, whatever the size of the data.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.cleaning.chunk import Recipe, bands_of
from studio.cleaning.crew import cleaned
from studio.cleaning.duplicates import Duplicates
from studio.cleaning.language import check_codes
from studio.cleaning.refusals import Refusals
from studio.cleaning.sources import Source, entry_for, find
from studio.cleaning.store import Store
from studio.cleaning.tally import STEPS, Tally
from studio.data.hashes import file_hash
from studio.data.origin import ACCOUNT, MADE_BY
from studio.data.register import place_of, register
from studio.errors import ArgumentError, DatasetError, StudioError, counted
from studio.model.staging import staged
from studio.works.base import Ear
from studio.works.clean import CleanSet
from studio.workspace import Workspace, write_json

_SCRATCH = ".scratch"
# How much of the bar each pass takes.
_COMPARED, _WRITTEN = 80.0, 95.0


@dataclass
class _Course:
    """What one command has so far."""

    asked: CleanSet
    place: Workspace
    ear: Ear
    tally: Tally
    refusals: Refusals
    read: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run(asked: CleanSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Clean the sources; gives what stands in clean.json, and where it is.

    output         the folder, as a person would type it
    name           the name in the registry, "" when none was asked for; registry: the file it stands in
    rows           rows read of the sources; kept: rows that stay; removed: by all steps together; refused: unreadable
    characters     {"before", "after"} would need the texts twice, so bytes are told: bytes {"before", "after"}
    sources        [{"name", "files": [{"path", "sha256", "bytes"}], "rows", "kept", "output"}]
    held_out       [{"name", "files": [...], "rows"}]
    steps          in their order, those that were asked for: [{"step", "changed", "removed", "reasons": {why: rows},
                   "samples"}]. `step` is the name of its argument; "empty" removes rows of which nothing was left.
                   A sample of a step that changes: {"file", "row", "before", "after"}; of one that removes: {"file",
                   "row", "text"}, with "why" where there are several reasons, and for duplicates with "similarity"
                   and "like": {"file", "row", "text"}, the row that stays.
    bad_rows       [{"dataset", "file", "row", "why"}], the first hundred; bad_reasons {why: rows}
    recipe         every argument with its value
    seconds        {"clean", "compare", "write"}; scratch_bytes: what keys took on the disk
    """
    check_codes(asked.filters.languages)
    sources, held, notes = find(asked, place)
    for note in notes:
        ear.say(note)
    course = _Course(asked, place, ear, Tally(asked.output.samples), Refusals(asked))
    target = place.target(asked.output.output_dir)
    with staged(target, replace=asked.output.overwrite_output_dir) as folder:
        found = _into(folder, course, sources, held)
        write_json(folder / ACCOUNT, found)
    found |= {"output": place.shown(target), "name": asked.output.name, "registry": ""}
    if asked.output.name:
        found["registry"] = _registered(asked, place, sources, target)
    return found


def as_text(found: dict[str, Any]) -> str:
    """The account as lines: rows, then what each step did."""
    size = found["bytes"]
    lines = [
        f"{found['output']}: {counted(found['kept'], 'row')} of {found['rows']:,} kept "
        f"({size['after'] / 1e6:,.1f} of {size['before'] / 1e6:,.1f} MB)"
    ]
    for step in found["steps"]:
        done = [f"{step[what]:,} {what}" for what in ("changed", "removed") if step[what]]
        why = ", ".join(f"{reason} {count:,}" for reason, count in list(step["reasons"].items())[:6])
        lines.append(f"  {step['step']:<20}{', '.join(done) or 'nothing to do'}" + (f" ({why})" if why else ""))
    if found["refused"]:
        lines.append(f"  {counted(found['refused'], 'row')} could not be read and were left out:")
        lines += [f"    {bad['file']}, row {bad['row']}: {bad['why']}" for bad in found["bad_rows"][:5]]
    lines.append(f"Samples of each step stand in {found['output']}/{ACCOUNT}.")
    if found["name"]:
        lines.append(f"Registered as {found['name']} in {found['registry']}.")
    return "\n".join(lines)


def _into(folder: Path, course: _Course, sources: list[Source], held: list[Source]) -> dict[str, Any]:
    """Everything but the name: the files in `folder`, and the account of them."""
    asked, place, ear = course.asked, course.place, course.ear
    scratch = folder / _SCRATCH
    scratch.mkdir()
    every = [*held, *sources]
    size = max(sum(source.size for source in every), 1)
    paths = [scratch / f"held-{number}" for number in range(len(held))]
    paths += [folder / source.output for source in sources]
    keys = Duplicates(asked, scratch, size)
    with Store(scratch, every, paths) as store:
        clock = time.monotonic()
        _read_all(course, every, len(held), store, keys)
        course.refusals.check(sum(course.read.values()))
        for source in every:
            source.must_be_unchanged()
        store.written()
        clock = _lap(course, "clean", clock)
        keys.mark(
            store, course.tally, place.shown,
            lambda done, total: ear.tell(_COMPARED + (_WRITTEN - _COMPARED) * done / total, 100, "comparing rows"),
        )  # fmt: skip
        clock = _lap(course, "compare", clock)
        left = store.finish(lambda: ear.tell(_WRITTEN, 100, "writing rows"))
        _lap(course, "write", clock)
    shutil.rmtree(scratch)
    _some_must_stay(course, len(held), sum(left[len(held) :]))
    return _account(course, sources, held, left, keys.bytes) | {
        "bytes": {
            "before": sum(source.size for source in sources),
            "after": sum((folder / source.output).stat().st_size for source in sources),
        }
    }


def _read_all(course: _Course, every: list[Source], held: int, store: Store, keys: Duplicates) -> None:
    """The first pass: each row by itself; held-out sources before the others."""
    asked, shown = course.asked, course.place.shown
    size, before = max(sum(source.size for source in every), 1), 0
    for number, source in enumerate(every):
        names = {path: (at, shown(path)) for at, path in enumerate(source.files)}
        recipe = Recipe(asked, source.entry, names, number < held, bands_of(asked))
        text = f"{'reading' if number < held else 'cleaning'} {source.entry.name}"

        def hear(done: float, text: str = text, before: int = before) -> None:
            course.ear.tell(_COMPARED * (before + done) / size, 100, text)

        rows = 0
        for done in cleaned(recipe, source, asked.output.preprocessing_num_workers, hear):
            rows += done.read
            course.tally.add(done.tally)
            course.refusals.add(source.entry.name, done.refused)
            keys.add(done, store.add(number, done))
        course.read[f"{number}"] = rows
        before += source.size
        if number < held:
            store.held = store.rows


def _lap(course: _Course, name: str, since: float) -> float:
    now = time.monotonic()
    course.seconds[name] = round(now - since, 2)
    return now


def _some_must_stay(course: _Course, held: int, kept: int) -> None:
    if kept:
        return
    removed = sorted(((step.removed, name) for name, step in course.tally.steps.items() if step.removed), reverse=True)
    most = ", ".join(f"{name} {count:,}" for count, name in removed[:4]) or "skip_bad_rows"
    read = sum([*course.read.values()][held:])
    raise DatasetError(
        f"all {counted(read, 'row')} were removed, most by {most}. Nothing is written: lower that threshold, or "
        "switch the step off."
    )


def _wanted_steps(asked: CleanSet) -> Iterator[str]:
    """The steps that are switched on."""
    given = asked.flat()
    on = {
        "personal": given["personal"] != "keep" and bool(given["personal_kinds"]),
        "min_length": given["min_length"] > 0, "max_symbols": given["max_symbols"] < 1,
        "max_broken": given["max_broken"] < 1, "max_length": True,
        "empty": False,
    }  # fmt: skip
    for name in STEPS:
        if on.get(name, bool(given.get(name))):
            yield name


def _account(
    course: _Course, sources: list[Source], held: list[Source], left: list[int], scratch: int
) -> dict[str, Any]:
    place, rows = course.place, list(course.read.values())
    refused = course.refusals

    def told(source: Source, number: int) -> dict[str, Any]:
        files = [
            {"path": place.shown(path), "sha256": file_hash(path, place.cache), "bytes": path.stat().st_size}
            for path in source.files
        ]
        return {"name": source.entry.name, "files": files, "rows": rows[number]}

    first = len(held)
    read, kept = sum(rows[first:]), sum(left[first:])
    return {
        "made_by": MADE_BY, "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "rows": read, "kept": kept, "refused": refused.count, "removed": read - kept - refused.count,
        "sources": [
            told(source, number) | {"kept": left[number], "output": source.output}
            for number, source in enumerate(sources, first)
        ],
        "held_out": [told(source, number) for number, source in enumerate(held)],
        "steps": course.tally.as_json(list(_wanted_steps(course.asked))),
        "bad_rows": refused.first(), "bad_reasons": refused.reasons(),
        "recipe": course.asked.flat(), "seconds": course.seconds, "scratch_bytes": scratch,
    }  # fmt: skip


def _registered(asked: CleanSet, place: Workspace, sources: list[Source], target: Path) -> str:
    """Register what was written; gives the registry. What is written stays when that fails."""
    folder = asked.source.dataset_dir
    files = [
        place_of(str(target / source.output), place, dataset_dir=folder)["file_name"]
        for source in sources
    ]  # fmt: skip
    try:
        return place.shown(register(asked.output.name, entry_for(sources[0], files), place, folder))
    except StudioError as error:
        raise ArgumentError([f"{error} The cleaned rows are complete in {place.shown(target)}."]) from None
