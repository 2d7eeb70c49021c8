"""One entry of `dataset_info.json`, checked key by key; it says its own errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from studio.data.encoding import read_head
from studio.data.example import FORMATS
from studio.errors import DatasetError, StudioError
from studio.registry import did_you_mean
from studio.workspace import resolve

_DOWNLOAD = "download the file, put it under the data folder and name it with file_name"
_NO_PAIRS = "map prompt and response (or messages) to rows with one answer"
_NO_MEDIA = "take it out and train on the text columns"

# Keys of the ecosystem that change which rows come out, so passing over them would mislead.
_REFUSED_KEYS = {
    "hf_hub_url": _DOWNLOAD,
    "ms_hub_url": _DOWNLOAD,
    "om_hub_url": _DOWNLOAD,
    "script_url": f"a script would run foreign code; {_DOWNLOAD}",
    "cloud_file_name": _DOWNLOAD,
    "subset": f"it picks a part of a hub dataset; {_DOWNLOAD}",
    "folder": f"it picks a folder of a hub dataset; {_DOWNLOAD}",
    "num_samples": "set max_samples in the command, or write a smaller file",
}
_REFUSED_COLUMNS = {
    "tools": "take it out and use rows without tool calls",
    "images": _NO_MEDIA,
    "videos": _NO_MEDIA,
    "audios": _NO_MEDIA,
    "chosen": _NO_PAIRS,
    "rejected": _NO_PAIRS,
    "kto_tag": _NO_PAIRS,
}
_KNOWN_KEYS = ("file_name", "formatting", "ranking", "columns", "tags", "split", "sample_by", "encoding")
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_SAMPLE_BY = ("line", "paragraph", "document")


class DatasetEntry(BaseModel):
    """What `dataset_info.json` says of one dataset, with defaults filled in.

    `columns` leads from a meaning (prompt, query, response, system, history, messages) to the name
    of a column; `listed` says whether the entry wrote them itself, and then each must be there.
    `tags` leads from role_tag, content_tag, user_tag and so on to the words in the file.
    `origin` is the registry the entry stands in, `base` the folder `file_name` is relative to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: Path
    base: Path
    file_name: str
    formatting: str = "alpaca"
    columns: Mapping[str, str]
    listed: bool = False
    tags: Mapping[str, str]
    sample_by: Literal["line", "paragraph", "document"] = "line"

    def files(self) -> list[Path]:
        """The files of this dataset, all there and readable.

        Raises DatasetError for a missing file (with the right spelling when only the case
        differs), a folder or device, a git-LFS pointer, or a path outside the allowed roots.
        """
        try:
            path = resolve(self.base, self.file_name)
        except StudioError as error:
            raise DatasetError(f"{self._says('file_name')}: {error}") from None
        if path.is_dir():
            raise DatasetError(
                f"{self._says('file_name')}: {path} is a folder, and one file is needed; name a file in it."
            )
        if not path.exists():
            link = "a link that leads nowhere stands there" if path.is_symlink() else "there is no such file"
            raise DatasetError(f"{self._says('file_name')}: {path}: {link}.{_spelling(path)}")
        read_head(path)
        return [path]

    def _says(self, key: str) -> str:
        return f"dataset {self.name!r} ({self.origin}), {key}"


def kind_of(entry: DatasetEntry) -> Literal["text", "conversation"]:
    """Whether the rows of an entry are plain texts or conversations.

    An alpaca entry that maps only `prompt` has no answers: its rows are texts to learn whole.
    """
    return "text" if entry.formatting == "text" or entry.columns.keys() == {"prompt"} else "conversation"


def entry_of(name: str, raw: Any, origin: Path, base: Path) -> DatasetEntry:
    """The checked entry. Raises DatasetError with every complaint about it."""
    if not isinstance(raw, dict):
        complaints = [f'it must be an object such as {{"file_name": "rows.json"}}, not {_shown(raw)}']
        raise _wrong(name, origin, complaints)
    given = {key: value for key, value in raw.items() if value is not None}
    complaints = [complaint for key, value in given.items() if (complaint := _complaint(key, value))]
    formatting = given.get("formatting", "alpaca")
    if "file_name" not in given and not any(key in _REFUSED_KEYS for key in given):
        complaints.append("it lacks file_name; name the data file")
    if not complaints:
        complaints += _pairs("columns", given.get("columns", {}), FORMATS[formatting].columns, _REFUSED_COLUMNS)
        complaints += _pairs("tags", given.get("tags", {}), _TAGS, {})
        if given.get("columns") == {}:
            complaints.append("columns is empty; name the columns, or take the key out for the defaults")
    if complaints:
        raise _wrong(name, origin, complaints)
    columns = given.get("columns", FORMATS[formatting].columns)
    return DatasetEntry(
        name=name,
        origin=origin,
        base=base,
        file_name=given["file_name"],
        formatting=formatting,
        columns={meaning: column for meaning, column in columns.items() if column},
        listed="columns" in given,
        tags={**_TAGS, **{tag: word for tag, word in given.get("tags", {}).items() if word}},
        sample_by=given.get("sample_by", "line"),
    )


def _wrong(name: str, origin: Path, complaints: list[str]) -> DatasetError:
    return DatasetError(f"dataset {name!r} ({origin}): {'; '.join(complaints)}.")


def _complaint(key: str, value: Any) -> str:
    """What is wrong with one key of an entry, '' when nothing is."""
    if key in _REFUSED_KEYS:
        return f"{key} is not supported: {_REFUSED_KEYS[key]}"
    if key not in _KNOWN_KEYS:
        return f"{key!r} is no key of an entry.{did_you_mean(key, [*_KNOWN_KEYS, *_REFUSED_KEYS])}".rstrip("?.")
    check = _CHECKS.get(key)
    return check(value) if check else ""


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        return f"file_name must be the path of a file, not {_shown(value)}"
    if re.match(r"[a-z0-9]+://", value):
        return f"file_name must be a path on this machine, not the address {value[:80]!r}; {_DOWNLOAD}"
    return ""


def _formatting(value: Any) -> str:
    if value == "openai":
        return (
            "formatting 'openai' is not supported; write sharegpt with columns messages and tags "
            "role_tag: role, content_tag: content, user_tag: user, assistant_tag: assistant"
        )
    return _one_of("formatting", value, tuple(FORMATS))


def _one_of(key: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value in allowed:
        return ""
    near = did_you_mean(value, allowed).rstrip("?") if isinstance(value, str) else ""
    return f"{key} must be one of {', '.join(allowed)}, not {_shown(value)}" + (near and f".{near}")


def _ranking(value: Any) -> str:
    if value is True:
        return f"ranking is not supported; {_NO_PAIRS}, and take ranking out"
    return "" if value is False else f"ranking must be true or false, not {_shown(value)}"


def _split(value: Any) -> str:
    return "" if value == "train" else f"split {_shown(value)} is not in a single file; take split out"


def _encoding(value: Any) -> str:
    if str(value).lower() in ("utf-8", "utf8", "utf-8-sig"):
        return ""
    return f"encoding {_shown(value)} is not supported; convert the file with iconv and take encoding out"


def _mapping(key: str, value: Any) -> str:
    return "" if isinstance(value, dict) else f"{key} must be an object of names, not {_shown(value)}"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "file_name": _file_name,
    "formatting": _formatting,
    "ranking": _ranking,
    "split": _split,
    "encoding": _encoding,
    "columns": lambda value: _mapping("columns", value),
    "tags": lambda value: _mapping("tags", value),
    "sample_by": lambda value: _one_of("sample_by", value, _SAMPLE_BY),
}


def _pairs(key: str, given: dict[str, Any], known: Mapping[str, str], refused: Mapping[str, str]) -> list[str]:
    """What is wrong in `columns` or `tags`, one complaint each."""
    complaints = []
    for part, word in given.items():
        if word is None:
            continue
        if part in refused:
            complaints.append(f"{key}.{part} is not supported: {refused[part]}")
        elif part not in known:
            near = did_you_mean(part, known).rstrip("?")
            complaints.append(f"{key}.{part} is not known here; there are {', '.join(known)}" + (near and f".{near}"))
        elif not isinstance(word, str) or not word:
            complaints.append(f"{key}.{part} must be a name, not {_shown(word)}")
    return complaints


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _spelling(path: Path) -> str:
    """' Write …' when another spelling of the path exists, else what is near, else what to do."""
    real = Path(path.anchor)
    for part in path.parts[1:]:
        if (real / part).exists():
            real /= part
            continue
        try:
            present = [found.name for found in real.iterdir()]
        except OSError:
            present = []
        same = [name for name in present if name.casefold() == part.casefold()]
        if not same:
            near = did_you_mean(part, present)
            return near or f" Put it there, or correct file_name ({real} exists)."
        real /= same[0]
    return f" The right spelling is {real}; upper and lower case count."
