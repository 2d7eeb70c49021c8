"""`studio eval pairs`: pairs of answers under a reward model, or under a policy and its base."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from studio.arguments.template import TemplateArguments
from studio.errors import ArgumentError, counted
from studio.evaluate.closing import as_table, close
from studio.evaluate.kept import Result, export_targets
from studio.evaluate.opening import Noted, Subject, let_go, opened, subjects
from studio.evaluate.pair_rows import Pair, read_pairs
from studio.model.classifier import is_reward_model, must_score, must_write
from studio.works.base import Ear
from studio.works.eval_pairs import PairsSet
from studio.workspace import Workspace

if TYPE_CHECKING:
    from studio.evaluate.methods import Measurer
    from studio.evaluate.pairs import PairsFound, Sides, Worth
    from studio.model.generate import Speaker
    from studio.model.scorer import Scorer
    from studio.model.templates import Template

NAME = "pairs"


def run(asked: PairsSet, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Measure pairs of answers under the model, the checkpoints that are asked for, and the base where it can.

    {"name": "pairs", "task": "pairs", "time", "notes": [sentence], "results": [one a model, a base first],
     "differences": {model: {"all" | source: {measure: number}}}, "settings": {"by": "score" | "likelihood", "pairs",
     "cutoff_len", "files"}, "kept": path, "exported": [path]}

    A result is {"model", "base": bool, "step": int | null, "measures", "groups", "rows", "notes"}. `measures` are
    numbers {"value", "low", "high", "count", "better"}. By score: accuracy (0 to 1), margin. By likelihood, of the
    base and of every model: likelihood_accuracy, likelihood_margin (nats); of models with a base besides: accuracy and
    margin of the implicit reward. `groups` has the same for each file and dataset where there are several. `rows` are
    the first 200 pairs, the same in the same order for each model: {"source", "file", "row", "prompt", "chosen",
    "rejected", "chosen_worth", "rejected_worth" (scores, implicit rewards, or nats for a base), "right": bool,
    "cut": bool}. A reward model is compared with its base only where that is a reward model too.
    """
    export_targets(asked.measured.export, place, overwrite=asked.measured.overwrite_export)
    say = Noted(ear)
    every, scored = _subjects(asked, place, say)
    pairs, told = read_pairs(asked.pairs, place)
    for sentence in told:
        say(sentence)
    template = _template(asked, every[-1], place)
    found: list[PairsFound] = []
    likely: list[list[Worth]] = []
    for number, subject in enumerate(every):
        tell = _teller(ear, every, number, len(pairs))
        tell(0, 0)
        if scored:
            found.append(_by_score(asked, subject, pairs, template, place, tell))
        else:
            found.append(_by_likelihood(asked, subject, pairs, template, place, tell, likely))
    settings = {"by": "score" if scored else "likelihood", "pairs": len(pairs), "cutoff_len": asked.pairs.cutoff_len,
                "files": asked.pairs.test_reward_model_acc_files}  # fmt: skip
    results = [_result(subject, each, settings) for subject, each in zip(every, found, strict=True)]
    differences = {
        subject.name: each.against(found[0])
        for subject, each in list(zip(every, found, strict=True))[1:]
        if every[0].base
    }
    told_all, _ = close(results, differences, every[-1].run, asked.measured, place, settings)
    return {**told_all, "notes": say.sentences}


def _subjects(asked: PairsSet, place: Workspace, say: Callable[[str], None]) -> tuple[list[Subject], bool]:
    """The models to measure, and whether by their scores."""
    told: list[str] = []
    every = subjects(asked.model, asked.measured, place, told.append, check=lambda _folder, _verb: None)
    scored = asked.pairs.pairs_by == "score" or (asked.pairs.pairs_by == "auto" and is_reward_model(every[-1].folder))
    if not scored:
        for subject in every:
            must_write(subject.folder, "studio eval pairs --pairs_by likelihood")
        for sentence in told:
            say(sentence)
        return every, False
    if every[0].base and every[0] is not every[-1] and not is_reward_model(every[0].folder):
        # A base model gives no scores.
        say(f"{every[0].name} is no reward model, so there is nothing to compare with.")
        every = every[1:]
    for subject in every:
        must_score(subject.folder)
    return every, True


def _teller(ear: Ear, every: Sequence[Subject], number: int, total: int) -> Callable[[int, int], None]:
    text = f"{every[number].name} compares"
    return lambda done, _all: ear.tell(number * total + done, len(every) * total, text)


def _template(asked: PairsSet, final: Subject, place: Workspace) -> Template:
    """The one template of all models."""
    from studio.model.templates import choose_template
    from studio.model.tokenizer import open_tokenizer

    home = final.folder if any(final.folder.glob("tokenizer*")) else final.root
    wanted = asked.template
    return choose_template(
        wanted.template, open_tokenizer(home, place.cache, trust=asked.model.trust_remote_code), place,
        enable_thinking=wanted.enable_thinking, default_system=wanted.default_system,
    )[0]  # fmt: skip


@contextlib.contextmanager
def _scorer(asked: PairsSet, subject: Subject, template: Template, place: Workspace) -> Iterator[Scorer]:
    """A reward model in memory; it is let go at the end."""
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    from studio.model.scorer import open_scorer

    held = [
        open_scorer(subject.folder, cache=place.cache, base=subject.root, template=template, asked=asked.model,
                    dtype=asked.measured.infer_dtype)
    ]  # fmt: skip
    try:
        yield held[0]
    finally:
        held.clear()
        let_go()


def _by_score(
    asked: PairsSet, subject: Subject, pairs: Sequence[Pair], template: Template, place: Workspace,
    tell: Callable[[int, int], None],
) -> PairsFound:  # fmt: skip
    from studio.evaluate.pairs import pairs_found, scores, sides_of

    with _scorer(asked, subject, template, place) as scorer:
        sides = sides_of(pairs, scorer.tokenizer, template, _fitting(asked, scorer.context))
        return pairs_found(pairs, sides, {"": scores(scorer, sides, tell)})


def _by_likelihood(
    asked: PairsSet, subject: Subject, pairs: Sequence[Pair], template: Template, place: Workspace,
    tell: Callable[[int, int], None], likely: list[list[Worth]],
) -> PairsFound:  # fmt: skip
    """What a model that writes makes of the pairs; `likely` holds that of a base, and gets it."""
    from studio.evaluate.pairs import implicit, likelihoods, pairs_found, sides_of

    with opened(subject, asked.model, asked.measured, place, template=template) as speaker:
        sides: list[Sides] = sides_of(pairs, speaker.tokenizer, template, _fitting(asked, speaker.prompter.context))
        mine = likelihoods(speaker, sides, asked.measured.per_device_eval_batch_size, tell)
    own = {"likelihood_": mine}
    if subject.base:
        likely.append(mine)
    return pairs_found(pairs, sides, {"": implicit(mine, likely[0]), **own} if likely and not subject.base else own)


def _fitting(asked: PairsSet, context: int) -> int:
    return min(asked.pairs.cutoff_len, context or asked.pairs.cutoff_len)


def _result(subject: Subject, found: PairsFound, settings: Mapping[str, Any]) -> Result:
    notes = []
    if found.ties:
        notes.append(f"{counted(found.ties, 'pair')} with the same worth on both sides, which count as wrong.")
    if cut := sum(each.cut for each in found.sides):
        notes.append(f"{counted(cut, 'pair')} longer than cutoff_len: the end is not seen.")
    values = {name: each.parts[:, 0].tolist() for name, each in found.sums.items()}
    return Result(
        NAME, NAME, subject.name, subject.base, subject.step, found.measures(), found.groups(), found.shown(),
        dict(settings), values, dict(found.members), notes,
    )  # fmt: skip


def while_training(asked: PairsSet, place: Workspace, template: Template | None) -> Measurer:
    """What compares the same pairs under a model in memory each time, by how likely it finds the answers.

    Raises ArgumentError for what has no use in a run, DatasetError for pairs that cannot be read.
    """
    told = []
    if asked.template != TemplateArguments():
        told.append("--template: the run's own template is used. Leave it out.")
    if template is None:
        told.append("--test_reward_model_acc_files: pairs need a chat template, and this run has none. Give the run a "
                    "--template, or leave the method out.")  # fmt: skip
    if asked.pairs.pairs_by == "score":
        told.append("--pairs_by score: a model that learns to write gives no scores. Leave it out.")
    if told:
        raise ArgumentError(told)
    pairs, notes = read_pairs(asked.pairs, place)
    sides: list[Sides] = []

    def measurer(speaker: Speaker, subject: Subject, name: str) -> Result:
        from studio.evaluate.pairs import likelihoods, pairs_found, sides_of

        cutoff = _fitting(asked, speaker.prompter.context)
        if not sides:
            sides.extend(sides_of(pairs, speaker.tokenizer, speaker.template, cutoff))
        worth = likelihoods(speaker, sides, asked.measured.per_device_eval_batch_size)
        settings = {"by": "likelihood", "pairs": len(pairs), "cutoff_len": cutoff}
        found = _result(subject, pairs_found(pairs, sides, {"likelihood_": worth}), settings)
        return replace(found, name=name, notes=[*notes, *found.notes])

    return measurer


def as_text(found: Mapping[str, Any]) -> str:
    """The measures of every model."""
    return as_table(found)
