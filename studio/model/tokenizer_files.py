"""The small files of a tokenizer's folder, and the conversion of a folder without tokenizer.json."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.errors import ModelError, StudioError
from studio.model.code import own_code
from studio.model.staging import staged

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TOKENIZER_FILE = "tokenizer.json"
# What transformers can make a tokenizer from when tokenizer.json is missing.
SOURCES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
BESIDE = (
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
)


def converted(folder: Path, cache: Path, *, trust: bool = False) -> Path:
    """The folder in `cache` with the tokenizer.json made from the older files of `folder`."""
    if not any((folder / name).is_file() for name in SOURCES):
        raise ModelError(
            f"a model needs a tokenizer; {folder} has none of {', '.join((TOKENIZER_FILE, *SOURCES))}. "
            "Copy the tokenizer's files there, or name their folder with tokenizer_name_or_path."
        )
    # Another release may convert differently.
    digest = hashlib.sha256(importlib.metadata.version("transformers").encode())
    for name in (*SOURCES, *BESIDE):
        path = folder / name
        digest.update(f"{name}:{path.stat().st_size if path.is_file() else -1}\n".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    target = cache / "tokenizers" / digest.hexdigest()[:32]
    if (target / TOKENIZER_FILE).is_file():
        return target
    try:
        with staged(target) as beside:
            from_pretrained(folder, trust=trust).save_pretrained(str(beside))
            if not (beside / TOKENIZER_FILE).is_file():
                raise ModelError(
                    f"the tokenizer in {folder} must exist in a fast form; transformers has none for it. "
                    f"Put a {TOKENIZER_FILE} into the folder."
                )
    except StudioError:
        # Another process may have made the same in the meantime.
        if not (target / TOKENIZER_FILE).is_file():
            raise
    return target


def from_pretrained(folder: Path, *, trust: bool = False) -> Any:
    """The tokenizer that transformers makes of the folder, with its own code where that is needed and trusted.

    Raises ModelError with what transformers says.
    """
    from transformers import AutoTokenizer

    own = trust and bool(own_code(folder))
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=own)
    except (OSError, ValueError, LookupError, ImportError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            f"transformers must be able to open the tokenizer in {folder}; it says: {error} "
            "Copy the tokenizer's files anew, tokenizer_config.json among them."
        ) from error


def read_text(path: Path) -> str:
    """The file as text. Raises ModelError when it cannot be read or is a git-LFS pointer."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} must be a readable file in UTF-8: {error}. Copy the model anew.") from None
    if text.startswith("version https://git-lfs"):
        raise ModelError(
            f"{path} must be the file itself; it is a git-LFS pointer of {len(text)} characters. "
            "Run git lfs pull in the model's folder."
        )
    return text


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file, empty without one. Raises ModelError with line and column."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{path} must be JSON; line {error.lineno}, column {error.colno}: {error.msg}. "
            "Correct the file or copy the model anew."
        ) from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object; it holds a {type(value).__name__}.")
    return value


def token_text(value: Any) -> str:
    """A token is written as a string or as {"content": ...}."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by name, as templates read them; names of the model's own among them."""
    named = {key: token_text(config.get(key)) for key in NAMED}
    own = {key: token_text(value) for key, value in config.items() if key.endswith("_token") and key not in NAMED}
    extra = config.get("extra_special_tokens")
    if isinstance(extra, Mapping):
        own |= {key: token_text(value) for key, value in extra.items()}
    return {key: text for key, text in {**named, **own}.items() if text}


def chat_templates(files: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates by name; files come before what stands in tokenizer_config.json."""
    more = sorted((files / "additional_chat_templates").glob("*.jinja"))
    found = {path.stem: read_text(path) for path in more}
    if (files / "chat_template.jinja").is_file():
        found["default"] = read_text(files / "chat_template.jinja")
    inside = config.get("chat_template")
    if found or not inside:
        return found
    if isinstance(inside, list):
        return {entry["name"]: entry["template"] for entry in inside}
    return dict(inside) if isinstance(inside, Mapping) else {"default": str(inside)}
