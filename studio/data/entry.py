"""One entry of `dataset_info.json`, checked key by key; it says its own errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from studio.data.converted import codec_of
from studio.data.encoding import REGISTRY
from studio.data.example import FORMATS, TAGS
from studio.data.files import Found, hub_files, local_files
from studio.data.keys import HUBS, REFUSED_COLUMNS, REFUSED_KEYS, complaint_of, is_on, shown, wrong_names
from studio.errors import DatasetError


@dataclass(frozen=True)
class HubSource:
    """A dataset on a hub: Hugging Face (hf) or ModelScope (ms), and which part of the repository."""

    where: Literal["hf", "ms"]
    repo: str
    revision: str = ""
    folder: str = ""
    subset: str = ""


class DatasetEntry(BaseModel):
    """What `dataset_info.json` says of one dataset, with defaults filled in.

    `columns` leads from a meaning (prompt, query, response, system, history, messages) to the name
    of a column; `listed` says whether the entry wrote them itself, and then each must be there.
    `tags` leads from role_tag, content_tag, user_tag and so on to the words in the file.
    `origin` is the registry the entry stands in, `base` the folder that `file_name` (paths, folders
    or patterns) is relative to. The hub is asked before `file_name`, which stands in for it.
    `encoding` is Python's name of it, "" for UTF-8; `num_samples` 0 takes every row once. `why` says
    how an entry that nobody wrote came about.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: Path
    base: Path
    file_name: tuple[str, ...] = ()
    hub: HubSource | None = None
    formatting: str = "alpaca"
    columns: Mapping[str, str]
    listed: bool = False
    tags: Mapping[str, str]
    ranking: bool = False
    sample_by: Literal["line", "paragraph", "document"] = "line"
    encoding: str = ""
    folder: str = ""
    subset: str = ""
    split: str = ""
    num_samples: int = 0
    why: str = ""
    # A hub is asked once: what it has could change between two readings of one run.
    _fetched: Found | None = PrivateAttr(None)

    def files(self) -> list[Path]:
        """The files of this dataset in the order they are read, all there and readable.

        Raises DatasetError for a missing file (with the right spelling when only the case
        differs), what no reader takes, a git-LFS pointer, a path outside the allowed roots, a part
        that no file fits, or a hub that gives nothing.
        """
        return list(self.found().files)

    def found(self) -> Found:
        """The files, and sentences on what was left out or where they come from. Raises DatasetError."""
        if self.hub is None:
            return local_files(self)
        if self._fetched is None:
            self._fetched = hub_files(self, self.hub)
        return self._fetched

    def says(self, key: str) -> str:
        """How a complaint about a key begins; one about a file that stands in no registry begins with its path."""
        return f"dataset {self.name!r} ({self.origin}), {key}: " if self.origin.name == REGISTRY else ""


def entry_of(name: str, raw: Any, origin: Path, base: Path) -> DatasetEntry:
    """The checked entry. Raises DatasetError with every complaint about it."""
    if not isinstance(raw, dict):
        complaints = [f'it must be an object such as {{"file_name": "rows.json"}}, not {shown(raw)}']
        raise _wrong(name, origin, complaints)
    given = {key: value for key, value in raw.items() if value is not None}
    complaints = [complaint for key, value in given.items() if (complaint := complaint_of(key, value, given))]
    formatting = given.get("formatting", "alpaca")
    if not any(key in given for key in ("file_name", "folder", *HUBS, *REFUSED_KEYS)):
        complaints.append("it lacks file_name; name the data file")
    if not complaints:
        complaints = _of_format(given, formatting)
    if complaints:
        raise _wrong(name, origin, complaints)
    columns = {meaning: column for meaning, column in _columns(given, formatting).items() if column}
    return DatasetEntry(
        name=name,
        origin=origin,
        base=base,
        **_place(given),
        formatting=formatting,
        columns=columns,
        listed="columns" in given,
        tags={**TAGS, **FORMATS[formatting].tags, **{tag: word for tag, word in given.get("tags", {}).items() if word}},
        ranking=given.get("ranking", False),
        sample_by=given.get("sample_by", "line"),
        encoding=codec_of(given.get("encoding", "utf-8")),
        split=given.get("split", ""),
        num_samples=given.get("num_samples", 0),
    )


def _place(given: Mapping[str, Any]) -> dict[str, Any]:
    """Where the files are; a folder alone is the dataset."""
    names = given.get("file_name", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    folder, subset = given.get("folder", ""), given.get("subset", "")
    hub = _hub(given, folder, subset)
    if not names and hub is None:
        names, folder = (folder,), ""
    return {"file_name": names, "hub": hub, "folder": folder, "subset": subset}


def _hub(given: Mapping[str, Any], folder: str, subset: str) -> HubSource | None:
    """Hugging Face, unless only ModelScope is given, or USE_MODELSCOPE_HUB asks for it."""
    if not any(key in given for key in HUBS):
        return None
    ms = "ms_hub_url" in given and (is_on("USE_MODELSCOPE_HUB") or "hf_hub_url" not in given)
    repo = given["ms_hub_url" if ms else "hf_hub_url"]
    return HubSource("ms" if ms else "hf", repo, given.get("revision", ""), folder, subset)


def _columns(given: Mapping[str, Any], formatting: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = given.get("columns", FORMATS[formatting].columns)
    return found


def _of_format(given: Mapping[str, Any], formatting: str) -> list[str]:
    """What of the entry does not fit its format."""
    known = FORMATS[formatting]
    complaints = wrong_names("columns", given.get("columns", {}), known.meanings, REFUSED_COLUMNS)
    complaints += wrong_names("tags", given.get("tags", {}), tuple(TAGS), {})
    if given.get("columns") == {}:
        complaints.append("columns is empty; name the columns, or take the key out for the defaults")
    ranking, columns = given.get("ranking", False), _columns(given, formatting)
    complaints += _tags(given, formatting, ranking=ranking)
    complaints = complaints or _one_for_two(columns)
    if complaints:
        return complaints
    both = ("chosen", "rejected")
    if ranking and not set(both) <= set(known.meanings):
        return [f"ranking is true, and rows of {formatting} are no pairs; take ranking out, or correct formatting"]
    missing = [f"columns.{meaning}" for meaning in both if not columns.get(meaning)]
    if (ranking or "chosen" in known.columns) and missing:
        return [f"rows in pairs need {' and '.join(missing)}; name the column"]
    if not ranking and "chosen" not in known.columns and len(missing) < len(both):
        return ['columns.chosen and columns.rejected are read with "ranking": true only; write it, or take them out']
    return []


def _one_for_two(columns: Mapping[str, Any]) -> list[str]:
    """The complaint about a column that is to be the question and its answer, or both sides of a pair."""
    pairs = (*itertools.product(("prompt", "query"), ("response", "chosen", "rejected")), ("chosen", "rejected"))
    return [
        f"columns.{one} and columns.{other} must be two columns, but both are {columns[one]!r}; correct one"
        for one, other in pairs
        if columns.get(one) and columns.get(one) == columns.get(other)
    ][:1]


def _tags(given: Mapping[str, Any], formatting: str, *, ranking: bool) -> list[str]:
    """Tags that nothing would read, or that are one word for two things."""
    own = given.get("tags", {})
    if own and not ranking and formatting not in ("sharegpt", "openai", "pairs"):
        return [f"tags say nothing to formatting {formatting}; write the formatting sharegpt, or take them out"]
    words = {**TAGS, **FORMATS[formatting].tags, **own}
    return [
        f"tags.{one} and tags.{other} must differ, but both are {words[one]!r}; correct one"
        for one, other in (("user_tag", "assistant_tag"), ("role_tag", "content_tag"))
        if words[one] == words[other]
    ]


def _wrong(name: str, origin: Path, complaints: list[str]) -> DatasetError:
    text = "; ".join(complaints).replace("?; ", "? Also, ")
    return DatasetError(f"dataset {name!r} ({origin}): {text}{'' if text.endswith('?') else '.'}")
