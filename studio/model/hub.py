"""Models and datasets that lie on a hub: fetched into its cache, or a sentence within seconds.

The hub is Hugging Face (or the mirror that HF_ENDPOINT names), and ModelScope with
USE_MODELSCOPE_HUB=1. Only files that hold no code are ever fetched: a model's safetensors and its
small text files, and data files of a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from studio.errors import DatasetError, ModelError
from studio.model.asking import Refused, Unreachable, Wanted, offline_by_choice, tell

Where = Literal["hf", "ms"]

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
# Weights in the form of their maker beside the same in safetensors, and what lies in folders below.
NOT_OF_A_MODEL = ("consolidated*", "*/*.safetensors", "*/*.json", "*/*.model", "*/*.txt")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

PLAIN = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".arrow")
PACKED = tuple(ending + packing for ending in PLAIN[:6] for packing in (".gz", ".zst", ".bz2"))
DATA_ENDINGS = PLAIN + PACKED
LOCAL_DATA = (
    'Data on this machine needs no hub: put its files under data/ and name them in dataset_info.json with "file_name".'
)
"""The way out that a complaint about a dataset on a hub ends with."""
# Names of files in a sentence.
SHOWN = 8
# What hubs and libraries write about the data, and which holds no rows.
ABOUT = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "README*", "LICENSE*")


def hub_of_models() -> Where:
    """The hub that model names mean. Raises ModelError for one that is not known here."""
    if _is_on("USE_OPENMIND_HUB"):
        raise ModelError(
            "USE_OPENMIND_HUB is set, but models come from Hugging Face or ModelScope here. Unset it, or put the "
            "model's folder under models/ and name it as models/<name>."
        )
    return "ms" if _is_on("USE_MODELSCOPE_HUB") else "hf"


def fetch_model(name: str, revision: str, cache: Path | None, hint: str) -> Path:
    """A model's folder from the hub, or from its cache when the hub does not answer. Raises ModelError."""
    wanted = Wanted("model", name, revision, MODEL_FILES, NOT_OF_A_MODEL, cache)
    try:
        return _fetch(wanted, hub_of_models())
    except (Unreachable, Refused) as why:
        raise ModelError(
            f"{name!r} is no folder here and could not be fetched: {_sentence(why)}{hint} "
            "A model on this machine needs no hub: put its folder under models/ and name it as models/<name>."
        ) from None


def fetch_dataset(repo: str, *, where: Where, revision: str, patterns: Sequence[str], cache: Path | None) -> Path:
    """A folder with the data files of a dataset that match `patterns` (none: all of them).

    It comes from the hub, or from its cache when the hub does not answer. Raises DatasetError.
    """
    try:
        return _fetch(_data_wanted(repo, revision, patterns, cache), where)
    except (Unreachable, Refused) as why:
        raise _no_data(repo, why) from None


def list_dataset(repo: str, *, where: Where, revision: str, cache: Path | None) -> list[str]:
    """The paths of the data files of a dataset, in order, so that a part can be chosen before it is fetched.

    They come from the hub, or from its cache when the hub does not answer; where that knows only the files that
    were fetched, it is told. Raises DatasetError.
    """
    wanted, client, reason = _data_wanted(repo, revision, (), cache), _client(where), _not_asked(where)
    refused: Refused | None = None
    try:
        if not reason:
            return sorted(wanted.select(client.listed(wanted)))
    except Unreachable as why:
        reason = f"{client.endpoint()}: {why}"
    except Refused as why:
        refused = why
    known, whole = client.cached_names(wanted)
    names: list[str] = sorted(wanted.select(known))
    if not names:
        raise _no_data(repo, refused or Unreachable(f"{reason}, and it is not in the cache"))
    if not whole:
        tell(
            f"note: of the files of {repo} only those that were fetched earlier are known ({_counted(names)}), because "
            f"the hub gives no list: {reason or refused}. If it has others, they are not read"
        )
    return names


def _counted(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _data_wanted(repo: str, revision: str, patterns: Sequence[str], cache: Path | None) -> Wanted:
    ignore = tuple(pattern for name in ABOUT for pattern in (name, f"*/{name}"))
    return Wanted("dataset", repo, revision or "main", data_patterns(patterns), ignore, cache)


def _no_data(repo: str, why: Exception) -> DatasetError:
    return DatasetError(f"the dataset {repo!r} could not be fetched: {_sentence(why)} {LOCAL_DATA}")


def data_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """The same patterns, none of which can match anything but data files. Raises Refused."""
    found: list[str] = []
    for pattern in patterns or ("*",):
        if pattern.lower().endswith(DATA_ENDINGS):
            found.append(pattern)
        elif pattern.endswith(("*", "/")):
            found += [pattern.rstrip("*") + "*" + ending for ending in DATA_ENDINGS]
        else:
            raise Refused(
                f"{pattern!r} is no data file; only files that end in {', '.join(PLAIN)} are fetched, packed with "
                "gz, zst or bz2 or not."
            )
    return tuple(found)


def _fetch(wanted: Wanted, where: Where) -> Path:
    client = _client(where)
    reason = _not_asked(where)
    if not reason:
        try:
            files = client.listed(wanted)
            _refuse_empty(wanted, list(files), wanted.select(files))
            found: Path = client.download(wanted, files)
            return found
        except Unreachable as why:
            reason = f"{client.endpoint()}: {why}"
        except Refused:
            # Rights may be gone while an earlier copy is still good; without one the refusal stands.
            if client.cached(wanted) is None:
                raise
            reason = f"{client.endpoint()} gives it no more"
    earlier: Path | None = client.cached(wanted)
    if earlier is None:
        raise Unreachable(f"{reason}, and it is not in the cache")
    tell(f"note: {wanted.repo} as it was fetched earlier is used ({earlier}), because the hub was not asked: {reason}")
    return earlier


def _not_asked(where: Where) -> str:
    return offline_by_choice("ModelScope" if where == "ms" else "")


def _client(where: Where) -> ModuleType:
    if where == "ms":
        from studio.model import modelscope

        return modelscope
    from studio.model import huggingface

    return huggingface


def _refuse_empty(wanted: Wanted, names: Sequence[str], chosen: Sequence[str]) -> None:
    if wanted.kind == "dataset":
        if not chosen:
            rest = [name for name in names if name.lower().endswith(DATA_ENDINGS)]
            shown = ", ".join(rest[:8]) or "none"
            raise Refused(f"none of its files matches what is asked for. The data files there: {shown}.")
        return
    if any(name.endswith(".safetensors") for name in chosen):
        return
    pickled = [name for name in names if "/" not in name and name.lower().endswith(PICKLED)]
    if pickled:
        raise Refused(
            f"it has its weights only as {pickled[0]}, and pickled files are never fetched. Take a repository with "
            "safetensors; or fetch that one by other means and convert it, which is done apart: studio export "
            "--model_name_or_path FOLDER --convert_pickle True --export_dir models/NAME."
        )
    raise Refused(f"it has no weights in safetensors files. It has: {', '.join(sorted(names)[:8]) or 'nothing'}.")


def _sentence(why: Exception) -> str:
    text = str(why)
    return text if text.endswith(".") else text + "."


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on", "y")
