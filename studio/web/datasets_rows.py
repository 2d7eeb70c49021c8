"""Rows of a dataset for the page: raw, as a conversation, and as the tokens that training would see.

Rendering is that of training itself; it needs a tokenizer on this machine and no weights, so the
page's own process does it. Everything is told as text in which nothing hidden is left.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.arguments.check import fill
from studio.data.catalog import DatasetEntry, entry_of_file
from studio.data.edit import usable_catalog
from studio.data.entry import entry_of
from studio.data.inspect import RowView, characters, preview, statistics, visible
from studio.data.reading import counts
from studio.data.render import View
from studio.data.source import known_count
from studio.errors import ArgumentError, DatasetError, ModelError
from studio.material import find_weights, tokenizer_of
from studio.model.templates import Template
from studio.model.tokenizer import LightTokenizer
from studio.model.tokenizer_files import TOKENIZER_FILE
from studio.recipe import Recipe, broken_rules, recipe_groups
from studio.stages.base import stage_of
from studio.web.site import Site
from studio.workspace import Workspace

# What of a form decides how a row looks.
ASKED = ("model_name_or_path", "tokenizer_name_or_path", "template", "enable_thinking", "default_system",
         "cutoff_len", "stage", "train_on_prompt", "mask_history")  # fmt: skip
# A cell or message is folded after so many characters, a row of tokens after so many; asked for whole
# it still ends somewhere, for the browser's sake.
FOLDED, WHOLE = 2_000, 1_000_000
FOLDED_TOKENS, WHOLE_TOKENS = 1_500, 60_000
# Rows of files up to this size are counted at once.
_COUNTED_BYTES = 32 << 20


@dataclass(frozen=True)
class Lens:
    """How rows are looked at; `hint` says why there are no tokens."""

    view: View
    tokenizer: LightTokenizer | None = None
    template: Template | None = None
    notes: tuple[str, ...] = ()
    hint: str = ""


def entry_for(site: Site, dataset: str, path: str, encoding: str = "", mapping: Any = None) -> DatasetEntry:
    """The entry of a registered name, or of a file below data/ or a root. `mapping` says how a file is read.

    Raises DatasetError.
    """
    place = site.workspace
    if dataset:
        catalog, _ = usable_catalog(place)
        return catalog[dataset]
    file = data_file(site, path)
    if mapping is None:
        return entry_of_file(str(file), place, encoding=encoding)
    raw = {**mapping, "file_name": str(file), **({"encoding": encoding} if encoding else {})}
    return entry_of(file.name, raw, file, place.root)


def data_file(site: Site, path: str) -> Path:
    """A file that the page named: below data/, or below a folder named at the start. Raises DatasetError."""
    place = site.workspace
    found = place.path(path)
    real = found.resolve()
    inside = found.is_relative_to(place.data) or any(real.is_relative_to(root.resolve()) for root in site.roots)
    if not inside or any(part.startswith(".") for part in found.relative_to(found.anchor).parts[-1:]):
        raise DatasetError(f"{path!r} must be a file in the folder data. Upload it, or put it there.")
    return found


def lens_of(values: Mapping[str, Any], place: Workspace) -> Lens:
    """How a form's values show rows. Raises ArgumentError for values that cannot be.

    A model that cannot be opened here leaves the rows to be seen without tokens, with the reason.
    """
    recipe = recipe_of(values)
    view = stage_of(recipe).view(recipe)
    if not recipe.model.model_name_or_path:
        return Lens(view, hint="no_model")
    try:
        folder, _ = _local_model(recipe, place)
        tokenizer = _tokenizer(str(folder), _stamp(folder), place)
        tokenizer, template, notes = tokenizer_of(recipe, folder, place, opened=tokenizer)
    except ModelError as error:
        return Lens(view, hint=str(error))
    return Lens(view, tokenizer, template, tuple(notes))


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """The part of a recipe that decides how rows look. Raises ArgumentError."""
    raw = {name: values[name] for name in ASKED if values.get(name) not in (None, "")}
    groups = recipe_groups(str(raw.get("stage", "sft")))
    # What only another stage asks says nothing here.
    known = {name for kind in groups.values() for name in kind.model_fields} | {"stage"}
    filled = fill(groups, {name: value for name, value in raw.items() if name in known})
    if filled.complaints:
        raise ArgumentError(filled.complaints)
    recipe = Recipe(**filled.groups)  # type: ignore[arg-type]  # the groups are Recipe's own fields
    if complaints := broken_rules(recipe, among=set(ASKED) - {"model_name_or_path"}):
        raise ArgumentError(complaints)
    return recipe


def _local_model(recipe: Recipe, place: Workspace) -> tuple[Path, tuple[Path, ...]]:
    """The folder whose tokenizer makes the tokens. The page's process fetches nothing and converts nothing."""
    asked = recipe.model.tokenizer_name_or_path or recipe.model.model_name_or_path
    home = place.path(asked)
    if not home.is_dir():
        raise ModelError(f"tokens are shown for a model on this machine; {asked} is no folder here.")
    if not (home / TOKENIZER_FILE).is_file():
        raise ModelError(
            f"tokens are shown with a {TOKENIZER_FILE}; {asked} has none. The statistics of a dataset show its lengths."
        )
    if recipe.model.tokenizer_name_or_path:
        return home, ()
    return find_weights(recipe, place)


@functools.lru_cache(maxsize=2)
def _tokenizer(folder: str, _stamp: tuple[int, ...], place: Workspace) -> LightTokenizer:
    from studio.model.tokenizer import open_tokenizer

    return open_tokenizer(Path(folder), place.cache)


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes with what decides the tokens of a folder."""
    return tuple(path.stat().st_mtime_ns for path in sorted(folder.glob("*")) if path.suffix in (".json", ".jinja"))


def page_of(
    entry: DatasetEntry, lens: Lens, place: Workspace, start: int, count: int, *, whole: bool
) -> dict[str, Any]:
    """A page of rows as plain values. Raises DatasetError when the dataset cannot be read."""
    if entry.hub is not None:
        raise DatasetError(
            f"dataset {entry.name!r} lies on a hub, and this page fetches nothing. Start its statistics, which "
            "fetch it, or download it into data/ and register the file."
        )
    views = preview(entry, lens.tokenizer, lens.template, lens.view, place, start - 1, count)
    # The template is told by its name.
    notes = [entry.why, *entry.found().notes, *(note for note in lens.notes if not note.startswith("template: "))]
    return {
        "dataset": entry.name,
        "start": start,
        "total": _total(entry, place),
        "rows": [_row(view, whole=whole) for view in views],
        "summary": statistics(views) if lens.tokenizer else [],
        "notes": [visible(note) for note in notes if note],
        "hint": lens.hint,
        "template": lens.template.name if lens.template else "",
        "cutoff_len": lens.view.cutoff_len,
        "learns": lens.view.wants != "prompts",
    }


def _total(entry: DatasetEntry, place: Workspace) -> int | None:
    """The number of rows where it is known or soon told."""
    files = entry.files()
    if sum(file.stat().st_size for file in files) <= _COUNTED_BYTES:
        return sum(counts(entry, files, place.cache))
    known = [known_count(file, place.cache, sample_by=entry.sample_by, encoding=entry.encoding) for file in files]
    return sum(each for each in known if each) if all(known) else None


def _row(view: RowView, *, whole: bool) -> dict[str, Any]:
    most = WHOLE if whole else FOLDED
    example = view.example
    cells = [{"name": visible(str(name)), **_text(_plain(value), most)} for name, value in view.raw.items()]
    return {
        "row": view.number,
        "source": visible(view.source),
        "refused": visible(view.refused),
        "raw": cells,
        "messages": [_message(message, most) for message in example.messages],
        "chosen": [_message(message, most) for message in example.chosen],
        "rejected": [_message(message, most) for message in example.rejected],
        "document": _text(example.text, most) if example.text and not example.messages else None,
        "label": example.label,
        "tools": _text(example.tools, most) if example.tools else None,
        "renderings": _renderings(view, WHOLE_TOKENS if whole else FOLDED_TOKENS),
    }


def _message(message: Mapping[str, Any], most: int) -> dict[str, Any]:
    calls = [
        {"name": visible(str(call["function"]["name"])), **_text(_plain(call["function"]["arguments"]), most)}
        for call in message.get("tool_calls", ())
    ]
    thinking = str(message.get("reasoning_content") or "")
    return {
        "role": visible(str(message["role"])),
        **_text(_plain(message["content"] or ""), most),
        "thinking": _text(thinking, most) if thinking else None,
        "calls": calls,
        "unlearned": message.get("weight") == 0,
    }


def _renderings(view: RowView, most: int) -> list[dict[str, Any]]:
    """The tokens of each rendering: [text, learned or not, ids], parts of one character together."""
    found = []
    for side, each, tokens in zip(view.sides, view.renderings, view.tokens, strict=False):
        shown, mask = tokens[:most], each.loss_mask[:most]
        found.append(
            {
                "side": side,
                "count": len(each.input_ids),
                "learned": sum(each.loss_mask),
                "truncated": each.truncated,
                "folded": len(tokens) > most,
                "tokens": [
                    [visible(text), int(learned), [each.input_ids[place] for place in places]]
                    for places, text, learned in characters(shown, mask)
                ],
            }
        )
    return found


def _text(text: str, most: int) -> dict[str, Any]:
    """A text cut to what is shown, with everything that could hide or turn it written out, and its whole length."""
    return {"text": visible(text[:most]), "length": len(text), "folded": len(text) > most}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)


def asked_words(values: Mapping[str, Any]) -> Sequence[str]:
    """The same values as a command line has them, for the job that counts."""
    from studio.command import to_text

    known = recipe_of(values)
    fields = {name for group in recipe_groups(known.stage).values() for name in group.model_fields} | {"stage"}
    said = {name: values[name] for name in ASKED if values.get(name) not in (None, "") and name in fields}
    # What begins with a dash must hang on its name, or it would be read as a flag.
    hangs = {name: to_text(value).startswith("-") for name, value in said.items()}
    return [
        word
        for name, value in said.items()
        for word in ([f"--{name}={to_text(value)}"] if hangs[name] else [f"--{name}", to_text(value)])
    ]
