"""A job that the machine ended starts again by itself from its newest checkpoint, and ends as if nothing had been."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace
from tests.flow.jobbing import REPOSITORY, Bench, until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "workspace")
    made.store.set_setting("retries", 3)
    yield made
    made.close()


def test_after_a_kill_the_run_goes_on_by_itself(bench: Bench) -> None:
    bench.work()
    job = bench.train("saves/run", "--steps", "30")
    for attempt, reached in enumerate((7, 17), start=1):
        until(lambda: bench.store.get(job.id).attempt == attempt, lambda: bench.story(job.id))  # noqa: B023
        bench.at_step(job.id, reached)
        bench.kill("trainer", job.id)
    bench.wait(job.id, "succeeded")
    assert bench.steps(job.id) == list(range(1, 31))
    *ended, last = bench.store.attempts(job.id)
    assert last.state == "succeeded" and len(ended) == 2
    assert all("starts again by itself" in attempt.sentence for attempt in ended)
    assert all((attempt.signal, attempt.reason) == (9, "killed") for attempt in ended)


def test_lost_with_its_supervisor_it_goes_on_by_itself_too(bench: Bench) -> None:
    bench.work()
    job = bench.train("saves/run", "--steps", "30")
    bench.at_step(job.id, 7)
    bench.kill("supervisor", job.id)
    bench.wait(job.id, "succeeded")
    assert bench.steps(job.id) == list(range(1, 31)) and bench.starts(job.id) == 2
    assert [attempt.state for attempt in bench.store.attempts(job.id)] == ["lost", "succeeded"]


@pytest.mark.parametrize("code", [2, 10, 12, 13, 15])
def test_what_a_command_says_itself_is_not_tried_again(bench: Bench, code: int) -> None:
    bench.work()
    job = bench.train("saves/run", "--steps", "1", "--dies", str(code), "--says", "it does not work")
    ended = bench.wait(job.id, "failed")
    assert "by itself" not in ended.sentence
    time.sleep(2)
    assert bench.store.get(job.id).state == "failed" and bench.starts(job.id) == 1


@pytest.mark.slow
def test_a_storm_of_kills_costs_only_the_steps_since_the_last_checkpoint(
    tmp_path: Path, make_workspace: Callable[[Path], Workspace], small: dict[str, str], look: Any
) -> None:
    """The real trainer with dropout and accumulation; each kill comes at a random moment."""
    bench, dice = Bench(make_workspace(tmp_path / "workspace").root), random.Random(7)
    bench.store.set_setting("retries", 3)
    try:
        steps, save, blows = 60, 3, 12
        asked = small | {"max_steps": str(steps), "save_steps": str(save), "logging_steps": "1", "lora_dropout": "0.1",
                         "gradient_accumulation_steps": "2", "save_total_limit": "2",
                         "per_device_train_batch_size": "2"}  # fmt: skip

        def submit(folder: str) -> int:
            argv = ["train", *(f"--{name}={value}" for name, value in (asked | {"output_dir": folder}).items())]
            made = bench.store.submit("train", argv, output=folder, environment={"PYTHONPATH": str(REPOSITORY)})
            return made.id

        bench.work()
        clean = submit("saves/clean")
        until(lambda: bench.store.get(clean).state == "succeeded", lambda: bench.story(clean))
        job, kills, redone = submit("saves/run"), 0, []
        while kills < blows and bench.store.get(job).state != "succeeded":
            attempt = kills + 1
            until(lambda: bench.store.get(job).attempt == attempt, lambda: bench.story(job))  # noqa: B023
            before = (bench.steps(job) or [0])[-1]
            target = before + dice.randint(1, save + 1)
            until(lambda: (bench.steps(job) or [0])[-1] >= min(target, steps - 1), lambda: bench.story(job))  # noqa: B023
            reached = bench.steps(job)[-1]
            bench.kill("trainer", job)
            kills += 1
            until(lambda: bench.store.get(job).attempt > attempt, lambda: bench.story(job))  # noqa: B023
            whole = [int(name.rpartition("-")[2]) for name in look(bench.place.path("saves/run")).checkpoints]
            redone.append(reached - max(whole, default=0))
        bench.wait(job, "succeeded")
        assert kills == blows
        assert max(redone) <= save
        run, unbroken = look(bench.place.path("saves/run")), look(bench.place.path("saves/clean"))
        assert run.weights() == unbroken.weights() and run.measured == unbroken.measured
    finally:
        bench.close()
