"""studio export: merge adapters into their base and write a model that other programs load."""

from __future__ import annotations

import glob
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.arguments.check import arguments_in
from studio.arguments.model import ModelArguments
from studio.arguments.template import TemplateArguments
from studio.command import help_text, read_set
from studio.errors import ArgumentError, ModelError
from studio.jobs.told import result, tell
from studio.model.adapter import open_adapter
from studio.model.code import check_code
from studio.model.find import find_adapters, find_model
from studio.recipe import ExportSet, groups_of
from studio.workspace import Workspace

# Weights named in the result; export.json has them all.
MOST_CHANGED = 5

HEAD = """usage: studio export [FILE.yaml] --model_name_or_path DIR [--adapter_name_or_path DIR] --export_dir DIR

  studio export --model_name_or_path saves/X/lora/first --export_dir models/X-first

The folder of a LoRA run is enough: it knows its base. The merge is done in float32 and cast once.
With --convert_pickle True a folder of pickled weights (.bin, Meta's .pth) becomes one of safetensors."""


def run(words: list[str], workspace: str) -> int:
    """Exit code of the verb."""
    if "--help" in words or "-h" in words:
        print(HEAD)
        print(help_text("export", arguments_in(groups_of(ExportSet)).values()))
        return 0
    place = Workspace.find(workspace)
    asked, notes = read_set(ExportSet, words, place.root)
    if complaints := asked.complaints():
        raise ArgumentError([*complaints, "See studio export --help."])
    for note in notes:
        _say(note)
    # Being asked to end is an error like any other on the way: what was half written is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if asked.export.convert_pickle:
        return _convert(asked, place)
    base, adapters = find_parts(asked.model, place)
    template = _template(asked.template, adapters[-1] if adapters else base, place)
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    from studio.model.export import export

    target = place.target(asked.export.export_dir)
    before = _aside(target)
    told = export(base, adapters, target, asked.export, chat_template=template, say=_say, progress=_Bar("merging"))
    touched = sorted(told.touched, key=lambda change: -change.max_change)[:MOST_CHANGED]
    merge = told.as_dict() | {"touched": [asdict(change) for change in touched], "count": len(told.touched)}
    _report(target, place, before, {"merge": merge, "template": asked.template.template, "sentence": told.sentence})
    print(place.shown(target))
    return 0


def _aside(target: Path) -> set[Path]:
    """The folders that stood at the target and were moved aside."""
    return set(target.parent.glob(f"{glob.escape(target.name)}.old-*"))


def _report(target: Path, place: Workspace, before: set[Path], more: dict[str, Any]) -> None:
    """What came out, for the page."""
    files = [{"name": path.name, "size": path.stat().st_size} for path in sorted(target.iterdir()) if path.is_file()]
    old = [place.shown(path) for path in _aside(target) - before]
    result({"target": place.shown(target), "files": files, "old": old[0] if old else "", **more})


def _convert(asked: ExportSet, place: Workspace) -> int:
    """Pickled weights → safetensors, which a process of its own does."""
    from studio.model.pickled import convert, refuse_needless

    source, target = place.path(asked.model.model_name_or_path), place.path(asked.export.export_dir)
    refuse_needless(source)
    before = _aside(target)
    code = convert(source, target, asked.export, _Bar("converting"))
    if code == 0:
        _report(target, place, before, {"source": place.shown(source)})
        print(place.shown(target))
    return code


def find_parts(asked: ModelArguments, place: Workspace) -> tuple[Path, list[Path]]:
    """The base model and the adapters on it; a run folder with an adapter knows its base.

    Raises ModelError when one is not there, or would run code that nobody asked for.
    """
    base, adapters = _find_parts(asked, place)
    for folder in (base, *adapters):
        check_code(folder, trust=asked.trust_remote_code)
    return base, adapters


def _find_parts(asked: ModelArguments, place: Workspace) -> tuple[Path, list[Path]]:
    cache = asked.cache_dir
    named = find_model(asked.model_name_or_path, place, revision=asked.model_revision, cache_dir=cache)
    adapters = list(asked.adapter_name_or_path)
    if (named / "adapter_config.json").is_file():
        config = open_adapter(named).config
        base = config.get("base_model_name_or_path")
        if not base:
            raise ModelError(f"the adapter {named} does not say its base. Name it with --model_name_or_path.")
        local = place.path(asked.model_name_or_path).is_dir()
        # A folder here has no revisions, so the one that is asked for is its base's.
        revision = asked.model_revision if local and asked.model_revision != "main" else config.get("revision")
        found = find_model(str(base), place, revision=str(revision or "main"), cache_dir=cache)
        if local:
            return found, find_adapters([asked.model_name_or_path, *adapters], place, cache_dir=cache)
        return found, [named, *find_adapters(adapters, place, cache_dir=cache)]
    return named, find_adapters(adapters, place, cache_dir=cache)


def _template(asked: TemplateArguments, trained: Path, place: Workspace) -> str:
    """The text of a template that was asked for; '' leaves the one the run was trained with."""
    if asked.template in ("", "auto") and asked.enable_thinking is None and not asked.default_system:
        return ""
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    template, told = choose_template(
        asked.template,
        open_tokenizer(trained, place.cache),
        place,
        enable_thinking=asked.enable_thinking,
        default_system=asked.default_system,
    )
    for sentence in told:
        _say(sentence)
    return template.jinja


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


class _Bar:
    """Progress for the page, and in whole percents on a terminal."""

    def __init__(self, what: str) -> None:
        self.what, self.shown = what, -1

    def __call__(self, done: int, total: int) -> None:
        tell(done, total, self.what if done < total else "checking")
        percent = 100 * done // max(total, 1)
        if percent != self.shown and sys.stderr.isatty():
            self.shown = percent
            end = "\n" if percent == 100 else ""
            sys.stderr.write(f"\r{self.what} {percent:3d} %{end}")
            sys.stderr.flush()
