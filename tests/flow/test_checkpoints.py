"""A run that is killed, stopped or damaged goes on to the same end as one that was not."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

TERM, KILL, INTERRUPT = int(signal.SIGTERM), int(signal.SIGKILL), int(signal.SIGINT)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("full", 1), ("full", 3), ("full", 4), ("full", 6),
        ("lora", 3), ("lora", 6), ("packed", 5), ("accumulated", 8), ("epochs", 4), ("epochs", 5), ("epochs", 8),
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


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, *range(6, 60, 6)])
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


def test_a_stop_while_evaluating_saves_and_ends(place: Workspace, train: Any, kinds: Any, look: Any):
    values = {**kinds["epochs"], "val_size": 5, "per_device_eval_batch_size": 1, "max_steps": 6, "num_train_epochs": 3}
    # The first forward passes without gradients are those that try the attention.
    calls = [place.path(f"saves/evaluating_{n}") for n in (5, 6, 9, 14)]
    for folder, call in zip(calls, (5, 6, 9, 14), strict=True):
        stopped = train(place, str(folder), at=("evaluate", call, TERM), **values)
        assert stopped.code in (0, 14), stopped.err
        assert "Traceback" not in stopped.err
        if stopped.code == 14:
            done = train(place, str(folder), **values)
            assert done.code == 0, done.err
    assert len({look(folder).weights() for folder in calls}) == 1


def test_a_second_interrupt_ends_at_once(place: Workspace, train: Any, look: Any, tmp_path: Path):
    import os
    import subprocess
    import sys
    import time

    words = "--model_name_or_path models/tiny-chat --dataset tiny_sft --use_cpu True --output_dir saves/twice"
    run = subprocess.Popen(
        [sys.executable, "-m", "studio", "train", *words.split(), "--max_steps", "100000", "--save_steps", "10000"],
        cwd=place.root, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    curve = place.path("saves/twice/progress.jsonl")
    for _ in range(600):
        if curve.exists() and curve.stat().st_size:
            break
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "Traceback" not in err and "stopped on request" in err


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
