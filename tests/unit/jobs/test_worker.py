"""Turns of the worker, taken by hand, and the identities and locks that it relies on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.errors import WorkspaceError
from studio.jobs import steps
from studio.jobs.hold import hold, is_held, still_held
from studio.jobs.identity import Identity, alive, boot_id, identity_of, marked, see, send, session_of, signal
from studio.jobs.worker import Worker
from studio.workspace import Workspace
from tests.flow.jobbing import Bench, until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "workspace")
    yield made
    made.close()


@pytest.fixture
def worker(bench: Bench) -> Iterator[Worker]:
    """A worker whose turns the test takes."""
    made = Worker(bench.place)
    yield made
    for child in made._children.values():
        child.kill()
        child.wait()


@pytest.fixture
def sleeper(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is marked as one of job 7."""
    environment = os.environ | {"STUDIO_JOB_ID": "7", "STUDIO_WORKSPACE": str(bench.place.root)}
    words = [sys.executable, "-c", "input()"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    until(lambda: bool(marked(bench.place, 7)), lambda: "it does not start")
    yield process
    process.kill()
    process.communicate()


def turn_until(worker: Worker, bench: Bench, id: int, *states: str) -> None:
    def there() -> bool:
        worker.turn()
        return bench.store.get(id).state in states

    until(there, lambda: bench.story(id))


def test_the_queue_runs_in_its_order_one_at_a_time(worker: Worker, bench: Bench) -> None:
    ids = [bench.train(f"saves/{name}", "--steps", "2").id for name in "abc"]
    bench.store.move(ids[2], ids[0])
    for id in ids:
        turn_until(worker, bench, id, "succeeded")
    begun = {id: bench.store.get(id).started or 0 for id in ids}
    assert sorted(ids, key=begun.__getitem__) == [ids[2], ids[0], ids[1]]
    ends = {id: bench.store.get(id).ended or 0 for id in ids}
    assert begun[ids[0]] >= ends[ids[2]] and begun[ids[1]] >= ends[ids[0]]


def test_one_that_is_held_back_is_passed_by_and_comes_again(worker: Worker, bench: Bench) -> None:
    first, second = (bench.train(f"saves/{name}", "--steps", "2").id for name in "ab")
    bench.store.wish(first, "pause")
    turn_until(worker, bench, second, "succeeded")
    assert bench.store.get(first).state == "paused" and bench.starts(first) == 0
    bench.store.again(first)
    turn_until(worker, bench, first, "succeeded")


def test_a_failed_job_is_tried_again_as_another_attempt(worker: Worker, bench: Bench) -> None:
    job = bench.train("saves/a", "--steps", "2", "--dies", "7", "--says", "RuntimeError: boom")
    turn_until(worker, bench, job.id, "failed")
    bench.store.again(job.id)
    turn_until(worker, bench, job.id, "starting", "running")
    turn_until(worker, bench, job.id, "failed")
    assert [each.exit_code for each in bench.store.attempts(job.id)] == [7, 7]


def test_one_that_starts_again_before_the_worker_looked_starts_again(worker: Worker, bench: Bench) -> None:
    job = bench.train("saves/a", "--steps", "1")
    worker.turn()
    bench.wait(job.id, "succeeded")
    bench.store.again(job.id)
    turn_until(worker, bench, job.id, "starting")
    turn_until(worker, bench, job.id, "succeeded")
    assert bench.starts(job.id) == 2


def test_a_chat_that_finds_its_device_taken_is_refused_and_does_not_wait(worker: Worker, bench: Bench) -> None:
    train = bench.train("saves/a", "--steps", "100000")
    turn_until(worker, bench, train.id, "running")
    chat = bench.store.submit("serve", ["api"])
    turn_until(worker, bench, chat.id, "failed")
    assert "has the processor" in bench.store.get(chat.id).sentence


def test_a_supervisor_that_cannot_claim_is_not_started_for_ever(
    worker: Worker, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.train("saves/a")
    (bench.place.root / "broken" / "sqlite3").mkdir(parents=True)
    (bench.place.root / "broken" / "sqlite3" / "__init__.py").write_text("raise SystemExit(5)")
    monkeypatch.setenv("PYTHONPATH", str(bench.place.root / "broken"))
    turn_until(worker, bench, job.id, "failed")
    assert "ended 3 times at its start" in bench.store.get(job.id).sentence


def test_a_pid_alone_names_nobody(sleeper: subprocess.Popen[bytes], bench: Bench) -> None:
    identity = identity_of(sleeper.pid)
    assert identity and alive(identity)
    for other in (
        Identity(identity.boot_id, identity.pid, identity.start_ticks + 1),
        Identity("another start", identity.pid, identity.start_ticks),
    ):
        assert not alive(other) and not session_of(other)
        assert not send(other, signal.SIGKILL)
    assert sleeper.poll() is None and [seen.pid for seen in session_of(identity)] == [sleeper.pid]
    assert [seen.pid for seen in marked(bench.place, 7)] == [sleeper.pid]
    assert not marked(bench.place, 70) and not marked(Workspace(bench.place.root / "saves"), 7)
    assert send(identity, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert see(sleeper.pid) is None and not alive(identity)  # a zombie is nobody


def test_another_start_of_the_machine_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    me = identity_of(os.getpid())
    assert me and alive(me) and re.fullmatch(r"[0-9a-f-]{36}|unknown", boot_id())
    monkeypatch.setenv("STUDIO_BOOT_ID", "tuesday")
    assert not alive(me) and boot_id() == "tuesday"


def test_an_unclaimed_attempt_with_a_process_on_its_way_is_waited_for(bench: Bench) -> None:
    from studio.jobs.adopt import settle

    for _ in range(7):
        job = bench.train("")
    assert steps.take(bench.store, job.id)
    assert settle(bench.store, bench.place, bench.store.get(7)) == "start"
    environment = os.environ | {"STUDIO_JOB_ID": "7", "STUDIO_WORKSPACE": str(bench.place.root)}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        until(lambda: bool(marked(bench.place, 7)), lambda: "it does not start")
        assert settle(bench.store, bench.place, bench.store.get(7)) == "leave"
        process.kill()


def test_one_holds_a_workspace_and_the_second_hears_who(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    assert not is_held(place, "webui")
    with hold(place, "webui") as inode:
        assert is_held(place, "webui") and not is_held(place, "worker") and still_held(place, "webui", inode)
        with pytest.raises(WorkspaceError, match=rf"in use by webui, pid {os.getpid()}, since \d{{4}}-") as raised:
            hold(place, "webui").__enter__()
        assert raised.value.exit_code == 3
    assert not is_held(place, "webui")
    with hold(place, "webui"):  # the file of one that ended holds nothing
        (tmp_path / ".studio" / "webui.lock").unlink()
        assert not still_held(place, "webui", inode)
