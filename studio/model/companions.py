"""The files beside the weights of an export: config, tokenizer with its template, Modelfile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.model.classifier import is_classifier
from studio.model.code import own_code
from studio.model.modelfile import modelfile
from studio.model.token_rows import VOCABULARY
from studio.model.tokenizer_files import BESIDE, SOURCES, TOKENIZER_FILE, read_object
from studio.workspace import write_json, write_text

TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
TOKENIZER_FILES = (*SOURCES, *BESIDE, TOKENIZER_FILE, "chat_template.json", "tekken.json", VOCABULARY)
TOKENIZER_SIGNS = (*SOURCES, TOKENIZER_FILE, "tokenizer_config.json")


def write_companions(
    folder: Path, base: Path, adapters: Sequence[Path], config: Mapping[str, Any], chat_template: str
) -> list[str]:
    """Write everything but weights, card and records into `folder`; gives notes for the user.

    The tokenizer is that of the last adapter which has one, else the base's: a run keeps the
    tokenizer it was trained with.
    """
    newest_first = [*reversed(adapters), base]
    lacking = _copy_tokenizer(folder, newest_first)
    _write_config(folder, newest_first, config)
    if chat_template:
        set_template(folder, chat_template)
    notes = [*lacking, *_settle_code(folder, base)]
    if not lacking and not is_classifier(config):
        text, more = modelfile(folder, config)
        write_text(folder / "Modelfile", text)
        notes += more
    return notes


def _settle_code(folder: Path, base: Path) -> list[str]:
    """A model that transformers does not know takes its code along; of any other the code is left out."""
    needed = own_code(base)
    for path in needed:
        shutil.copyfile(path, folder / path.name)
    if needed:
        names = ", ".join(path.name for path in needed[:3])
        return [f"the model's own code ({names}) goes along: whoever loads it must read and trust it"]
    for name in ("config.json", "tokenizer_config.json"):
        settings = read_object(folder / name)
        if settings.pop("auto_map", None) is not None:
            write_json(folder / name, settings)
    if left := sorted(path.name for path in base.glob("*.py")):
        return [f"the base brings code of its own ({', '.join(left[:3])}): transformers does without, it is not copied"]
    return []


def _copy_tokenizer(folder: Path, newest_first: Sequence[Path]) -> list[str]:
    home = next((one for one in newest_first if any((one / sign).is_file() for sign in TOKENIZER_SIGNS)), None)
    if home is None:
        return [f"{newest_first[-1]} has no tokenizer, so the export has none and no Modelfile"]
    copy_tokenizer(home, folder)
    return []


def copy_tokenizer(home: Path, folder: Path) -> None:
    """Put the files of the tokenizer in `home` into `folder`."""
    for name in TOKENIZER_FILES:
        if name != "config.json" and (home / name).is_file():
            shutil.copyfile(home / name, folder / name)
    if (home / MORE_TEMPLATES).is_dir():
        shutil.copytree(home / MORE_TEMPLATES, folder / MORE_TEMPLATES)


def _write_config(folder: Path, newest_first: Sequence[Path], config: Mapping[str, Any]) -> None:
    write_json(folder / "config.json", dict(config))
    name = "generation_config.json"
    home = next((one for one in newest_first if (one / name).is_file()), None)
    if home is not None:
        shutil.copyfile(home / name, folder / name)


def set_template(folder: Path, chat_template: str) -> None:
    """Make `chat_template` the one that every reader of the tokenizer in `folder` finds."""
    write_text(folder / TEMPLATE_FILE, chat_template)
    # Older places for the template, which some readers look at first.
    (folder / "chat_template.json").unlink(missing_ok=True)
    settings = read_object(folder / "tokenizer_config.json")
    if settings.pop("chat_template", None) is not None:
        text = json.dumps(settings, ensure_ascii=False, indent=2)
        write_text(folder / "tokenizer_config.json", text + "\n")
