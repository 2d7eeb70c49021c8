"""Python code that a folder brings, and settings that would fetch or run some: told before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studio.errors import ModelError

FILES = (
    "config.json", "tokenizer_config.json", "generation_config.json", "adapter_config.json", "processor_config.json",
    "preprocessor_config.json",
)  # fmt: skip
# Deep enough for every config there is; a deeper one is meant to exhaust its reader.
DEPTH = 40


def check_code(folder: Path, *, trust: bool) -> None:
    """Refuse a model, a run or an adapter that wants to run code, unless that was asked for and its code is there.

    A model that transformers knows by itself is loaded without the code its folder brings. Raises ModelError.
    """
    found = {name: _object(folder / name) for name in FILES}
    for name, settings in found.items():
        for place, value in _walk(settings, name):
            _refuse_setting(folder, place, value, trust=trust)
    wanted = list(_wanted(found))
    if not wanted:
        return
    references = [reference for _, mapped in wanted for reference in _references(mapped)]
    if elsewhere := [reference for reference in references if "--" in reference]:
        raise ModelError(
            f"{folder.name} wants to run Python code from another place ({elsewhere[0]}), which may change from one "
            "day to the next. Put the files of that code into the folder and read them."
        )
    files = sorted({f"{reference.split('.')[0]}.py" for reference in references})
    missing = [file for file in files if not (folder / file).is_file()]
    asks = " and ".join(f"auto_map in {name}" for name, _ in wanted)
    if missing:
        raise ModelError(
            f"{folder.name} needs Python code of its own ({asks}), but {missing[0]} is not in the folder. Code is "
            "never fetched here: put its files there and read them, or take a model that transformers knows."
        )
    if not trust:
        raise ModelError(
            f"{folder.name} runs Python code of its own ({', '.join(files)}; {asks}), which may do anything with this "
            "machine. Read it; then start with --trust_remote_code True."
        )


def own_code(folder: Path) -> list[Path]:
    """The code files of a model that cannot be loaded without them; for a known model none."""
    found = {name: _object(folder / name) for name in FILES}
    return sorted(folder.glob("*.py")) if any(True for _ in _wanted(found)) else []


def _wanted(found: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The files whose auto_map must be followed, as transformers has no class of its own for what they describe."""
    config, tokenizer = found["config.json"], found["tokenizer_config.json"]
    kind = config.get("model_type")
    if "auto_map" in config and not _is_known_model(kind):
        yield "config.json", config["auto_map"]
    if "auto_map" in tokenizer and not _is_known_tokenizer(kind, tokenizer.get("tokenizer_class")):
        yield "tokenizer_config.json", tokenizer["auto_map"]


def _is_known_model(kind: object) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return str(kind) in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def _is_known_tokenizer(kind: object, name: object) -> bool:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    known = {*TOKENIZER_MAPPING_NAMES.values(), "PreTrainedTokenizerFast", "TokenizersBackend"}
    stem = str(name).removesuffix("Fast")
    return str(kind) in TOKENIZER_MAPPING_NAMES or stem in known or f"{stem}Fast" in known


def _references(mapped: object) -> Iterator[str]:
    """The `file.Class` that an auto_map names, for one kind of thing or for a slow and a fast tokenizer."""
    if isinstance(mapped, str):
        yield mapped
    elif isinstance(mapped, Mapping):
        for value in mapped.values():
            yield from _references(value)
    elif isinstance(mapped, list):
        for value in mapped:
            yield from _references(value)


def _refuse_setting(folder: Path, place: str, value: object, *, trust: bool) -> None:
    """Refuse settings that no honest file holds: transformers writes none of them."""
    file, _, key = place.partition(": ")
    name = key.rpartition(".")[2]
    kernel = name.endswith("attn_implementation") or name == "experts_implementation"
    if name.endswith("_implementation_internal") or (kernel and "/" in str(value)):
        raise ModelError(
            f"{folder / file} holds {key}, which would fetch and run code from a hub. "
            "Do not use this model, or take the setting out."
        )
    if name == "trust_remote_code" and value and not trust:
        raise ModelError(
            f"{folder / file} holds {key}: {value}, but only a person can say that, with --trust_remote_code True. "
            "Take it out of the file, and ask why it stands there."
        )


def _walk(value: object, file: str) -> Iterator[tuple[str, object]]:
    """Every setting below, as `file: key.key`."""
    stack: list[tuple[str, object, int]] = [(f"{file}: ", value, 0)]
    while stack:
        place, here, depth = stack.pop()
        if depth > DEPTH:
            raise ModelError(f"{file} is nested {DEPTH} deep, as no config is. Do not use this model.")
        if isinstance(here, Mapping):
            inner = [(f"{place}{'' if place.endswith(' ') else '.'}{key}", below) for key, below in here.items()]
        elif isinstance(here, list):
            inner = [(f"{place}[{number}]", below) for number, below in enumerate(here)]
        else:
            continue
        yield from inner
        stack += [(name, below, depth + 1) for name, below in inner]


def _object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} where there is none, as another check tells what is wrong with it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
