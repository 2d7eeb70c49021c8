"""The faults that a run must survive, each with the test that proves it; what is proven nowhere else is below.

F-01  kill -9 at random steps, again and again   here, test_jobs_again (jobs that go on by themselves), test_every_stage
F-07  death at each write of a save              test_checkpoints (renames, removals, syncs), here (writes)
F-08  a disk that is full                        test_run_folder (leaves what was whole), here (what it says)
F-11  a sync that fails                          here
F-13  SIGTERM in a step                          test_checkpoints, test_every_stage
F-14  … while tokenising, evaluating, saving     test_checkpoints (heard at any time, no evaluation lost)
      … while writing answers                    test_every_stage
F-15  asked twice, then interrupted              here, test_checkpoints (a second interrupt)
F-16  a command that does not listen             test_jobs_killed (killed after the grace; also one that is frozen)
F-17  workers of the loader, and grandchildren   here, test_jobs_killed (children, and those that left the session)
F-20  memory that runs out                       test_memory
F-22  a loss that is no number                   test_memory (twice the same step), test_damage (weights never saved)
F-24  the newest checkpoint without its state    test_damage
F-25  … with an optimizer of 0 bytes             test_damage
F-26  … without a file that its manifest lists   test_damage
F-27  no checkpoint that can be used             test_damage (refused every time, never begun anew by itself)
F-28  data that changed                          test_run_folder, test_failures; there is no way to mix it in
F-29  other batch, seed; other machine           test_run_folder (refused by its keys), here (told openly)
F-30  two runs, one folder                       test_run_folder (the lock), unit/jobs/test_store (the list of jobs)
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from studio.jobs.failure import classify
from studio.jobs.identity import marked
from studio.model.checkpoint import verify
from studio.workspace import Workspace
from tests.flow.jobbing import REPOSITORY, until

TERM, KILL, INTERRUPT = int(signal.SIGTERM), int(signal.SIGKILL), int(signal.SIGINT)
EIO = {"raises": "EIO", "text": "checkpoint"}


@pytest.fixture(scope="module")
def syncs(place: Workspace, train: Any, kinds: Any) -> list[str]:
    """Which file each sync of a run was for, by its number from 1: so tests name them, and not count them."""
    path = place.root / "syncs.txt"
    environment = {"STUDIO_TEST_SYNCS": str(path)}
    assert train(place, "saves/syncs", environment=environment, **kinds["full"]).code == 0
    return ["", *path.read_text().splitlines()]


def of_checkpoint(syncs: list[str], name: str, which: int) -> int:
    """The number of the sync of a file in the `which`-th checkpoint."""
    found = [number for number, path in enumerate(syncs) if f".tmp-checkpoint/{name}" in path]
    return found[which - 1]


# -- F-01


@pytest.mark.slow
def test_after_sixty_four_kills_at_random_steps_no_bit_differs(place: Workspace, train: Any, look: Any):
    dice, steps, save = random.Random(11), 330, 3
    values = {"lora_dropout": 0.2, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2,
              "max_steps": steps, "save_steps": save, "save_total_limit": 2}  # fmt: skip
    assert train(place, "saves/calm", **values).code == 0
    run, kills, at = look(place.path("saves/storm")), 0, 0
    while kills < 64:
        call = dice.randint(1, 2 * save + 1)
        code = train(place, "saves/storm", at=("optimizer", call, KILL), **values).code
        if code == 0:
            break
        assert code == -KILL
        kills, reached = kills + 1, at + call - 1
        at = max((int(name.rpartition("-")[2]) for name in run.checkpoints), default=0)
        assert reached - at < save
    assert kills == 64, "more steps are needed for so many kills"
    assert train(place, "saves/storm", **values).code == 0
    run.must_end_as(look(place.path("saves/calm")))


# -- F-07


@pytest.mark.slow
def test_killed_at_each_of_the_first_sixty_writes_it_ends_with_the_same_bytes(
    place: Workspace, train: Any, kinds: Any, look: Any, unbroken: Any
):
    values = {**kinds["full"], "save_total_limit": 1}
    for call in range(1, 61):
        folder = f"saves/write_{call}"
        code = train(place, folder, at=("write", call, KILL), **values).code
        run = look(place.path(folder))
        assert all(verify(run.folder / name) == "" for name in run.checkpoints), call
        if code == 0:
            break  # there are no more
        assert train(place, folder, **values).code in (0, 10), call
        assert run.weights() == unbroken("full").weights(), call


def test_killed_between_the_last_sync_and_the_name_the_checkpoint_is_not_lost(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any
):
    values = {**kinds["full"], "save_total_limit": 1}
    assert train(place, "saves/unnamed", at=("backward", 5, KILL), **values).code == -KILL
    run = look(place.path("saves/unnamed"))
    (run.folder / "checkpoint-4").rename(run.folder / ".tmp-checkpoint")
    done = train(place, "saves/unnamed", **values)
    assert done.code == 0, done.err
    assert "going on from checkpoint-4" in done.err
    assert run.weights() == unbroken("full").weights()


# -- F-08


def test_a_full_disk_says_volume_need_room_and_what_is_large(place: Workspace, train: Any, tmp_path: Path):
    disk = {"folder": str(place.path("small")), "bytes": 16 << 20, "copy": str(tmp_path / "small")}
    values = {"finetuning_type": "full", "save_steps": 1}
    done = train(place, "small/run", disk=disk, at=("backward", 3, {"leave": 100_000}), **values)
    if done.code == 77:
        pytest.skip("this machine allows no disk of one's own")
    assert done.code == 11
    told = classify(11, 0, done.err)
    said = re.search(
        r"volume (\S+) has ([\d.,]+) MiB free now, ([\d.,]+) MiB are needed; checkpoint-2 is whole", told.evidence
    )
    assert said is not None, told.evidence
    assert said[1] == str(place.path("small")) and float(said[2]) < float(said[3])
    largest = told.evidence.partition("The largest folders: ")[2].partition(". Free space")[0].split(", ")
    assert 1 <= len(largest) <= 3 and any("small/run (" in each for each in largest)
    assert all(each.endswith("MiB)") for each in largest)


# -- F-11


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
def test_a_sync_that_fails_drops_this_checkpoint_and_the_next_save_is_tried_anew(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any, syncs: list[str], name: str
):
    folder = f"saves/eio_{name.partition('.')[0]}"
    done = train(place, folder, at=("fsync", of_checkpoint(syncs, name, 2), EIO), **kinds["full"])
    assert done.code == 0, done.err
    run = look(place.path(folder))
    assert run.checkpoints == ["checkpoint-2", "checkpoint-6"]
    assert "warning: checkpoint-4 could not be written" in done.err
    assert "nothing of it was kept, the newest one is checkpoint-2. The next save tries anew." in done.err
    assert run.json("run.json")["incidents"][0]["what"] == "save"
    assert all(verify(run.folder / each) == "" for each in run.checkpoints)
    assert not list(run.folder.glob(".t*"))
    assert run.weights() == unbroken("full").weights() and run.measured == unbroken("full").measured


def test_a_save_that_fails_when_it_was_asked_to_stop_is_not_called_saved(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any, syncs: list[str]
):
    failing = ("fsync", of_checkpoint(syncs, "model.safetensors", 2), EIO)
    stopped = train(place, "saves/unsaved", at=[("backward", 3, TERM), failing], **kinds["full"])
    assert stopped.code == 14
    assert "step 3 could not be saved, and checkpoint-2 is kept" in stopped.err
    assert train(place, "saves/unsaved", **kinds["full"]).code == 0
    assert look(place.path("saves/unsaved")).weights() == unbroken("full").weights()


def test_final_weights_that_cannot_be_written_end_the_run_with_a_sentence(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any, syncs: list[str]
):
    number = next(number for number, path in enumerate(syncs) if ".tmp-final/model.safetensors" in path)
    done = train(place, "saves/final", at=("fsync", number, EIO), **kinds["full"])
    assert done.code == 10 and "Traceback" not in done.err
    assert "the final weights could not be written" in done.err and "checkpoint-6 is whole" in done.err
    run = look(place.path("saves/final"))
    assert not (run.folder / "model.safetensors").exists() and not run.json("run.json")["finished"]
    assert train(place, "saves/final", **kinds["full"]).code == 0
    assert run.weights() == unbroken("full").weights()


# -- F-15, F-17


def test_asked_twice_and_then_interrupted_it_ends_at_once_and_nothing_is_half(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any
):
    thrice = [("backward", 3, TERM), ("save", 4, TERM), ("save", 5, INTERRUPT)]
    stopped = train(place, "saves/thrice", at=thrice, **kinds["full"])
    assert stopped.code == 130, stopped.err
    run = look(place.path("saves/thrice"))
    assert run.checkpoints == ["checkpoint-2"] and verify(run.folder / "checkpoint-2") == ""
    assert train(place, "saves/thrice", **kinds["full"]).code == 0
    assert run.weights() == unbroken("full").weights()


@pytest.mark.slow
def test_a_stop_ends_the_workers_of_the_loader_too(place: Workspace, small: dict[str, str]):
    values = small | {"dataloader_num_workers": "4", "max_steps": "2000", "logging_steps": "1", "save_steps": "1000",
                      "output_dir": "saves/workers"}  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "STUDIO_JOB_ID": "9",
        "STUDIO_WORKSPACE": str(place.root),
    }
    words = [sys.executable, "-m", "studio", "train", *(f"--{name}={value}" for name, value in values.items())]
    run = subprocess.Popen(words, cwd=place.root, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    curve = place.path("saves/workers/progress.jsonl")
    until(lambda: curve.exists() and len(curve.read_text().splitlines()) >= 3, lambda: "it does not learn")
    assert len(marked(place, 9)) >= 5
    os.killpg(run.pid, TERM)  # as a shell or a container does: everybody hears it
    assert run.wait(120) == 14
    end = time.monotonic() + 20
    while marked(place, 9) and time.monotonic() < end:
        time.sleep(0.1)
    assert not marked(place, 9)


# -- F-29, F-30


def test_another_version_and_other_threads_are_told_and_the_resume_is_not_called_exact(
    place: Workspace, train: Any, look: Any, kinds: Any
):
    assert train(place, "saves/elsewhere", at=("backward", 4, KILL), **kinds["full"]).code == -KILL
    path = place.path("saves/elsewhere/run.json")
    record = json.loads(path.read_text())
    record["attempts"][-1]["packages"]["torch"] = "2.0.1"
    path.write_text(json.dumps(record))
    done = train(place, "saves/elsewhere", environment={"OMP_NUM_THREADS": "2"}, **kinds["full"])
    assert done.code == 0, done.err
    import torch

    differs = [f"torch was 2.0.1, is {torch.__version__.partition('+')[0]}", "threads was 1, is 2"]
    assert "warning: not an exact resume: " in done.err
    told = look(place.path("saves/elsewhere")).json("run.json")["attempts"][-1]["differs"]
    assert [each.partition("+")[0] for each in told] == differs
    assert all(each in done.err for each in told)


def test_on_the_same_machine_nothing_differs(place: Workspace, train: Any, look: Any, kinds: Any):
    assert train(place, "saves/here", at=("backward", 4, KILL), **kinds["full"]).code == -KILL
    done = train(place, "saves/here", **kinds["full"])
    assert done.code == 0 and "exact resume" not in done.err
    assert look(place.path("saves/here")).json("run.json")["attempts"][-1]["differs"] == []


def test_another_attempt_of_a_job_that_overwrites_goes_on_with_its_own_run(
    place: Workspace, train: Any, look: Any, kinds: Any, unbroken: Any
):
    values = {**kinds["full"], "overwrite_output_dir": "True"}
    folder = place.path("saves/over")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    job = {"STUDIO_JOB_ID": "12"}
    assert train(place, "saves/over", at=("backward", 5, KILL), environment=job, **values).code == -KILL
    done = train(place, "saves/over", environment=job, **values)
    assert done.code == 0, done.err
    assert "going on from checkpoint-4" in done.err
    assert len(list(place.saves.glob("over.old-*"))) == 1
    assert look(folder).weights() == unbroken("full").weights()
    # Another job that says so means it.
    assert train(place, "saves/over", environment={"STUDIO_JOB_ID": "13"}, **values).code == 0
    assert len(list(place.saves.glob("over.old-*"))) == 2
