"""Who starts, who waits and why, who is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.errors import ArgumentError, WorkspaceError
from studio.jobs import slots, steps
from studio.jobs.job import Job, Kind
from studio.jobs.slots import check_devices
from studio.jobs.store import DEFAULTS, Store


def job(id: int, kind: Kind = "train", *devices: str) -> Job:
    return Job(id, kind, (kind,), "queued", title=f"t{id}", devices=devices)


def started(waiting: list[Job], live: list[Job], **limits: int) -> list[int]:
    return [each.id for each in slots.plan(waiting, live, DEFAULTS | limits).start]


def test_on_the_processor_one_trains_at_a_time_unless_set_otherwise() -> None:
    waiting = [job(1), job(2, "eval"), job(3)]
    assert started(waiting, []) == [1]
    assert started(waiting, [], cpu_jobs=2) == [1, 2]
    assert started(waiting, [job(9)], cpu_jobs=1) == []


def test_each_gpu_has_one_job_and_several_may_be_asked_for() -> None:
    waiting = [job(1, "train", "0"), job(2, "train", "1", "2"), job(3, "train", "2"), job(4, "train", "3"), job(5)]
    assert started(waiting, []) == [1, 2, 4, 5]
    assert started([job(1, "train", "0"), job(2, "train", "0")], [], jobs_per_gpu=2) == [1, 2]


def test_one_that_waits_for_two_devices_is_not_overtaken_on_either() -> None:
    waiting = [job(1, "train", "0", "1"), job(2, "train", "1"), job(3, "train", "2")]
    made = slots.plan(waiting, [job(9, "train", "0")], DEFAULTS)
    assert [each.id for each in made.start] == [3]
    assert made.waits == {1: "waits for GPU 0: job 9 (t9) holds it", 2: "waits its turn for GPU 1"}


def test_training_waits_for_a_chat_and_says_so() -> None:
    made = slots.plan([job(4)], [job(3, "serve")], DEFAULTS)
    assert made.waits == {4: "waits for the processor: job 3 (t3) holds it for chat until it is unloaded"}


def test_light_work_goes_on_beside_everything_one_at_a_time() -> None:
    waiting = [job(1, "export"), job(2, "data")]
    made = slots.plan(waiting, [job(8), job(9, "serve", "0")], DEFAULTS)
    assert [each.id for each in made.start] == [1]
    assert made.waits == {2: "waits for job 1 (t1) to end"}
    assert started(waiting, [], light_jobs=2) == [1, 2]


def test_a_chat_never_waits() -> None:
    made = slots.plan([job(1, "serve"), job(2, "serve"), job(3, "serve")], [], DEFAULTS)
    assert [each.id for each in made.start] == [1, 2]
    assert "holds at most 2 models" in made.refused[3] and "job 1 (t1), job 2 (t2)" in made.refused[3]
    made = slots.plan([job(1, "serve", "0"), job(2, "serve", "1")], [job(9, "train", "0")], DEFAULTS)
    assert [each.id for each in made.start] == [2]
    assert "job 9 (t9) has GPU 0" in made.refused[1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / ".studio" / "studio.db")
    yield made
    made.close()


def test_a_chat_is_refused_before_it_is_queued_while_training_has_the_device(store: Store) -> None:
    made = store.submit("train", ["train"], title="sft")
    slots.refuse_serve(store, [])  # it only waits; the chat goes first
    assert steps.take(store, made.id)
    with pytest.raises(WorkspaceError, match=r"job 1 \(sft\) has the processor. Wait for it to end"):
        slots.refuse_serve(store, [])
    slots.refuse_serve(store, ["0"])


@pytest.mark.parametrize("devices", [["00"], ["0", "0"], ["01"], ["-1"], ["a"], [""], ["0,1"]])
def test_a_gpu_has_one_name(devices: list[str]) -> None:
    with pytest.raises(ArgumentError, match="devices"):
        check_devices(devices)
    check_devices(["0", "10", "3"])
