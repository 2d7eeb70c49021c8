"""THE page to read first: recipe → rows → model → trainer → checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from studio import __version__
from studio.assemble import learner, parts_of, write_card
from studio.data.origin import origins
from studio.errors import DivergedError, MemoryFullError, StoppedError, StudioError
from studio.jobs.folder import Run, inspect, now, open_run
from studio.jobs.launch import is_lost, is_main, leave, lost, main_first, processes
from studio.jobs.log import Log
from studio.jobs.progress import read
from studio.jobs.signals import StopFlag
from studio.loop.zero import Zero, read_zero
from studio.material import Material, gather, parents
from studio.model.hardware import Choice, Hardware, Precision, choose_precision, detect
from studio.preflight.check import check
from studio.preflight.plan import Plan
from studio.recipe import Recipe
from studio.stages.base import Learner, stage_of
from studio.workspace import Workspace

Say = Callable[[str], None]


def plan(recipe: Recipe, place: Workspace, say: Say) -> tuple[Plan, Material]:
    """Everything a start checks, without starting."""
    zero = read_zero(recipe, place)
    hardware, material, precision, _ = _before(recipe, place, say)
    folder = place.path(recipe.training.output_dir)
    ready = _checked(recipe, material, hardware, precision, folder, zero, place)
    try:
        inspect(recipe, folder, place)
    except StudioError as error:
        ready.complaints.append(str(error))
    return ready, material


def train(recipe: Recipe, place: Workspace, threads: Choice, notes: list[str], stop: StopFlag) -> Path:
    """Run a recipe to its end, or go on with it; return the run's folder.

    Raises StudioError children; each carries the exit code of the command.
    """
    with open_run(recipe, place) as run, Log(run.folder, speaks=is_main(os.environ)) as say:
        say(f"studio {__version__}: {run.record['command']}")
        for note in (*notes, *run.notes):
            say(note)
        try:
            zero = read_zero(recipe, place)
            hardware, material, precision, chosen = _before(recipe, place, say)
            run.check_data(material.hashes)
            ready = _checked(recipe, material, hardware, precision, run.folder, zero, place)
            ready.choices[:0] = [threads, chosen]
            for sentence in ready.sentences():
                say(sentence)
            ready.refuse()
            trainer = _trainer(recipe, material, ready, (hardware, precision), run, stop, place, say)
            if recipe.training.do_train:
                _learn(recipe, trainer, run, stop, say)
            _finish(recipe, place, trainer, run, material, say)
            leave()
        except StudioError as error:
            _record_end(run, type(error).__name__, str(error))
            say.error(str(error))
            if isinstance(error, StoppedError | DivergedError):  # all processes end with these
                leave()
            raise
        return run.folder


def _before(recipe: Recipe, place: Workspace, say: Say) -> tuple[Hardware, Material, Precision, Choice]:
    """Hardware, material and precision: what the checks look at."""
    with main_first("rows"):  # the others find them in the cache
        material = gather(recipe, place, stage_of(recipe).view(recipe), say)
    for note in material.notes:
        say(note)
    hardware = detect(use_cpu=recipe.training.use_cpu)
    precision, choice = choose_precision(recipe.training, hardware)
    return hardware, material, precision, choice


def _checked(
    recipe: Recipe, material: Material, hardware: Hardware, precision: Precision, folder: Path, zero: Zero | None,
    place: Workspace,
) -> Plan:  # fmt: skip
    from studio.loop.settings import settings

    world = os.environ.get("WORLD_SIZE") or processes(os.environ, use_cpu=recipe.training.use_cpu)
    ready = check(recipe, material, hardware, precision, folder, int(world), place, zero)
    ready.complaints += stage_of(recipe).check(recipe, material, place)
    if recipe.training.eval_methods:
        from studio.loop import methods

        ready.complaints += methods.complaints(recipe, material, place)
    if not ready.complaints:
        settings(recipe, folder, hardware, precision, zero=zero)  # upstream's own checks, before a model is loaded
    return ready


def _trainer(
    recipe: Recipe, material: Material, ready: Plan, machine: tuple[Hardware, Precision],
    run: Run, stop: StopFlag, place: Workspace, say: Log,
) -> Learner:  # fmt: skip
    """Load, adapt and wire: everything heavy happens here."""
    from studio.loop.settings import settings
    from studio.model.adapt import told

    hardware, precision = machine
    arguments = settings(
        recipe, run.folder, hardware, precision,
        checkpointing=ready.checkpointing, rounding=ready.rounding, zero=ready.zero,
    )  # fmt: skip
    learned = learner(recipe, material, precision, arguments)
    say(str(learned.attention))
    say(told(learned.model))
    if is_main(os.environ):
        run.write(
            decisions=[choice.__dict__ for choice in (*ready.choices, learned.attention)],
            data={
                "hashes": material.hashes,
                "report": material.report.as_json(),
                "cleaned": origins(material.hashes, place),
            },
            hardware=hardware.__dict__,
            quantization=ready.rounding.as_json() if ready.rounding else None,
        )
    parts = parts_of(recipe, material, ready, learned, run, stop, place, say)
    return stage_of(recipe).trainer(parts)


@contextlib.contextmanager
def _ends_told(recipe: Recipe) -> Iterator[None]:
    """Turn memory that runs out, where nothing smaller can be tried, and another process that is gone into errors."""
    from studio.loop import memory

    try:
        yield
    except memory.ERRORS as error:
        if is_lost(error):
            raise lost(error) from error
        if not memory.ran_out(error):
            raise
        said = memory.evidence(error)
        if recipe.way.wants == "prompts":
            told = memory.full_of_answers(said)
        else:
            told = memory.full(said, recipe.training.per_device_train_batch_size)
        raise MemoryFullError(told) from error


def _learn(recipe: Recipe, trainer: Learner, run: Run, stop: StopFlag, say: Say) -> None:
    """The loop itself, with what can go wrong in it turned into sentences."""
    if run.resume is not None:
        say(f"going on from {run.resume.name}")
    with _ends_told(recipe):
        trainer.train(resume_from_checkpoint=str(run.resume) if run.resume else None)
    stop.armed = False
    stop.saved = f"after the last step, {trainer.writer.newest() or 'no checkpoint'} is kept"
    if stop and trainer.state.global_step < trainer.state.max_steps:
        step, newest = trainer.state.global_step, trainer.writer.newest()
        if newest != f"checkpoint-{step}":
            kept = f"{newest} is kept" if newest else "no checkpoint was written yet"
            raise stop.error(f"step {step} could not be saved, and {kept}")
        raise stop.error(f"step {step} of {trainer.state.max_steps} is saved")


def _finish(recipe: Recipe, place: Workspace, trainer: Learner, run: Run, material: Material, say: Log) -> None:
    """Final weights, last evaluation, picture and card; `finished` is written last."""
    results: dict[str, Any] = {"steps": trainer.state.global_step}
    if trainer.eval_dataset is not None:
        with _ends_told(recipe):
            results |= _measured(trainer)
    if recipe.training.do_train:
        trainer.refuse_broken_weights()
    with _ends_told(recipe):
        results |= trainer.conclude()
        weights = trainer.whole_weights() if recipe.training.do_train else None
        trainer.count_seen()
    if not is_main(os.environ):
        return
    if recipe.training.do_train:
        trainer.writer.final(trainer.accelerator.unwrap_model(trainer.model), weights)
    points = read(run.folder / "progress.jsonl")
    results |= {"loss": next((p.loss for p in reversed(points) if p.loss is not None), None)}
    if recipe.training.do_train:
        results |= _seen(trainer, material, say)
    if recipe.training.plot_loss or recipe.training.img_log_dir:
        from studio.jobs.plot import plot_loss
        from studio.loop.methods import LOSS, pictures

        folder, stem = pictures(run.folder, recipe, place)
        plot_loss(points, folder / f"{stem}{LOSS}", run.folder.name)
    if recipe.training.eval_methods:
        from studio.loop.methods import last_values

        results |= last_values(points, recipe)
    run.write(results=results, parents=parents(material, place))
    write_card(run, recipe)
    _record_end(run, "finished", "")
    run.write(finished=now())
    say(f"finished: {place.shown(run.folder)}")


def _measured(trainer: Learner) -> dict[str, Any]:
    """Measures of the held-out rows by the weights that stay: asked again only where the last step did not ask."""
    if not trainer.args.load_best_model_at_end:
        for point in reversed(trainer.state.log_history):
            if point["step"] == trainer.state.global_step and "eval_runtime" in point:
                return {name: value for name, value in point.items() if name.startswith("eval_")}
    measures: dict[str, Any] = trainer.evaluate()
    return measures


def _seen(trainer: Learner, material: Material, say: Say) -> dict[str, Any]:
    """What the run has learned from each dataset, beside what was asked."""
    from studio.loop.seen import seen_shares

    if trainer.seen is None or len(material.shares) != len(trainer.seen.names):
        return {}
    shares = seen_shares(material.shares, trainer.seen_total)
    if len(shares) > 1:
        for share in shares:
            say(f"seen: {share.sentence(1)}")
    return {"seen": [share.over(1) for share in shares]}


def _record_end(run: Run, outcome: str, reason: str) -> None:
    if is_main(os.environ):
        run.record["attempts"][-1] |= {"ended": now(), "outcome": outcome, "reason": reason}
        run.write()
