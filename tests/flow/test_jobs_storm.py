"""A storm of random kills and wishes over several jobs at a time."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from studio.errors import StudioError
from tests.flow.jobbing import Bench, until

STEPS, STORM_S = 300, 20.0


def strike(bench: Bench, ids: list[int], dice: random.Random) -> None:
    """Kill a process or wish something of a job."""
    id = dice.choice(ids)
    with contextlib.suppress(StudioError):  # it has ended meanwhile
        match dice.choice(["trainer", "supervisor", "worker", "wish"]):
            case "wish":
                bench.store.wish(id, dice.choice(["stop", "pause", "kill"]))  # type: ignore[arg-type]
            case whom:
                bench.kill(whom, id)


def go_on(bench: Bench, ids: list[int]) -> bool:
    """Start what was killed again; whether everything is done."""
    if bench.workers[-1].poll() is not None:
        bench.work()
    for id in ids:
        job = bench.store.get(id)
        if not job.active and job.state != "succeeded":
            bench.store.again(id)
    return all(bench.store.get(id).state == "succeeded" for id in ids)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_every_run_is_whole_and_nothing_ran_twice_at_a_time(seed: int, tmp_path: Path) -> None:
    bench, dice = Bench(tmp_path / "workspace"), random.Random(seed)
    try:
        bench.store.set_setting("cpu_jobs", 3)
        bench.store.set_setting("grace_s", 2)
        words = ("--steps", str(STEPS), "--step_s", "0.02", "--children", "1")
        ids = [bench.train(f"saves/{number}", *words).id for number in range(4)]
        bench.work()
        end = time.monotonic() + STORM_S
        while time.monotonic() < end:
            time.sleep(dice.choice([0, 0.01, 0.05, 0.1, 0.3, 0.6]))
            go_on(bench, ids)
            strike(bench, ids, dice)
        until(lambda: go_on(bench, ids), lambda: "\n".join(map(bench.story, ids)))
        for id in ids:
            attempts = bench.store.attempts(id)
            assert bench.steps(id) == list(range(1, STEPS + 1))
            assert all(each.ended is not None for each in attempts)
            # The stand-in ends with 3 when another one holds its folder.
            assert 3 not in [each.exit_code for each in attempts]
            assert bench.starts(id) <= len(attempts)
        until(lambda: not any(map(bench.processes, ids)), lambda: "something is left behind")
    finally:
        bench.close()
