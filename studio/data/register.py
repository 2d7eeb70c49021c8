"""A new entry in `dataset_info.json`: written in the file's own style, all else left as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from studio.data.catalog import guess_of, name_complaint, read_catalog, registry_of, written
from studio.data.edit import replace, writing
from studio.data.entry import entry_of
from studio.errors import DatasetError
from studio.workspace import Workspace


def recognised(path: str, place: Workspace, *, encoding: str = "", dataset_dir: str = "data") -> tuple[Any, str]:
    """The entry that a file (or folder, or pattern) should have in the registry, and why it is read so.

    Its file_name is relative to the folder of the registry where it lies inside it, else absolute.
    Raises DatasetError when it cannot be read, or is of no known form.
    """
    _, base = registry_of(place, dataset_dir)
    asked = place.path(path)
    raw = place_of(path, place, encoding=encoding, dataset_dir=dataset_dir)
    bare = entry_of(asked.name, raw, asked, base)
    found = bare.found()
    guess = guess_of(found.files[0], bare.encoding, place)
    raw |= {"split": found.split} if found.split else {}
    return {**raw, **guess.entry()}, "\n".join((f"{guess.formatting}: {guess.why}", *found.notes))


def place_of(path: str, place: Workspace, *, encoding: str = "", dataset_dir: str = "data") -> dict[str, Any]:
    """The keys of an entry that say where a file is, as its registry should have them."""
    _, base = registry_of(place, dataset_dir)
    asked = place.path(path)
    file_name = asked.relative_to(base).as_posix() if asked.is_relative_to(base) and asked != base else str(asked)
    return written(file_name, encoding)


def register(name: str, raw: dict[str, Any], place: Workspace, dataset_dir: str = "data") -> Path:
    """Write an entry under a new name; gives the registry it stands in now.

    The file appears whole or not at all. Raises DatasetError for a name that is taken or cannot be
    one, or an entry that is not right; WorkspaceError when another command writes there.
    """
    origin, base = registry_of(place, dataset_dir)
    if complaint := name_complaint(name):
        raise DatasetError(f"--name {name!r}: {complaint}.")
    entry_of(name, raw, origin, base)
    with writing(place):
        # Read with the lock held: another command may have added the same name a moment ago.
        if name in read_catalog(place, dataset_dir):
            raise DatasetError(
                f"--name {name}: a dataset of this name is registered. Choose another, or edit its entry."
            )
        before = origin.read_bytes().decode() if origin.exists() else "{\n}\n"
        replace(origin, with_entry(before, name, raw), place)
    return origin


def with_entry(text: str, name: str, raw: dict[str, Any]) -> str:
    """The text of a registry with one entry more at its end, laid out as the ones before it."""
    end = text.rindex("}")
    body = text[:end].rstrip()
    comma = "" if body.endswith("{") else ","
    found = re.match(r"\ufeff?\s*\{[ \t]*(\r?\n|\r)([ \t]*)", text)
    if found is None:
        space = " " if comma else ""
        return f"{body}{comma}{space}{json.dumps({name: raw}, ensure_ascii=False)[1:-1]}{text[end:]}"
    line, indent = found[1], found[2] or "  "
    step: str | int = "\t" if "\t" in indent else len(indent)
    lines = json.dumps({name: raw}, ensure_ascii=False, indent=step).splitlines()[1:-1]
    return body + comma + line + line.join(lines) + line + text[end:]
