"""What each key of an entry may hold, and what to tell where it holds something else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from studio.data.converted import codec_of
from studio.data.example import FORMATS
from studio.errors import DatasetError
from studio.registry import did_you_mean

_DOWNLOAD = "download the file, put it under the data folder and name it with file_name"
_NO_MEDIA = "take it out and train on the text columns"

# Keys of the ecosystem that change which rows come out, so passing over them would mislead.
REFUSED_KEYS = {
    "om_hub_url": _DOWNLOAD,
    "script_url": f"a script would run foreign code; {_DOWNLOAD}",
    "cloud_file_name": _DOWNLOAD,
}
REFUSED_COLUMNS = dict.fromkeys(("images", "videos", "audios"), _NO_MEDIA)
HUBS = ("hf_hub_url", "ms_hub_url")
KNOWN_KEYS = (
    "file_name", *HUBS, "revision", "formatting", "ranking", "columns", "tags",
    "folder", "subset", "split", "num_samples", "sample_by", "encoding",
)  # fmt: skip
_SAMPLE_BY = ("line", "paragraph", "document")


def is_on(name: str) -> bool:
    """Whether a switch of the environment is set."""
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on", "y")


def complaint_of(key: str, value: Any, given: Mapping[str, Any]) -> str:
    """What is wrong with one key of an entry, '' when nothing is."""
    # Another hub beside one that is read is only its alternative.
    if key == "om_hub_url" and any(hub in given for hub in HUBS) and not is_on("USE_OPENMIND_HUB"):
        return ""
    if key in REFUSED_KEYS:
        return f"{key} is not supported: {REFUSED_KEYS[key]}"
    if key not in KNOWN_KEYS:
        return f"{key!r} is no key of an entry.{did_you_mean(key, [*KNOWN_KEYS, *REFUSED_KEYS])}".rstrip(".")
    if key == "revision" and not any(hub in given for hub in HUBS):
        return "revision is that of a dataset on a hub; take it out, or write hf_hub_url"
    check = _CHECKS.get(key)
    return check(value) if check else ""


def _file_name(value: Any) -> str:
    names = value if isinstance(value, list) and value else [value]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            return f"file_name must be the path of a file, or a list of paths, not {shown(value)}"
        if re.match(r"[a-z0-9]+://", name):
            return f"file_name must be a path on this machine, not the address {name[:80]!r}; {_DOWNLOAD}"
    return ""


def _repository(key: str, value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value):
        return ""
    return f"{key} must be the name of a repository such as owner/name, not {shown(value)}"


def _formatting(value: Any) -> str:
    return _one_of("formatting", value, tuple(FORMATS))


def _one_of(key: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value in allowed:
        return ""
    near = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return f"{key} must be one of {', '.join(allowed)}, not {shown(value)}" + (near and f".{near}")


def _split(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]+", value):
        return ""
    return (
        f"split must be one word such as train or test, not {shown(value)}; for a part of a split set num_samples, "
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
    return f"num_samples must be a number of rows from 1 to 100,000,000, not {shown(value)}"


def _word(key: str, value: Any) -> str:
    if isinstance(value, str) and value.strip() and ".." not in value.split("/"):
        return ""
    return f"{key} must be a name, not {shown(value)}"


def _mapping(key: str, value: Any) -> str:
    return "" if isinstance(value, dict) else f"{key} must be an object of names, not {shown(value)}"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "file_name": _file_name,
    "hf_hub_url": lambda value: _repository("hf_hub_url", value),
    "ms_hub_url": lambda value: _repository("ms_hub_url", value),
    "revision": lambda value: _word("revision", value),
    "formatting": _formatting,
    "ranking": lambda value: "" if isinstance(value, bool) else f"ranking must be true or false, not {shown(value)}",
    "folder": lambda value: _word("folder", value),
    "subset": lambda value: _word("subset", value),
    "split": _split,
    "num_samples": _number,
    "encoding": _encoding,
    "columns": lambda value: _mapping("columns", value),
    "tags": lambda value: _mapping("tags", value),
    "sample_by": lambda value: _one_of("sample_by", value, _SAMPLE_BY),
}


def wrong_names(key: str, given: dict[str, Any], known: tuple[str, ...], refused: Mapping[str, str]) -> list[str]:
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
            complaints.append(f"{key}.{part} must be a name, not {shown(word)}")
    return complaints


def shown(value: Any) -> str:
    """A value as a complaint shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
