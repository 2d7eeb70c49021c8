"""Any process of a job may be killed, in any order: states stay right, nothing runs twice, nothing is left behind."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.jobs import steps
from studio.jobs.identity import Identity, alive, identity_of
from studio.jobs.store import folder_of
from studio.jobs.supervisor import command_environment
from studio.workspace import write_json
from tests.flow.jobbing import REPOSITORY, Bench, until

LONG = ("--steps", "100000")
ORDERS = list(itertools.permutations(["trainer", "supervisor", "worker"]))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "workspace")
    yield made
    made.close()


def dead() -> Identity:
    """Of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = identity_of(process.pid)
    process.communicate()
    assert found
    return found


def settled(bench: Bench, id: int) -> bool:
    return not bench.store.get(id).active


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "one-after-another"])
def test_after_any_order_of_kills_the_run_goes_on_once_and_whole(
    order: tuple[str, ...], at_once: bool, bench: Bench
) -> None:
    bench.work()
    job = bench.train("saves/run", "--steps", "30")
    bench.at_step(job.id, 7)
    alive_ones = set(order)
    for whom in order:
        bench.kill(whom, job.id)
        alive_ones.discard(whom)
        seen_by = {"trainer": "supervisor", "supervisor": "worker", "worker": ""}[whom]
        if not at_once and seen_by in alive_ones:
            bench.wait(job.id, "failed", "lost")
    bench.work()
    ended = bench.wait(job.id, "failed", "lost")
    if not at_once:
        # Whoever is left after the first kill says what it saw: the supervisor a signal, the worker nothing.
        saw_it = order.index("trainer") < order.index("supervisor")
        assert (ended.state, ended.signal) == (("failed", 9) if saw_it else ("lost", 0)), bench.story(job.id)
    assert ended.sentence and ended.ended
    until(lambda: not bench.processes(job.id), lambda: f"left behind: {bench.processes(job.id)}")
    assert bench.starts(job.id) == 1

    bench.store.again(job.id)
    bench.wait(job.id, "succeeded")
    assert bench.starts(job.id) == 2
    assert bench.steps(job.id) == list(range(1, 31))
    assert [attempt.state for attempt in bench.store.attempts(job.id)] == [ended.state, "succeeded"]


def test_a_job_goes_on_and_ends_while_there_is_no_worker(bench: Bench) -> None:
    bench.work()
    job = bench.train("saves/run", "--steps", "30")
    bench.at_step(job.id, 3)
    bench.kill("worker", job.id)
    assert bench.wait(job.id, "succeeded").exit_code == 0
    bench.work()
    after = bench.train("saves/next", "--steps", "1")
    bench.wait(after.id, "succeeded")
    assert bench.store.get(job.id).state == "succeeded" and bench.starts(job.id) == 1


def test_a_new_worker_adopts_what_runs_and_what_waits(bench: Bench) -> None:
    bench.work()
    first = bench.train("saves/a", *LONG)
    second = bench.train("saves/b", "--steps", "2")
    bench.at_step(first.id, 2)
    until(lambda: "holds it" in bench.store.get(second.id).sentence, lambda: bench.story(second.id))
    supervisor = bench.store.get(first.id).supervisor
    bench.kill("worker", first.id)
    bench.work()
    bench.at_step(first.id, 40)
    assert bench.store.get(first.id).supervisor == supervisor and alive(supervisor)
    bench.store.wish(first.id, "stop")
    assert bench.wait(first.id, "stopped").exit_code == 14
    bench.wait(second.id, "succeeded")
    assert bench.starts(first.id) == bench.starts(second.id) == 1


def test_after_a_restart_of_the_machine_a_job_is_lost_and_no_process_is_taken_for_it(bench: Bench) -> None:
    bench.work(STUDIO_BOOT_ID="monday")
    job = bench.train("saves/run", *LONG)
    bench.at_step(job.id, 2)
    waiting = bench.train("saves/next", "--steps", "1")
    bench.kill("worker", job.id)
    process = bench.store.get(job.id).process
    assert process and process.boot_id == "monday"
    bench.work(STUDIO_BOOT_ID="tuesday")
    lost = bench.wait(job.id, "lost")
    assert "restarted" in lost.sentence and "Resume" in lost.sentence
    bench.wait(waiting.id, "succeeded")
    # In this test the machine did not really go down: what has the old numbers stands for somebody else's.
    now = identity_of(process.pid)
    assert now and now.start_ticks == process.start_ticks


def test_a_worker_that_died_before_it_started_the_supervisor_loses_nothing(bench: Bench) -> None:
    job = bench.train("saves/run", "--steps", "3")
    taken = steps.take(bench.store, job.id)
    assert taken and taken.state == "starting"
    bench.work()
    assert bench.wait(job.id, "succeeded").attempt == 1
    assert bench.starts(job.id) == 1


def test_two_supervisors_of_one_attempt_start_one_command(bench: Bench) -> None:
    job = bench.train("saves/run", "--steps", "30")
    assert steps.take(bench.store, job.id)
    words = [sys.executable, "-P", "-m", "studio.jobs.supervisor", str(bench.place.root), str(job.id), "1"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    both = [subprocess.Popen(words, env=environment, start_new_session=True) for _ in range(2)]
    bench.work()
    assert [process.wait(60) for process in both] == [0, 0]
    assert bench.wait(job.id, "succeeded").attempt == 1
    assert bench.starts(job.id) == 1


def test_a_command_that_its_supervisor_could_not_note_is_found_and_ended(bench: Bench) -> None:
    job = bench.train("saves/run", *LONG)
    assert steps.take(bench.store, job.id) and steps.claim(bench.store, job.id, 1, dead())
    words = [sys.executable, "-P", "-m", "studio", *job.argv]
    environment = command_environment(job, bench.place, os.environ)
    command = subprocess.Popen(words, env=environment, cwd=bench.place.root, start_new_session=True)
    bench.at_step(job.id, 1)
    bench.work()
    assert bench.wait(job.id, "lost").exit_code is None
    assert command.wait(20) == -signal.SIGKILL
    assert bench.starts(job.id) == 1


def test_an_end_that_was_written_down_but_not_listed_is_taken_over(bench: Bench) -> None:
    job = bench.train("saves/run")
    assert steps.take(bench.store, job.id) and steps.claim(bench.store, job.id, 1, dead())
    told = {"state": "failed", "exit_code": 12, "signal": 0, "reason": "out_of_memory_device", "sentence": "Full."}
    write_json(folder_of(bench.place, job.id) / "exit.json", told | {"attempt": 1, "ended": time.time()})
    bench.work()
    assert bench.wait(job.id, "failed").reason == "out_of_memory_device"
    assert bench.starts(job.id) == 0


def test_stop_reaches_children_and_those_that_left_the_session(bench: Bench) -> None:
    bench.work()
    job = bench.train("saves/run", "--children", "2", "--escapes", *LONG)
    bench.at_step(job.id, 2)
    assert len(bench.processes(job.id)) == 5  # supervisor, trainer, its three
    bench.store.wish(job.id, "stop")
    assert bench.wait(job.id, "stopped").exit_code == 14
    until(lambda: not bench.processes(job.id), lambda: f"left behind: {bench.processes(job.id)}")
    last = bench.steps(job.id)[-1]
    saved = json.loads((bench.place.saves / "run" / "checkpoint.json").read_text())
    assert saved["step"] == last


def test_one_that_does_not_listen_is_killed_after_the_grace(bench: Bench) -> None:
    bench.store.set_setting("grace_s", 1)
    bench.work()
    job = bench.train("saves/run", "--deaf", "--children", "1", *LONG)
    bench.at_step(job.id, 2)
    bench.store.wish(job.id, "stop")
    bench.wait(job.id, "stopping")
    ended = bench.wait(job.id, "killed")
    assert (ended.signal, ended.reason) == (9, "killed_on_request") and "1 s" in ended.sentence
    assert not [seen for seen in bench.processes(job.id) if ended.supervisor and seen.pid != ended.supervisor.pid]


def test_one_that_was_frozen_is_killed_after_the_grace(bench: Bench) -> None:
    bench.store.set_setting("grace_s", 1)
    bench.work()
    job = bench.train("saves/run", "--children", "1", *LONG)
    bench.at_step(job.id, 2)
    for seen in bench.processes(job.id):
        if (supervisor := bench.store.get(job.id).supervisor) and seen.pid != supervisor.pid:
            os.kill(seen.pid, signal.SIGSTOP)
    bench.store.wish(job.id, "stop")
    ended = bench.wait(job.id, "killed")
    assert (ended.signal, ended.reason) == (9, "killed_on_request")
    assert not [seen for seen in bench.processes(job.id) if ended.supervisor and seen.pid != ended.supervisor.pid]


def test_a_poisoned_job_ends_alone_among_two_hundred(bench: Bench) -> None:
    bench.store.set_setting("cpu_jobs", 4)
    jobs = [bench.train(f"saves/{number}", "--steps", "1") for number in range(200)]
    with bench.store.writing() as db:
        db.execute("update job set argv = '[\"train' where id = ?", (jobs[0].id,))
    folder = folder_of(bench.place, jobs[1].id)
    (folder / "job.json").unlink()
    folder.rmdir()
    folder.write_text("a file where a folder must be")
    bench.work()
    assert bench.wait(jobs[0].id, "failed").reason == "bad_argument"
    assert "could not be started" in bench.wait(jobs[1].id, "failed").sentence
    for job in jobs[2:5]:
        bench.wait(job.id, "succeeded")
    for job in reversed(jobs[5:]):
        if bench.store.get(job.id).state == "queued":
            bench.store.wish(job.id, "stop")
    until(lambda: all(settled(bench, job.id) for job in jobs), lambda: "the queue does not end")
    assert all(bench.starts(job.id) <= 1 for job in jobs)


def test_a_list_that_is_damaged_while_jobs_run_is_made_anew_and_they_go_on(bench: Bench) -> None:
    bench.work()
    running, waiting = bench.train("saves/a", *LONG), bench.train("saves/b", "--steps", "2")
    dropped = bench.train("saves/c", "--steps", "2")
    bench.store.wish(dropped.id, "stop")
    bench.at_step(running.id, 2)
    supervisor = bench.store.get(running.id).supervisor
    bench.store.close()
    with bench.store.path.open("r+b") as file:
        file.write(os.urandom(4096))
    for path in bench.store.path.parent.glob("studio.db-*"):
        path.unlink()  # what a full disk or a bad copy leaves
    until(lambda: len(bench.store.jobs()) == 3, lambda: "the jobs are not listed again")
    assert bench.store.get(running.id).supervisor == supervisor
    assert bench.store.get(dropped.id).state == "stopped"
    bench.store.wish(running.id, "stop")
    bench.wait(running.id, "stopped")
    bench.wait(waiting.id, "succeeded")
    assert bench.starts(running.id) == bench.starts(waiting.id) == 1 and bench.starts(dropped.id) == 0


def test_a_second_worker_says_who_holds_the_workspace(bench: Bench) -> None:
    first = bench.work()
    until(lambda: (bench.place.root / ".studio" / "worker.pid").exists(), lambda: "no worker")
    assert bench.work().wait(30) == 3
    said = (bench.place.root / "worker.err").read_text()
    assert f"pid {first.pid}, since 20" in said and "in use by worker" in said
