"""`studio eval text`: held-out rows under every model, compared with the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.arguments.template import TemplateArguments
from studio.errors import ArgumentError, counted
from studio.evaluate.closing import as_table, close
from studio.evaluate.kept import Result, export_targets
from studio.evaluate.opening import Noted, Subject, opened, subjects
from studio.evaluate.text_rows import HeldOut, read_held_out
from studio.model.prompting import context_of
from studio.works.base import Ear
from studio.works.eval_text import TextSet
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.evaluate.methods import Measurer
    from studio.evaluate.text import TextFound
    from studio.model.generate import Speaker
    from studio.model.templates import Template

NAME = "text"


def run(asked: TextSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Measure held-out texts under the base, the checkpoints that are asked for, and the model.

    {"name": "text", "task": "text", "time", "notes": [sentence], "results": [one a model, the base first],
     "differences": {model: {"all" | source: {measure: number}}}, "settings": {"texts", "cutoff_len", "stride",
     "window" (the smaller of cutoff_len and the models' contexts)}, "kept": path, "exported": [path]}

    A result is {"model", "base": bool, "step": int | null, "measures", "groups", "rows", "notes"}. `measures` are
    numbers {"value", "low", "high", "count", "better": "lower"}: bits_per_character, bits_per_byte, perplexity,
    tokens_per_character; `groups` the same for each file and dataset where there are several. `rows` are the first 200
    rows, the same in the same order for each model: {"source", "file", "row", "text" (its first 200 characters),
    "tokens", "characters", "bits_per_character", "perplexity", "windows", "cut": bool}. A difference of perplexity is
    left out where the tokenizers differ, since it says nothing then.
    """
    export_targets(asked.measured.export, place, overwrite=asked.measured.overwrite_export)
    say = Noted(ear)
    every = subjects(asked.model, asked.measured, place, say)
    rows, told = read_held_out(asked.texts, place)
    for sentence in told:
        say(sentence)
    template = _template(asked, every[-1], rows, place)
    size = min(filter(None, (asked.texts.cutoff_len, *(_context(each) for each in every))))
    stride = asked.texts.stride or size // 2
    if stride >= size:
        raise ArgumentError([f"--stride {stride}: must be below the models' context, {size} tokens. Lower it."])
    found: list[TextFound] = []
    prints: list[str] = []
    for number, subject in enumerate(every):
        one, print_ = _one(
            asked, subject, rows, (template, size, stride), place, _teller(ear, every, number, len(rows))
        )
        found.append(one)
        prints.append(print_)
    settings = {"texts": len(rows), "cutoff_len": asked.texts.cutoff_len, "stride": stride, "window": size}
    results = [_result(subject, each, settings) for subject, each in zip(every, found, strict=True)]
    differences = {
        subject.name: each.against(found[0], same_tokens=same == prints[0])
        for subject, each, same in list(zip(every, found, prints, strict=True))[1:]
        if every[0].base
    }
    if len(set(prints)) > 1:
        say("the models have different tokenizers: compare bits per character, not perplexity.")
    told_all, _ = close(results, differences, every[-1].run, asked.measured, place, settings)
    return {**told_all, "notes": say.sentences}


def _teller(ear: Ear, every: Sequence[Subject], number: int, total: int) -> Callable[[int, int], None]:
    text = f"{every[number].name} reads"
    return lambda done, _all: ear.tell(number * total + done, len(every) * total, text)


def _one(
    asked: TextSet, subject: Subject, rows: Sequence[HeldOut], how: tuple[Template | None, int, int], place: Workspace,
    tell: Callable[[int, int], None],
) -> tuple[TextFound, str]:  # fmt: skip
    """One model's numbers, and the fingerprint of its tokenizer."""
    from studio.evaluate.text import text_found

    template, size, stride = how
    tell(0, 0)
    with opened(subject, asked.model, asked.measured, place, template=template) as speaker:
        found = text_found(
            speaker, rows, size=size, stride=stride, batch_size=asked.measured.per_device_eval_batch_size, tell=tell
        )
        return found, speaker.tokenizer.fingerprint


def _template(asked: TextSet, final: Subject, rows: Sequence[HeldOut], place: Workspace) -> Template | None:
    """The one template of all models where a row is a conversation; None without any."""
    if all(row.kind == "text" for row in rows):
        return None
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    home = final.folder if any(final.folder.glob("tokenizer*")) else final.root
    wanted = asked.template
    return choose_template(
        wanted.template, open_tokenizer(home, place.cache, trust=asked.model.trust_remote_code), place,
        enable_thinking=wanted.enable_thinking, default_system=wanted.default_system,
    )[0]  # fmt: skip


def _context(subject: Subject) -> int:
    """The positions of a model, with what its adapter changed; 0 without limit."""
    from studio.model.changed import changed, changes_of
    from studio.model.load import read_config

    changes = changes_of([subject.adapter] if subject.adapter is not None else [])
    return context_of(changed(read_config(subject.root), changes))


def _result(subject: Subject, found: TextFound, settings: Mapping[str, Any]) -> Result:
    notes = []
    if cut := sum(each.cut for each in found.told):
        notes.append(f"{counted(cut, 'conversation')} longer than the window: only what fits is measured.")
    if empty := sum(not each.tokens for each in found.told):
        notes.append(f"{counted(empty, 'row')} without a token to measure.")
    return Result(
        NAME, NAME, subject.name, subject.base, subject.step, found.measures(), found.groups(), found.shown(),
        dict(settings), found.values(), dict(found.members), notes,
    )  # fmt: skip


def while_training(asked: TextSet, place: Workspace, _template: Template | None) -> Measurer:
    """What measures the same rows under a model in memory each time, in the template of its run.

    Raises ArgumentError for what has no use in a run, DatasetError for rows that cannot be read.
    """
    if asked.template != TemplateArguments():
        raise ArgumentError(["--template: the run's own template is used. Leave it out."])
    rows, notes = read_held_out(asked.texts, place)

    def measurer(speaker: Speaker, subject: Subject, name: str) -> Result:
        from studio.evaluate.text import text_found

        context = speaker.prompter.context
        size = min(filter(None, (asked.texts.cutoff_len, context)))
        stride = min(asked.texts.stride or size // 2, size - 1)
        settings = {"texts": len(rows), "cutoff_len": asked.texts.cutoff_len, "stride": stride, "window": size}
        batch = asked.measured.per_device_eval_batch_size
        found = _result(subject, text_found(speaker, rows, size=size, stride=stride, batch_size=batch), settings)
        return replace(found, name=name, notes=[*notes, *found.notes])

    return measurer


def as_text(found: Mapping[str, Any]) -> str:
    """The measures of every model."""
    return as_table(found)
