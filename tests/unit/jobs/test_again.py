"""What the machine ended is planned to start again; what would end the same way, or was wished, is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from studio.jobs import again, steps
from studio.jobs.again import planned, start_due
from studio.jobs.job import Job
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of, store_of
from studio.workspace import Workspace

KILLED = Ending("failed", None, 9, "killed", "The process was ended from outside.")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.find(str(tmp_path))


@pytest.fixture
def store(place: Workspace) -> Iterator[Store]:
    made = store_of(place)
    yield made
    made.close()


def ended(store: Store, place: Workspace, job: Job, end: Ending = KILLED) -> Ending:
    """Take the next attempt of a waiting job and end it."""
    taken = steps.take(store, job.id)
    assert taken is not None
    told = planned(store, place, taken, end)
    steps.finish(store, taken.id, taken.attempt, told)
    return told


def made(store: Store) -> Job:
    return store.submit("train", ["train", "--output_dir", "saves/run"], output="saves/run")


def when(place: Workspace, job: Job, seconds: float) -> None:
    """Let the time of a note come, or be far away."""
    path = place.root / ".studio" / "again" / f"{job.id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"due": seconds}))


def checkpoint(place: Workspace, step: int) -> None:
    (place.saves / "run" / f"checkpoint-{step}").mkdir(parents=True)


def test_a_killed_job_waits_a_moment_and_starts_again(store: Store, place: Workspace) -> None:
    job = made(store)
    told = ended(store, place, job)
    assert told.sentence == f"{KILLED.sentence} It starts again by itself after 1 s (try 1 of 3)."
    assert start_due(store, place) == [] and store.get(job.id).state == "failed"
    when(place, job, 1.0)
    assert start_due(store, place) == [f"{store.get(job.id).name} starts again by itself: killed"]
    assert store.get(job.id).state == "queued"
    assert "try 1 of 3" in store.attempts(job.id)[0].sentence
    assert start_due(store, place) == []


def test_a_job_that_was_killed_after_it_told_its_result_is_done(store: Store, place: Workspace) -> None:
    job = made(store)
    folder_of(place, job.id).mkdir(parents=True, exist_ok=True)
    (folder_of(place, job.id) / "result.json").write_text("{}")
    assert ended(store, place, job).state == "succeeded"
    assert store.get(job.id).state == "succeeded"
    assert not (place.root / ".studio" / "again").exists(), "it does not start again"


def test_after_three_tries_in_a_row_it_waits_for_a_person(store: Store, place: Workspace) -> None:
    job = made(store)
    for number in (1, 2, 3):
        assert f"(try {number} of 3)" in ended(store, place, job).sentence
        when(place, job, 1.0)
        start_due(store, place)
    told = ended(store, place, job)
    assert "started again 3 times without getting to a new checkpoint" in told.sentence
    assert start_due(store, place) == [] and store.get(job.id).state == "failed"


def test_a_new_checkpoint_begins_the_count_anew(store: Store, place: Workspace) -> None:
    job = made(store)
    for step in range(1, 8):
        checkpoint(place, step)
        assert "(try 1 of 3)" in ended(store, place, job).sentence
        when(place, job, 1.0)
        start_due(store, place)


def test_a_person_who_starts_it_begins_the_count_anew(store: Store, place: Workspace) -> None:
    job = made(store)
    assert "(try 1 of 3)" in ended(store, place, job).sentence
    store.again(job.id)
    assert start_due(store, place) == [] and store.get(job.id).state == "queued"
    steps.finish(store, job.id, steps.take(store, job.id).attempt, Ending("stopped", 14))  # type: ignore[union-attr]
    store.again(job.id)
    assert "(try 1 of 3)" in ended(store, place, job).sentence


@pytest.mark.parametrize(
    "end",
    [
        Ending("failed", 10, 0, "bad_argument"), Ending("failed", 10, 0, "bad_row"),
        Ending("failed", 13, 0, "diverged"), Ending("failed", 12, 0, "out_of_memory_device"),
        Ending("failed", 12, 0, "out_of_memory_host"),
        Ending("paused", 11, 0, "disk_full"), Ending("stopped", 14), Ending("failed", 15, 0, "resume"),
        Ending("killed", None, 9, "killed_on_request"), Ending("failed", 1, 0, "unknown"), Ending("succeeded", 0),
    ],
    ids=lambda end: f"{end.state}-{end.reason}",
)  # fmt: skip
def test_what_would_end_the_same_way_is_left_as_it_is(store: Store, place: Workspace, end: Ending) -> None:
    job = made(store)
    assert ended(store, place, job, end) == end
    assert not list(place.root.glob(".studio/again/*"))


@pytest.mark.parametrize(
    "end",
    [
        Ending("failed", None, 9, "killed"), Ending("failed", 137, 0, "killed"), Ending("failed", None, 11, "crashed"),
        Ending("lost", reason="lost"), Ending("failed", None, 9, "out_of_memory_host"),
        Ending("failed", 137, 0, "out_of_memory_host"),
    ],
    ids=lambda end: f"{end.state}-{end.reason}-{end.exit_code}",
)  # fmt: skip
def test_what_the_machine_ended_is_tried_again(store: Store, place: Workspace, end: Ending) -> None:
    assert "starts again by itself" in ended(store, place, made(store), end).sentence


def test_what_was_wished_and_chats_are_not_tried_again(store: Store, place: Workspace) -> None:
    job = made(store)
    for asked in (replace(job, wish="stop"), replace(job, wish="pause"), replace(job, kind="serve")):
        assert planned(store, place, asked, KILLED) == KILLED


def test_with_no_tries_nothing_starts_by_itself_also_what_was_planned(store: Store, place: Workspace) -> None:
    job = made(store)
    ended(store, place, job)
    store.set_setting("retries", 0)
    when(place, job, 1.0)
    assert start_due(store, place) == [] and store.get(job.id).state == "failed"
    store.again(job.id)
    assert ended(store, place, job) == KILLED


def test_a_clock_that_was_set_back_keeps_nothing_waiting(store: Store, place: Workspace) -> None:
    job = made(store)
    ended(store, place, job)
    when(place, job, 1e12)
    start_due(store, place)
    assert store.get(job.id).state == "queued"


def test_notes_that_mean_nothing_are_dropped(store: Store, place: Workspace) -> None:
    job = made(store)
    ended(store, place, job)
    folder = place.root / ".studio" / "again"
    (folder / "77.json").write_text('{"attempt": 1, "due": 1}')
    (folder / "x.json").write_text("{}")
    (folder / f"{job.id}.json").write_text('{"attempt": 0, "due": 1}')
    assert start_due(store, place) == [] and not list(folder.iterdir())
    assert store.get(job.id).state == "failed"


def test_the_waits_grow(store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again.time, "time", lambda: 1000.0)
    job, dues = made(store), []
    for _ in range(3):
        ended(store, place, job)
        path = place.root / ".studio" / "again" / f"{job.id}.json"
        dues.append(json.loads(path.read_text())["due"])
        store.again(job.id)
    assert dues == [1001.0, 1010.0, 1020.0]
