"""The models that an evaluation measures: the base first, then checkpoints by step, then the final weights.

One of them is in memory at a time.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.model import ModelArguments
from studio.errors import ArgumentError, ModelError
from studio.jobs.runs import RECORD, read_json
from studio.model.adapter import CONFIG, open_adapter
from studio.model.checkpoint import steps
from studio.model.classifier import must_write
from studio.model.code import check_code
from studio.model.find import find_adapters, find_model
from studio.works.base import Ear
from studio.works.measured import MeasuredArguments
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.model.generate import Speaker
    from studio.model.templates import Template

# Records that name what a folder was made from, with the key in each.
_MADE_FROM = (("export.json", "base"), ("vocabulary.json", "base"))


@dataclass(frozen=True)
class Subject:
    """One model to measure: `root` alone, or with `adapter` on it; `run` is the run folder it belongs to, if any.

    `name` is the folder as a person would type it. `step` is that of a checkpoint, and of the final weights where the
    run tells it; None for a model that no run made.
    """

    name: str
    root: Path
    adapter: Path | None = None
    run: Path | None = None
    step: int | None = None
    base: bool = False

    @property
    def folder(self) -> Path:
        """Where its own weights lie."""
        return self.adapter or self.root


class Noted:
    """Says sentences for the log and keeps them for the result."""

    def __init__(self, ear: Ear) -> None:
        self.sentences: list[str] = []
        self._ear = ear

    def __call__(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self._ear.say(sentence)


def subjects(
    asked: ModelArguments, measured: MeasuredArguments, place: Workspace, say: Callable[[str], None],
    *, check: Callable[[Path, str], None] = must_write,
) -> list[Subject]:  # fmt: skip
    """Everything to measure, the base first; alone when the model came from no other, which is told.

    `check` refuses a folder of another kind than what is measured; models that write are asked for by default.
    Raises ModelError, ArgumentError for a model, a checkpoint or a base that is not there.
    """
    final = _subject(asked.model_name_or_path, asked, place)
    found = [*_checkpoints(final, measured, asked, place), final]
    base = _base(final, asked, measured, place, say)
    if base is None:
        found = [replace(each, base=each is final) for each in found]
    every = [*([base] if base is not None else []), *found]
    for folder in {folder for each in every for folder in (each.root, each.adapter) if folder is not None}:
        check_code(folder, trust=asked.trust_remote_code)
    for each in every:
        check(each.folder, "studio eval")
    return every


def _subject(name: str, asked: ModelArguments, place: Workspace) -> Subject:
    folder = find_model(name, place, revision=asked.model_revision, cache_dir=asked.cache_dir)
    adapters = find_adapters(asked.adapter_name_or_path, place, cache_dir=asked.cache_dir)
    root = folder
    if (folder / CONFIG).is_file():
        config = open_adapter(folder).config
        if not (named := str(config.get("base_model_name_or_path") or "")):
            raise ModelError(f"the adapter {name} does not say its base. Name the base with --model_name_or_path and "
                             "the adapter with --adapter_name_or_path.")  # fmt: skip
        root = find_model(named, place, revision=str(config.get("revision") or "main"), cache_dir=asked.cache_dir)
        adapters = [*find_adapters([name], place, cache_dir=asked.cache_dir), *adapters]
    if len(adapters) > 1:
        raise ArgumentError(["studio eval takes one adapter; merge several with studio export first, and name the "
                             "export."])  # fmt: skip
    own = adapters[0] if adapters else folder
    return Subject(place.shown(own), root, adapters[0] if adapters else None, run_of(own), _step(own))


def run_of(folder: Path) -> Path | None:
    """The run folder that weights belong to: the folder itself, or that of its checkpoint; None for no run."""
    for each in (folder, folder.parent if folder.name.startswith("checkpoint-") else folder):
        if (each / RECORD).is_file():
            return each
    return None


def _step(folder: Path) -> int | None:
    number = folder.name.removeprefix("checkpoint-")
    if number.isdigit() and number != folder.name:
        return int(number)
    results = (read_json(folder / RECORD) or {}).get("results")
    found = results.get("steps") if isinstance(results, dict) else None
    return found if isinstance(found, int) else None


def _checkpoints(final: Subject, measured: MeasuredArguments, asked: ModelArguments, place: Workspace) -> list[Subject]:
    if not measured.checkpoints:
        return []
    if final.run is None:
        raise ArgumentError([f"--checkpoints: {asked.model_name_or_path} is no run of the studio, so it has none. "
                             "Leave it out."])  # fmt: skip
    there = dict(steps(final.run))
    wanted = measured.checkpoints
    if wanted == ("all",):
        chosen = list(there)
    else:
        wrong = [word for word in wanted if not word.isdigit() or int(word) not in there]
        if wrong:
            held = ", ".join(map(str, there)) or "none"
            raise ArgumentError([f"--checkpoints: must be all, or steps of checkpoints in {place.shown(final.run)}, "
                                 f"which are: {held}; got {', '.join(wrong)}."])  # fmt: skip
        chosen = sorted(int(word) for word in wanted)
    every = [_subject(place.shown(there[step]), asked, place) for step in chosen]
    return [each for each in every if each.folder != final.folder]


def _base(
    final: Subject, asked: ModelArguments, measured: MeasuredArguments, place: Workspace, say: Callable[[str], None]
) -> Subject | None:
    if measured.baseline_model:
        chosen = _subject(measured.baseline_model, ModelArguments(trust_remote_code=asked.trust_remote_code), place)
        if chosen.folder.resolve() == final.folder.resolve():
            raise ArgumentError([f"--baseline_model {measured.baseline_model}: must be another model than the one "
                                 "that is measured. Leave it out, or name what the model came from."])  # fmt: skip
        return replace(chosen, base=True)
    if final.adapter is not None:
        return Subject(place.shown(final.root), final.root, base=True)
    named = made_from(final.folder)
    if not named:
        say(f"{final.name} is measured alone: nothing here says what it came from. --baseline_model names a model to "
            "compare it with.")  # fmt: skip
        return None
    try:
        return replace(_subject(named, ModelArguments(trust_remote_code=asked.trust_remote_code), place), base=True)
    except ModelError as error:
        say(f"warning: {final.name} is measured alone: it came from {named}, which cannot be opened ({error}) "
            "--baseline_model names another model to compare it with.")  # fmt: skip
        return None


def made_from(folder: Path) -> str:
    """What whole weights came from, as the record of their run or export names it; '' where nothing says it."""
    run = run_of(folder)
    record = read_json(run / RECORD) if run is not None else None
    if record is not None:
        parents, recipe = record.get("parents"), record.get("recipe")
        named = str(parents[0]) if isinstance(parents, list) and parents else ""
        return named or (str(recipe.get("model_name_or_path") or "") if isinstance(recipe, dict) else "")
    found = [str((read_json(folder / file) or {}).get(key) or "") for file, key in _MADE_FROM]
    return next((name for name in found if name), "")


@contextlib.contextmanager
def opened(
    subject: Subject, asked: ModelArguments, measured: MeasuredArguments, place: Workspace, *,
    template: Template | None = None,
) -> Iterator[Speaker]:  # fmt: skip
    """A subject in memory, in evaluation mode on the GPU where there is one; it is let go at the end.

    `template` None is the model's own. Its tokenizer is that of the adapter where one lies beside it.
    Raises ModelError when weights, tokenizer or base are missing or do not fit each other.
    """
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    from studio.model.generate import open_speaker
    from studio.model.tokenizer import open_tokenizer

    named = place.path(asked.tokenizer_name_or_path) if asked.tokenizer_name_or_path else None
    tokenizer = open_tokenizer(named, place.cache, trust=asked.trust_remote_code) if named else None
    held: list[Any] = [
        open_speaker(
            subject.folder, cache=place.cache, base=subject.root, template=template, tokenizer=tokenizer, asked=asked,
            dtype=measured.infer_dtype,
        )
    ]  # fmt: skip
    try:
        yield held[0]
    finally:
        held.clear()
        let_go()


def let_go() -> None:
    """Give the memory of models back that nobody holds any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def names_of(every: Sequence[Subject]) -> str:
    """'models/X (base), saves/…/checkpoint-10, saves/…' for a sentence."""
    return ", ".join(f"{each.name} (base)" if each.base else each.name for each in every)
