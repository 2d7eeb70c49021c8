"""The datasets a workspace knows: `dataset_info.json` at the top level and in `dataset_dir`, and single files.

Both are read anew each time, so edits are seen at once. An entry is checked when it is asked for:
one broken entry leaves the others usable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from studio.data.encoding import check_head, not_utf8
from studio.data.entry import DatasetEntry, entry_of
from studio.data.recognise import Guess, recognise
from studio.data.source import rows
from studio.data.syntax import TOO_DEEP, likely_cause, place, refused_value, scan, scan_any, skip_space
from studio.data.textfile import TextFile
from studio.errors import DatasetError, RowError
from studio.registry import did_you_mean
from studio.workspace import Workspace

__all__ = ["Catalog", "DatasetEntry", "Unreadable", "entry_of_file", "read_catalog", "registry_of"]

FILE = "dataset_info.json"
EXAMPLE = '{"my_data": {"file_name": "rows.json"}}'
_SHOWN = 20
# So many rows tell what the others are like.
_LOOKED_AT = 200


@dataclass(frozen=True)
class _Found:
    """An entry as it stands in a registry, not checked yet, or the complaint about it."""

    raw: Any
    origin: Path
    base: Path
    complaint: str = ""
    line: int = 0


class Unreadable(DatasetError):
    """A registry as a whole cannot be read: which, why, and where (from 1; 0 where no place can be told)."""

    def __init__(self, sentence: str, origin: Path, line: int = 0, column: int = 0) -> None:
        super().__init__(sentence)
        self.sentence, self.origin, self.line, self.column = sentence, origin, line, column

    def __reduce__(self) -> tuple[type[Unreadable], tuple[str, Path, int, int]]:
        return type(self), (self.sentence, self.origin, self.line, self.column)


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

    @property
    def looked(self) -> list[Path]:
        """The registries that were read, or would be if they were there."""
        return list(self._looked)

    def line(self, name: str) -> int:
        """The line on which an entry begins in its registry."""
        return self._found[name].line

    def origin(self, name: str) -> Path:
        """The registry an entry stands in."""
        return self._found[name].origin

    def _unknown(self, name: str) -> str:
        files = " and ".join(map(str, self._looked))
        if not self._found:
            return f"no dataset is named {name!r}: {files} register none. Write an entry there."
        more = len(self._found) - _SHOWN
        known = ", ".join(self.names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"no dataset is named {name!r} in {files}; there are {known}.{did_you_mean(name, self.names)}"


def read_catalog(place: Workspace, dataset_dir: str = "data", instead: Mapping[Path, str] | None = None) -> Catalog:
    """Both registries together; for a name in both, the one in `dataset_dir` counts, with a note.

    `instead` leads from registries to texts that are read in their place.
    Raises DatasetError when a registry does not parse (Unreadable, with file, line, column and the
    likely cause), or when `dataset_dir` is no folder.
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
        text = (instead or {}).get(origin)
        for name, entry in _entries(text_of(origin) if text is None else text, origin, base).items():
            if name in found:
                notes.append(f"dataset {name!r} stands in {found[name].origin} and in {origin}; the latter is used.")
            found[name] = entry
    return Catalog(found, [origin for origin, _ in sources], notes)


def registry_of(place: Workspace, dataset_dir: str = "data") -> tuple[Path, Path]:
    """The registry that a new entry goes into, and the folder its paths are relative to.

    It is the one in `dataset_dir` where that is another folder or has one, else the one at the top.
    """
    folder = place.path(dataset_dir)
    if folder != place.data or (folder / FILE).exists():
        return folder / FILE, folder
    return place.dataset_info, place.data


def entry_of_file(path: str, place: Workspace, *, encoding: str = "") -> DatasetEntry:
    """The entry of a file (or folder, or pattern) that stands in no registry; its first rows say what it holds.

    It is called as the file is. Raises DatasetError when it cannot be read, or its columns are not
    those of any format.
    """
    bare = entry_of(Path(path).name or path, written(path, encoding), place.path(path), place.root)
    file = bare.files()[0]
    guess = guess_of(file, bare.encoding, place)
    raw = {**written(path, encoding), **guess.entry()}
    entry = entry_of(bare.name, raw, bare.origin, bare.base)
    # Nobody said that each row has these columns, so what may be absent in a format may be so here.
    why = f"{place.shown(file)} is read as {guess.formatting}: {guess.why}"
    return entry.model_copy(update={"listed": False, "why": why})


def written(path: str, encoding: str) -> dict[str, Any]:
    """The keys of an entry that say where the rows are."""
    return {"file_name": path, **({"encoding": encoding} if encoding else {})}


def guess_of(file: Path, encoding: str, place: Workspace) -> Guess:
    """What the first rows of a file seem to be. Raises DatasetError that names the file."""
    first = [row for _, row in islice(rows(file, encoding=encoding), _LOOKED_AT)]
    good = [row for row in first if not isinstance(row, RowError)]
    if not good:
        raise next(row for row in first if isinstance(row, RowError))
    try:
        return recognise(good)
    except DatasetError as error:
        raise DatasetError(f"{place.shown(file)}: {error}") from None


def catalog_in(text: str, origin: Path, base: Path) -> Catalog:
    """The entries of a registry's text, which need not be on the disk. Raises Unreadable."""
    return Catalog(_entries(text, origin, base), [origin], [])


def text_of(origin: Path) -> str:
    """The text of a registry, its line ends as they are. Raises Unreadable when it is none."""
    if origin.stat().st_size == 0:
        raise Unreadable(f"{origin} is empty. Write {{}} into it, or entries such as {EXAMPLE}.", origin)
    data = origin.read_bytes()
    try:
        check_head(TextFile(origin))
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(str(not_utf8(TextFile(origin), error.start)), origin) from None
    except DatasetError as error:
        raise Unreadable(str(error), origin) from None


def _entries(text: str, origin: Path, base: Path) -> dict[str, _Found]:
    """The entries in the text of one registry, unchecked."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise Unreadable(f"{origin} is empty. Write {{}} into it, or entries such as {EXAMPLE}.", origin, 1, 1)
    try:
        members = _members(text)
    except json.JSONDecodeError as error:
        cause, at = likely_cause(error)
        line, column = place(text, at)
        if text.lstrip()[:1] == '"' and error.msg.startswith("Extra data"):
            cause = f"the outer braces are missing; the whole must read {EXAMPLE}"
        raise Unreadable(f"{origin}: line {line}, column {column}: {cause}.", origin, line, column) from None
    except RecursionError:
        raise Unreadable(f"{origin}: {TOO_DEEP}.", origin) from None
    if members is None:
        raise Unreadable(
            f"{origin} must be an object that leads from names to entries, {EXAMPLE}; it holds something else. "
            "Write it so.",
            origin, 1, 1,
        )  # fmt: skip
    found: dict[str, _Found] = {}
    first: dict[str, int] = {}
    line, seen = 1, 0
    for name, at, raw, complaint in members:
        line += text.count("\n", seen, at)
        seen = at
        if name in found:
            complaint = f"it stands twice in one file, on lines {first[name]} and {line}; rename or remove one"
        found[name] = _Found(raw, origin, base, complaint or name_complaint(name), line)
        first.setdefault(name, line)
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


def name_complaint(name: str) -> str:
    """Names are written in lists with commas and shown in pages, so some marks are not allowed."""
    bad = re.search(r"[,/\\\x00-\x1f\x7f\ud800-\udfff]", name)
    if not bad and name and name == name.strip() and len(name) <= 200:
        return ""
    found = f"it holds {bad[0]!r}" if bad else f"it has {len(name)} characters, or white space around it"
    return (
        "a name must be 1 to 200 characters without commas, slashes, control characters or outer "
        f"white space, but {found}; rename it"
    )
