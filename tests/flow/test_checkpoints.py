"""A run that is killed, stopped or damaged goes on to the same end as one that was not."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest

from studio.workspace import Workspace

TERM, KILL, INTERRUPT = int(signal.SIGTERM), int(signal.SIGKILL), int(signal.SIGINT)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("full", 1), ("full", 3), ("full", 6), ("lora", 3), ("packed", 5),
        ("accumulated", 8), ("epochs", 4), ("epochs", 8),
    ],
)  # fmt: skip
def test_killed_in_a_step_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any, kind: str, call: int
):
    folder = f"saves/killed_{kind}_{call}"
    assert train(place, folder, at=("backward", call, KILL), **kinds[kind]).code == -KILL
    done = train(place, folder, **kinds[kind])
    assert done.code == 0, done.err
    look(place.path(folder)).must_end_as(unbroken(kind))


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, *range(6, 60, 12)])
def test_killed_while_it_writes_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any, call: int
):
    folder = f"saves/writing_{call}"
    values = {**kinds["full"], "save_total_limit": 1}
    died = train(place, folder, at=("disk", call, KILL), **values)
    assert died.code == -KILL, "choose calls that a run makes"
    run = look(place.path(folder))
    from studio.model.checkpoint import verify

    assert all(verify(run.folder / name) == "" for name in run.checkpoints)
    done = train(place, folder, **values)
    if done.code == 10:
        # It had been finished already, and only the bookkeeping after it was cut off.
        assert "finished on" in done.err
    else:
        assert done.code == 0, done.err
    assert run.weights() == unbroken("full").weights()
    assert run.measured == unbroken("full").measured
    assert run.checkpoints == ["checkpoint-6"]


def test_stopped_it_saves_its_step_and_goes_on_to_the_same_weights(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any
):
    for kind, number, code in (("full", TERM, 14), ("lora", INTERRUPT, 130), ("accumulated", TERM, 14)):
        folder = f"saves/stopped_{kind}"
        stopped = train(place, folder, at=("backward", 7 if kind == "accumulated" else 3, number), **kinds[kind])
        run = look(place.path(folder))
        assert stopped.code == code, stopped.err
        assert "step 3 of 6 is saved. The same command goes on from there." in stopped.err
        assert "Traceback" not in stopped.err
        assert run.checkpoints == ["checkpoint-2", "checkpoint-3"]
        assert run.json("run.json")["attempts"][-1]["outcome"] == "StoppedError"
        assert not run.json("run.json")["finished"]
        done = train(place, folder, **kinds[kind])
        assert done.code == 0, done.err
        assert run.weights() == unbroken(kind).weights()
        steps = [step for step, _ in run.curve]
        assert steps == sorted(set(steps)) and steps[-1] == 6


@pytest.mark.parametrize("event", [("encode", 1), ("evaluate", 1), ("save", 1), ("disk", 9), ("backward", 6)])
def test_a_stop_is_heard_at_any_time(place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any, event: Any):
    values = {**kinds["full"], "overwrite_cache": "True"}
    folder = f"saves/heard_{event[0]}"
    stopped = train(place, folder, at=(*event, TERM), **values)
    last = event == ("backward", 6)  # in the last step: there is nothing left to stop
    assert stopped.code == (0 if last else 14), stopped.err
    assert "Traceback" not in stopped.err
    done = train(place, folder, **values)
    assert done.code == (10 if last else 0), done.err
    assert look(place.path(folder)).weights() == unbroken("full").weights()


@pytest.mark.parametrize("strategy", ["steps", pytest.param("epoch", marks=pytest.mark.slow)])
def test_a_stop_loses_no_evaluation_and_not_the_best_model(place: Workspace, train: Any, look: Any, strategy: str):
    values = {
        "val_size": 5, "per_device_eval_batch_size": 1, "max_samples": 17, "max_steps": 9, "lora_dropout": 0.2,
        "eval_strategy": strategy, "save_strategy": strategy, "eval_steps": 3, "save_steps": 3, "logging_steps": 1,
        "load_best_model_at_end": "True", "learning_rate": 0.1,
    }  # fmt: skip
    assert train(place, f"saves/best_{strategy}", **values).code == 0
    whole = look(place.path(f"saves/best_{strategy}"))
    # In a step before an evaluation, in steps between, and in the evaluations themselves; the first
    # forward passes without gradients are those that try the attention.
    moments = [("backward", 3), ("backward", 5), ("evaluate", 4), ("evaluate", 6), ("evaluate", 11)]
    for number, moment in enumerate(moments):
        folder = f"saves/best_{strategy}_{number}"
        stopped = train(place, folder, at=(*moment, TERM), **values)
        assert stopped.code == 14, stopped.err
        assert "Traceback" not in stopped.err
        done = train(place, folder, **values)
        assert done.code == 0, done.err
        run = look(place.path(folder))
        assert run.weights() == whole.weights(), moment
        assert run.measured == whole.measured, moment


def test_a_second_interrupt_ends_at_once_and_loses_only_the_newest_steps(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any
):
    # The first comes in step 3; the second while the state of that step is written.
    twice = [("backward", 3, INTERRUPT), ("save", 4, INTERRUPT)]
    stopped = train(place, "saves/twice", at=twice, **kinds["full"])
    assert stopped.code == 130, stopped.err
    assert "a second time, so the steps since the last checkpoint are lost" in stopped.err
    run = look(place.path("saves/twice"))
    assert run.checkpoints == ["checkpoint-2"]
    assert train(place, "saves/twice", **kinds["full"]).code == 0
    assert run.weights() == unbroken("full").weights()


# -- storms


@pytest.mark.slow
def test_thirty_kills_at_random_places_change_nothing(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any
):
    where = random.Random(5)
    for storm in range(3):
        folder, kills = f"saves/storm_{storm}", 0
        for _ in range(10):
            event = where.choice([("backward", where.randint(1, 4)), ("disk", where.randint(1, 40))])
            code = train(place, folder, at=(*event, KILL), **kinds["lora"]).code
            kills += code == -KILL
            if code != -KILL:
                break
        assert kills
        code = train(place, folder, **kinds["lora"]).code
        assert code in (0, 10)
        assert look(place.path(folder)).weights() == unbroken("lora").weights()
        assert look(place.path(folder)).measured == unbroken("lora").measured


@pytest.mark.slow
def test_killed_at_each_of_the_first_sixty_writes_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any
):
    for call in range(1, 61):
        folder = f"saves/each_{call}"
        assert train(place, folder, at=("disk", call, KILL), **kinds["full"]).code == -KILL
        assert train(place, folder, **kinds["full"]).code in (0, 10)
        assert look(place.path(folder)).weights() == unbroken("full").weights()
