"""The list of jobs: nothing acknowledged is lost, nothing is done twice, no two jobs write one folder."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.errors import DiskFullError, SchemaError, StudioError, WorkspaceError
from studio.jobs import steps
from studio.jobs.job import Identity, Job, shell_line
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of
from studio.workspace import Workspace

ME = Identity("boot", 10, 20)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def store(place: Workspace) -> Iterator[Store]:
    made = Store(place.root / ".studio" / "studio.db")
    yield made
    made.close()


def train(store: Store, output: str = "", **more: object) -> Job:
    return store.submit("train", ["train", "--output_dir", output], output=output, **more)  # type: ignore[arg-type]


def run(store: Store, id: int) -> Job:
    """Bring a waiting job to running."""
    job = steps.take(store, id)
    assert job and steps.claim(store, id, job.attempt, ME)
    assert steps.began(store, id, job.attempt, Identity("boot", 11, 21))
    return store.get(id)


def test_reading_makes_no_file(store: Store) -> None:
    assert store.jobs() == [] and store.version() and store.setting("grace_s") == 120
    assert not store.path.exists()
    with pytest.raises(StudioError, match="there is no job 7"):
        store.get(7)


def test_a_job_is_there_for_other_processes_with_all_that_was_asked(store: Store, place: Workspace) -> None:
    job = store.submit("export", ["export", "--a", "b c"], title="t", devices=["1"], output="x", parent=3,
                       environment={"A": "b"})  # fmt: skip
    other = Store(store.path)
    assert other.get(job.id) == job
    assert (job.state, job.attempt, job.devices, job.argv) == ("queued", 0, ("1",), ("export", "--a", "b c"))
    told = json.loads((folder_of(place, job.id) / "job.json").read_text())
    assert told["argv"] == list(job.argv) and told["output"] == str(place.root / "x")
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert folder_of(place, job.id).stat().st_mode & 0o777 == 0o700
    other.close()


def test_the_same_request_is_the_same_job(store: Store) -> None:
    first = train(store, "saves/a", request="uuid")
    steps.take(store, first.id)
    assert train(store, "saves/a", request="uuid").id == first.id
    assert len(store.jobs()) == 1


def test_many_threads_with_one_request_make_one_job(store: Store) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(train(store, "o", request="r").id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 8


@pytest.mark.parametrize("spelled", ["saves/run", "./saves/run", "saves//run/", "saves/x/../run", "link/run"])
def test_one_folder_is_written_by_one_job_however_it_is_spelled(spelled: str, store: Store, place: Workspace) -> None:
    (place.root / "saves").mkdir()
    (place.root / "link").symlink_to("saves")
    first = train(store, "saves/run", title="first")
    with pytest.raises(WorkspaceError, match=r"job 1 \(first\) has it and is queued"):
        train(store, spelled)
    store.wish(first.id, "stop")
    second = train(store, spelled)
    with pytest.raises(WorkspaceError, match="job 2 has it"):
        store.again(first.id)
    assert second.output == first.output


def test_a_late_word_of_an_old_attempt_is_dropped(store: Store) -> None:
    job = run(store, train(store).id)
    assert steps.finish(store, job.id, 1, Ending("lost", reason="lost"))
    assert not steps.finish(store, job.id, 1, Ending("succeeded", 0))
    store.again(job.id)
    assert not steps.finish(store, job.id, 1, Ending("succeeded", 0))
    second = run(store, job.id)
    assert second.attempt == 2
    assert not steps.finish(store, job.id, 1, Ending("failed", 1))
    assert not steps.stopping(store, job.id, 1)
    assert store.get(job.id).state == "running"
    assert steps.finish(store, job.id, 2, Ending("succeeded", 0))
    told = [(each.number, each.state, each.exit_code) for each in store.attempts(job.id)]
    assert told == [(1, "lost", None), (2, "succeeded", 0)]


def test_states_only_go_forward(store: Store) -> None:
    job = run(store, train(store).id)
    assert steps.stopping(store, job.id, 1)
    assert not steps.began(store, job.id, 1, ME)
    assert not steps.stopping(store, job.id, 1)
    assert not steps.claim(store, job.id, 1, ME)
    assert steps.take(store, job.id) is None
    assert store.get(job.id).state == "stopping"


def test_a_clock_set_back_does_not_end_a_job_before_it_began(store: Store) -> None:
    job = run(store, train(store).id)
    steps.finish(store, job.id, 1, Ending("succeeded", 0, ended=5.0))
    ended = store.get(job.id)
    assert ended.ended is not None and ended.started is not None and ended.ended >= ended.started


def test_a_waiting_job_is_stopped_or_held_at_once(store: Store, place: Workspace) -> None:
    first, second = train(store), train(store)
    assert store.wish(first.id, "stop").state == "stopped"
    assert store.wish(second.id, "pause").state == "paused"
    assert store.queue() == []
    told = json.loads((folder_of(place, first.id) / "exit.json").read_text())
    assert (told["state"], told["attempt"]) == ("stopped", 0)
    with pytest.raises(StudioError, match="job 1 is stopped"):
        store.wish(first.id, "stop")
    assert store.again(second.id).state == "queued"
    with pytest.raises(StudioError, match="only a job that has ended can start again; job 2 is queued"):
        store.again(second.id)


def test_a_wish_to_kill_is_not_taken_back(store: Store) -> None:
    job = run(store, train(store).id)
    assert store.wish(job.id, "stop").wish == "stop"
    assert store.wish(job.id, "kill").wish == "kill"
    assert store.wish(job.id, "pause").wish == "kill"


def test_the_queue_keeps_its_order_and_is_changed_by_hand(store: Store) -> None:
    ids = [train(store).id for _ in range(4)]
    store.move(4, 2)
    assert [job.id for job in store.queue()] == [1, 4, 2, 3]
    store.move(1, None)
    assert [job.id for job in store.queue()] == [4, 2, 3, 1]
    store.move(2, 2)
    steps.take(store, ids[3])
    with pytest.raises(StudioError, match="job 4 is starting"):
        store.move(4, 1)
    with pytest.raises(StudioError, match="job 4 is starting"):
        store.move(1, 4)
    assert train(store).id == 5
    assert [job.id for job in store.queue()] == [2, 3, 1, 5]


def test_only_an_ended_job_is_removed_and_its_folder_with_it(store: Store, place: Workspace) -> None:
    job = train(store)
    with pytest.raises(StudioError, match="Stop it first"):
        store.remove(job.id)
    store.wish(job.id, "stop")
    store.remove(job.id)
    assert not folder_of(place, job.id).exists() and store.jobs() == []
    assert train(store).id == 2  # a number is never given again


def test_the_newest_come_first_by_pages_states_and_kinds(store: Store) -> None:
    for number in range(5):
        store.submit("train" if number % 2 else "data", ["x"])
    assert [job.id for job in store.jobs(limit=2)] == [5, 4]
    assert [job.id for job in store.jobs(before=3)] == [2, 1]
    assert [job.id for job in store.jobs(kinds=["train"])] == [4, 2]
    store.wish(3, "stop")
    assert [job.id for job in store.jobs(states=["stopped", "lost"])] == [3]


def test_the_version_changes_with_each_change_and_with_nothing_else(store: Store) -> None:
    other = Store(store.path)
    seen = [store.version()]
    for change in (lambda: train(store), lambda: other.wish(1, "pause"), lambda: store.set_setting("grace_s", 5)):
        change()
        assert store.version() == other.version() != seen[-1]
        seen.append(store.version())
    steps.explain(store, {1: "waits"})
    assert steps.take(store, 1) is None
    assert store.version() == seen[-1]
    other.close()


def test_settings_are_numbers_that_make_sense(store: Store) -> None:
    store.set_setting("cpu_jobs", 3)
    assert store.setting("cpu_jobs") == 3 and store.setting("jobs_per_gpu") == 1
    with pytest.raises(StudioError, match="there is no 'cpu_job'"):
        store.set_setting("cpu_job", 1)
    with pytest.raises(StudioError, match="cpu_jobs must be"):
        store.set_setting("cpu_jobs", 0)


def test_a_newer_list_is_left_alone(store: Store) -> None:
    train(store)
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("pragma user_version = 99")
    db.close()
    before = store.path.read_bytes()
    with pytest.raises(SchemaError, match="newer studio") as raised:
        store.jobs()
    assert raised.value.exit_code == 4
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("where", ["head", "middle"])
def test_a_damaged_list_is_kept_aside_and_a_new_one_begun(where: str, store: Store, place: Workspace) -> None:
    for _ in range(60):
        train(store, environment={"WORDS": "x" * 500})
    store.close()
    with store.path.open("r+b") as file:
        file.seek(0 if where == "head" else store.path.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(4096))
    assert store.jobs() == []
    assert steps.rebuild_is_due(store)
    kept = sorted(path.name for path in (place.root / ".studio").glob("studio.db.broken-*"))
    assert len(kept) == 2 and kept[1].endswith(".txt")
    assert "could not be read" in (place.root / ".studio" / kept[1]).read_text()
    assert train(store).id == 61  # not the number of a folder that is there


def test_a_list_that_another_process_replaced_is_opened_anew(store: Store, place: Workspace) -> None:
    train(store)
    for path in (place.root / ".studio").glob("studio.db*"):
        path.unlink()
    assert store.jobs() == []
    assert train(store).id == 2


def test_a_list_that_is_busy_too_long_says_so(place: Workspace) -> None:
    store = Store(place.root / ".studio" / "studio.db", busy_s=0.5)
    train(store)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("begin immediate")

    def try_it() -> None:
        with pytest.raises(WorkspaceError, match="Nothing was changed; try again"):
            train(store)

    waits = threading.Thread(target=try_it)
    waits.start()
    assert len(store.jobs()) == 1 and waits.is_alive()  # a question does not wait for it
    waits.join()
    try_it()
    other.execute("rollback")
    other.close()
    assert train(store).id == 2
    store.close()


def test_a_full_disk_is_told_and_spoils_nothing(store: Store) -> None:
    train(store)
    with store.reading() as db:
        pages = db.execute("pragma page_count").fetchone()[0]
    with store._changes.open() as db:
        db.execute(f"pragma max_page_count = {pages + 1}")  # SQLite says the same as when the disk is full
    with pytest.raises(DiskFullError, match="Free space"):
        train(store, environment={"WORDS": "x" * 100_000})
    store.close()
    assert [job.id for job in store.jobs()] == [1]
    assert train(store).id == 2


def test_opening_waits_for_whoever_judges_the_file(store: Store) -> None:
    train(store)
    handle = os.open(store.path.with_name("studio.db.lock"), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    other = Store(store.path)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(other.jobs())))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive() and not found
    os.close(handle)
    thread.join(20)
    assert found == [1]
    other.close()


def test_a_job_is_listed_again_under_its_number(store: Store) -> None:
    job = run(store, train(store, "saves/a", request="r").id)
    attempts = store.attempts(job.id)
    fresh = Store(store.path.with_name("other.db"))
    assert steps.restore(fresh, job, attempts)
    assert fresh.get(job.id) == job and fresh.attempts(job.id) == attempts
    assert not steps.restore(fresh, job)
    fresh.close()


def test_the_line_to_paste_has_what_the_supervisor_sets_in_front(place: Workspace) -> None:
    line = shell_line(["train", "--output_dir", "saves/a b"], ["0", "1"], place)
    assert line == f"CUDA_VISIBLE_DEVICES=0,1 STUDIO_WORKSPACE={place.root} studio train --output_dir 'saves/a b'"
