"""The datasets a workspace knows: `dataset_info.json` at the top level and in `dataset_dir`.

Both are read anew each time, so edits are seen at once. An entry is checked when it is asked for:
one broken entry leaves the others usable.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.data.encoding import check_head, not_utf8
from studio.data.entry import DatasetEntry, entry_of, kind_of
from studio.data.syntax import TOO_DEEP, likely_cause, place, refused_value, scan, scan_any, skip_space
from studio.errors import DatasetError
from studio.registry import did_you_mean
from studio.workspace import Workspace

__all__ = ["Catalog", "DatasetEntry", "kind_of", "read_catalog"]

FILE = "dataset_info.json"
EXAMPLE = '{"my_data": {"file_name": "rows.json"}}'
_SHOWN = 20


@dataclass(frozen=True)
class _Found:
    """An entry as it stands in a registry, not checked yet, or the complaint about it."""

    raw: Any
    origin: Path
    base: Path
    complaint: str = ""


class Catalog:
    """Entries by name. `notes` are sentences the user should see, such as a name in two registries."""

    def __init__(self, found: dict[str, _Found], looked: list[Path], notes: list[str]) -> None:
        self._found, self._looked, self.notes = found, looked, notes

    @property
    def names(self) -> list[str]:
        """Every registered name, broken entries too."""
        return list(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __getitem__(self, name: str) -> DatasetEntry:
        """The entry of a name. Raises DatasetError when there is none, or it is not right."""
        if name not in self._found:
            raise DatasetError(self._unknown(name))
        found = self._found[name]
        if found.complaint:
            raise DatasetError(f"dataset {name!r} ({found.origin}): {found.complaint}.")
        return entry_of(name, found.raw, found.origin, found.base)

    def _unknown(self, name: str) -> str:
        files = " and ".join(map(str, self._looked))
        if not self._found:
            return f"no dataset is named {name!r}: {files} register none. Write an entry there."
        more = len(self._found) - _SHOWN
        known = ", ".join(self.names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"no dataset is named {name!r} in {files}; there are {known}.{did_you_mean(name, self.names)}"


def read_catalog(place: Workspace, dataset_dir: str = "data") -> Catalog:
    """Both registries together; for a name in both, the one in `dataset_dir` counts, with a note.

    Raises DatasetError when a registry does not parse (with file, line, column and the likely
    cause), or when `dataset_dir` is no folder.
    """
    if dataset_dir == "ONLINE" or dataset_dir.startswith("REMOTE:"):
        raise DatasetError(
            f"dataset_dir must be a folder on this machine, not {dataset_dir!r}. Download the data and "
            f"register it in {FILE}."
        )
    folder = place.path(dataset_dir)
    if not folder.is_dir() and folder != place.data:
        raise DatasetError(
            f"dataset_dir must be an existing folder, but {folder} is none. Create it, or correct the path."
        )
    top, inner = place.dataset_info, folder / FILE
    sources = [(top, place.data), (inner, folder)]
    if top.exists() and inner.exists() and top.samefile(inner):
        sources = [(inner, folder)]
    found: dict[str, _Found] = {}
    notes = []
    for origin, base in sources:
        if not origin.exists():
            continue
        for name, entry in _read(origin, base).items():
            if name in found:
                notes.append(f"dataset {name!r} stands in {found[name].origin} and in {origin}; the latter is used.")
            found[name] = entry
    return Catalog(found, [origin for origin, _ in sources], notes)


def _read(origin: Path, base: Path) -> dict[str, _Found]:
    """The entries of one registry, unchecked."""
    if origin.stat().st_size == 0:
        raise DatasetError(f"{origin} is empty. Write {{}} into it, or entries such as {EXAMPLE}.")
    check_head(origin)
    data = origin.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(origin, error.start) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        members = _members(text)
    except json.JSONDecodeError as error:
        cause, at = likely_cause(error)
        line, column = place(text, at)
        if text.lstrip()[:1] == '"' and error.msg.startswith("Extra data"):
            cause = f"the outer braces are missing; the whole must read {EXAMPLE}"
        raise DatasetError(f"{origin}: line {line}, column {column}: {cause}.") from None
    except RecursionError:
        raise DatasetError(f"{origin}: {TOO_DEEP}.") from None
    if members is None:
        raise DatasetError(
            f"{origin} must be an object that leads from names to entries, {EXAMPLE}; it holds something else. "
            "Write it so."
        )
    found: dict[str, _Found] = {}
    first: dict[str, int] = {}
    for name, at, raw, complaint in members:
        if name in found:
            lines = [place(text, position)[0] for position in (first[name], at)]
            complaint = f"it stands twice in one file, on lines {lines[0]} and {lines[1]}; rename or remove one"
        found[name] = _Found(raw, origin, base, complaint or _name_complaint(name))
        first.setdefault(name, at)
    return found


def _members(text: str) -> list[tuple[str, int, Any, str]] | None:
    """(name, position, entry, complaint) of each member of the outer object; None if it is none.

    `json` itself would keep only the last of two entries with one name. Raises JSONDecodeError.
    """
    at = skip_space(text, 0)
    if text[at : at + 1] != "{":
        json.loads(text, parse_int=str)
        return None
    members: list[tuple[str, int, Any, str]] = []
    at = skip_space(text, at + 1)
    while text[at : at + 1] == '"':
        start = at
        name, end = scan_any(text, at)
        colon = skip_space(text, end)
        at = skip_space(text, colon + 1)
        if text[colon : colon + 1] != ":":
            break
        try:
            raw, complaint = None, ""
            raw, end = scan(text, at)
        except (StopIteration, json.JSONDecodeError):
            break
        except ValueError as error:
            complaint, end = refused_value(error), scan_any(text, at)[1]
        members.append((name, start, raw, complaint))
        at = skip_space(text, end)
        if text[at : at + 1] != ",":
            break
        at = skip_space(text, at + 1)
    # The library's own reading of the whole has the last word on what is an error, and where.
    json.loads(text, parse_int=str)
    return members


def _name_complaint(name: str) -> str:
    """Names are written in lists with commas and shown in pages, so some marks are not allowed."""
    bad = re.search(r"[,/\\\x00-\x1f\x7f\ud800-\udfff]", name)
    if not bad and name and name == name.strip() and len(name) <= 200:
        return ""
    found = f"it holds {bad[0]!r}" if bad else f"it has {len(name)} characters, or white space around it"
    return (
        "a name must be 1 to 200 characters without commas, slashes, control characters or outer "
        f"white space, but {found}; rename it"
    )
