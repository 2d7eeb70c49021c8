"""One entry of `dataset_info.json`, checked key by key; it says its own errors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from studio.data.converted import codec_of
from studio.data.encoding import REGISTRY
from studio.data.example import FORMATS, TAGS
from studio.data.files import Found, hub_files, local_files
from studio.errors import DatasetError
from studio.registry import did_you_mean

_DOWNLOAD = "download the file, put it under the data folder and name it with file_name"
_NO_MEDIA = "take it out and train on the text columns"

# Keys of the ecosystem that change which rows come out, so passing over them would mislead.
_REFUSED_KEYS = {
    "om_hub_url": _DOWNLOAD,
    "script_url": f"a script would run foreign code; {_DOWNLOAD}",
    "cloud_file_name": _DOWNLOAD,
}
_REFUSED_COLUMNS = dict.fromkeys(("images", "videos", "audios"), _NO_MEDIA)
_HUBS = ("hf_hub_url", "ms_hub_url")
KNOWN_KEYS = (
    "file_name", *_HUBS, "revision", "formatting", "ranking", "columns", "tags",
    "folder", "subset", "split", "num_samples", "sample_by", "encoding",
)  # fmt: skip
_SAMPLE_BY = ("line", "paragraph", "document")


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
        complaints = [f'it must be an object such as {{"file_name": "rows.json"}}, not {_shown(raw)}']
        raise _wrong(name, origin, complaints)
    given = {key: value for key, value in raw.items() if value is not None}
    complaints = [complaint for key, value in given.items() if (complaint := _complaint(key, value, given))]
    formatting = given.get("formatting", "alpaca")
    if not any(key in given for key in ("file_name", "folder", *_HUBS, *_REFUSED_KEYS)):
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
    if not any(key in given for key in _HUBS):
        return None
    ms = "ms_hub_url" in given and (_is_on("USE_MODELSCOPE_HUB") or "hf_hub_url" not in given)
    repo = given["ms_hub_url" if ms else "hf_hub_url"]
    return HubSource("ms" if ms else "hf", repo, given.get("revision", ""), folder, subset)


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on", "y")


def _columns(given: Mapping[str, Any], formatting: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = given.get("columns", FORMATS[formatting].columns)
    return found


def _of_format(given: Mapping[str, Any], formatting: str) -> list[str]:
    """What of the entry does not fit its format."""
    known = FORMATS[formatting]
    complaints = _pairs("columns", given.get("columns", {}), known.meanings, _REFUSED_COLUMNS)
    complaints += _pairs("tags", given.get("tags", {}), tuple(TAGS), {})
    if given.get("columns") == {}:
        complaints.append("columns is empty; name the columns, or take the key out for the defaults")
    ranking, columns = given.get("ranking", False), _columns(given, formatting)
    complaints += _tags(given, formatting, ranking=ranking)
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


def _complaint(key: str, value: Any, given: Mapping[str, Any]) -> str:
    """What is wrong with one key of an entry, '' when nothing is."""
    # Another hub beside one that is read is only its alternative.
    if key == "om_hub_url" and any(hub in given for hub in _HUBS) and not _is_on("USE_OPENMIND_HUB"):
        return ""
    if key in _REFUSED_KEYS:
        return f"{key} is not supported: {_REFUSED_KEYS[key]}"
    if key not in KNOWN_KEYS:
        return f"{key!r} is no key of an entry.{did_you_mean(key, [*KNOWN_KEYS, *_REFUSED_KEYS])}".rstrip(".")
    if key == "revision" and not any(hub in given for hub in _HUBS):
        return "revision is that of a dataset on a hub; take it out, or write hf_hub_url"
    check = _CHECKS.get(key)
    return check(value) if check else ""


def _file_name(value: Any) -> str:
    names = value if isinstance(value, list) and value else [value]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            return f"file_name must be the path of a file, or a list of paths, not {_shown(value)}"
        if re.match(r"[a-z0-9]+://", name):
            return f"file_name must be a path on this machine, not the address {name[:80]!r}; {_DOWNLOAD}"
    return ""


def _repository(key: str, value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value):
        return ""
    return f"{key} must be the name of a repository such as owner/name, not {_shown(value)}"


def _formatting(value: Any) -> str:
    return _one_of("formatting", value, tuple(FORMATS))


def _one_of(key: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value in allowed:
        return ""
    near = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return f"{key} must be one of {', '.join(allowed)}, not {_shown(value)}" + (near and f".{near}")


def _split(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]+", value):
        return ""
    return (
        f"split must be one word such as train or test, not {_shown(value)}; for a part of a split set num_samples, "
        "or max_samples in the command"
    )


def _encoding(value: Any) -> str:
    try:
        codec_of(value if isinstance(value, str) else str(value))
    except DatasetError as error:
        return f"encoding: {error}".rstrip(".")
    return ""


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**8:
        return ""
    return f"num_samples must be a number of rows from 1 to 100,000,000, not {_shown(value)}"


def _word(key: str, value: Any) -> str:
    if isinstance(value, str) and value.strip() and ".." not in value.split("/"):
        return ""
    return f"{key} must be a name, not {_shown(value)}"


def _mapping(key: str, value: Any) -> str:
    return "" if isinstance(value, dict) else f"{key} must be an object of names, not {_shown(value)}"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "file_name": _file_name,
    "hf_hub_url": lambda value: _repository("hf_hub_url", value),
    "ms_hub_url": lambda value: _repository("ms_hub_url", value),
    "revision": lambda value: _word("revision", value),
    "formatting": _formatting,
    "ranking": lambda value: "" if isinstance(value, bool) else f"ranking must be true or false, not {_shown(value)}",
    "folder": lambda value: _word("folder", value),
    "subset": lambda value: _word("subset", value),
    "split": _split,
    "num_samples": _number,
    "encoding": _encoding,
    "columns": lambda value: _mapping("columns", value),
    "tags": lambda value: _mapping("tags", value),
    "sample_by": lambda value: _one_of("sample_by", value, _SAMPLE_BY),
}


def _pairs(key: str, given: dict[str, Any], known: tuple[str, ...], refused: Mapping[str, str]) -> list[str]:
    """What is wrong in `columns` or `tags`, one complaint each."""
    complaints = []
    for part, word in given.items():
        if word is None:
            continue
        if part in refused:
            complaints.append(f"{key}.{part} is not supported: {refused[part]}")
        elif part not in known:
            near = did_you_mean(part, known)
            complaints.append(f"{key}.{part} is not known here; there are {', '.join(known)}" + (near and f".{near}"))
        elif not isinstance(word, str) or not word:
            complaints.append(f"{key}.{part} must be a name, not {_shown(word)}")
    return complaints


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
