"""What stands in the output folder decides: begin, go on, or refuse; with a code and a sentence."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)


@pytest.fixture(scope="module")
def finished(place: Workspace, train: Any, look: Any) -> Any:
    done = train(place, "saves/finished")
    assert done.code == 0, done.err
    return look(place.path("saves/finished"))


@pytest.fixture
def cut_off(place: Workspace, train: Any, look: Any, request: pytest.FixtureRequest) -> Any:
    """A run of this test's own that was killed after its first checkpoint."""
    folder = f"saves/{request.node.name}"
    assert train(place, folder, at=("backward", 4, KILL)).code == -KILL
    return look(place.path(folder))


def test_the_same_command_after_the_end_touches_nothing(finished: Any, place: Workspace, train: Any):
    before = finished.everything()
    for folder in ("saves/finished", "./saves/../saves/finished/", str(place.path("saves/finished"))):
        done = train(place, folder)
        assert done.code == 10 and "nothing was touched" in done.err
    assert finished.everything() == before


def test_the_same_command_goes_on_where_it_was_cut_off(cut_off: Any, finished: Any, place: Workspace, train: Any):
    done = train(place, f"saves/{cut_off.folder.name}")
    assert done.code == 0, done.err
    assert "going on from checkpoint-2" in done.err
    assert cut_off.weights() == finished.weights()
    attempts = cut_off.json("run.json")["attempts"]
    assert [attempt["resumed_from"] for attempt in attempts] == [None, "checkpoint-2"]


def test_another_recipe_is_refused_by_the_keys_that_differ(cut_off: Any, finished: Any, place: Workspace, train: Any):
    for run in (cut_off, finished):
        before = run.everything()
        done = train(place, f"saves/{run.folder.name}", lora_rank=16, learning_rate=2e-3)
        assert done.code == 10
        assert "lora_rank was unset, is 16" in done.err and "learning_rate was 0.001, is 0.002" in done.err
        assert "--overwrite_output_dir True" in done.err
        assert run.everything() == before


def test_a_refused_command_may_be_corrected_in_the_same_folder(place: Workspace, train: Any, look: Any):
    assert train(place, "saves/corrected", dataset="tiny_sfd").code == 10
    done = train(place, "saves/corrected")
    assert done.code == 0, done.err
    assert look(place.path("saves/corrected")).json("run.json")["recipe"]["dataset"] == "tiny_sft"


def test_overwriting_keeps_the_old_folder_beside_the_new_one(cut_off: Any, place: Workspace, train: Any, look: Any):
    name = cut_off.folder.name
    before = {file: content for file, (_, content) in cut_off.everything().items()}
    done = train(place, f"saves/{name}", overwrite_output_dir="True", lora_rank=4)
    assert done.code == 0, done.err
    (old,) = place.path("saves").glob(f"{name}.old-*")
    kept = {file: content for file, (_, content) in look(old).everything().items()}
    assert {**kept, ".studio.lock": ""} == {**before, ".studio.lock": ""}
    assert f"the folder that was there is kept as saves/{old.name}" in done.err
    assert cut_off.json("adapter_config.json")["r"] == 4


@pytest.mark.parametrize("folder", [".", "models", "models/tiny-chat", "data"])
def test_overwriting_never_moves_away_what_the_command_needs(place: Workspace, train: Any, folder: str):
    done = train(place, folder, overwrite_output_dir="True")
    assert done.code == 10 and "the command needs" in done.err
    assert place.path("models/tiny-chat/config.json").exists()


def test_a_folder_of_something_else_is_refused(place: Workspace, train: Any):
    folder = place.path("saves/foreign")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    done = train(place, "saves/foreign")
    assert done.code == 10 and "it holds thesis.txt" in done.err
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("folder", ["saves/file", "saves/file/inside"])
def test_a_file_in_the_place_of_the_folder_is_refused(place: Workspace, train: Any, folder: str):
    place.path("saves/file").write_text("")
    done = train(place, folder)
    assert done.code == 10 and "must be a folder" in done.err and "saves/file is a file" in done.err


@pytest.mark.parametrize("record", ["{", "[]", '{"schema": 1}', '{"schema": 1, "recipe": 3}', "\ud83d"])
def test_a_record_that_cannot_be_read_is_refused(place: Workspace, train: Any, record: str):
    folder = place.path("saves/unreadable")
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_bytes(record.encode("utf-8", "surrogatepass"))
    done = train(place, "saves/unreadable")
    assert done.code == 10 and "cannot be read as the record of a run" in done.err


def test_a_record_of_a_newer_studio_is_refused_with_4(cut_off: Any, place: Workspace, train: Any):
    record = cut_off.json("run.json")
    (cut_off.folder / "run.json").write_text(json.dumps({**record, "schema": 99}))
    done = train(place, f"saves/{cut_off.folder.name}")
    assert done.code == 4 and "newer studio (schema 99" in done.err and "Update the studio" in done.err


def test_changed_data_is_not_mixed_into_a_run(cut_off: Any, place: Workspace, train: Any):
    file = place.path("data/tiny_sft.json")
    kept = file.read_text()
    try:
        file.write_text(kept.replace("bridge", "bridges").replace("OYKOT", "OYKOX", 1))
        done = train(place, f"saves/{cut_off.folder.name}")
    finally:
        file.write_text(kept)
    assert done.code == 15, done.err
    assert "data/tiny_sft.json changed since" in done.err and "Put the old file back" in done.err
    assert train(place, f"saves/{cut_off.folder.name}").code == 0


# -- one run a folder


@pytest.fixture
def held(place: Workspace) -> Iterator[Path]:
    """A folder that another process holds."""
    folder = place.path("saves/held")
    folder.mkdir(exist_ok=True)
    handle = os.open(folder / ".studio.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.ftruncate(handle, 0)
    os.write(handle, b"a run, pid 4711, since 2030-01-01 00:00:00")
    yield folder
    os.close(handle)


@pytest.mark.parametrize("way", ["saves/held", "./saves//held/", "saves/link", "saves/link/../held"])
def test_a_second_run_in_a_folder_is_refused_by_the_name_of_the_first(
    place: Workspace, train: Any, held: Path, way: str
):
    link = place.path("saves/link")
    if not link.is_symlink():
        link.symlink_to(held)
    for values in ({}, {"overwrite_output_dir": "True"}):
        done = train(place, way, **values)
        assert done.code == 3, done.err
        assert "is in use by a run, pid 4711, since 2030-01-01 00:00:00" in done.err
    assert [path.name for path in held.iterdir()] == [".studio.lock"]


# -- the other codes


def test_words_that_cannot_be_read_end_with_2(place: Workspace, command: Any):
    for words in (("train", "dataset"), ("trian",), ("train", "--workspace")):
        done = command(place, *words)
        assert done.code == 2, done.err
        assert "Traceback" not in done.err


def test_all_wrong_arguments_are_told_at_once(place: Workspace, train: Any):
    done = train(place, "saves/wrong", learning_rate="fast", lora_rnak=8, stage="sfd", max_steps="x")
    assert done.code == 10
    for word in ("--learning_rate fast", "--lora_rnak", "lora_rank", "--stage sfd", "--max_steps x"):
        assert word in done.err
    assert not place.path("saves/wrong").exists()


def test_a_workspace_that_is_none_is_refused_with_3(place: Workspace, command: Any):
    done = command(place, "train", "--workspace", "nowhere", "--dataset", "x", "--output_dir", "y")
    assert done.code in (3, 10) and "Traceback" not in done.err


def test_a_sentence_comes_without_a_traceback_unless_that_is_asked_for(place: Workspace, train: Any):
    done = train(place, "saves/sentence", dataset="tiny_sfd")
    assert done.code == 10 and "Traceback" not in done.err and "tiny_sft" in done.err
    done = train(place, "saves/sentence", "--traceback", dataset="tiny_sfd")
    assert done.code == 10 and "Traceback (most recent call last)" in done.err


@pytest.mark.parametrize("leave", [0, 20_000, 200_000, 420_000, 700_000, 1_400_000])
def test_a_disk_that_fills_up_ends_with_11_and_leaves_what_was_whole(
    place: Workspace, train: Any, look: Any, tmp_path: Path, leave: int
):
    from studio.model.checkpoint import verify

    disk = {"folder": str(place.path("small")), "bytes": 16 << 20, "copy": str(tmp_path / "small")}
    values = {"finetuning_type": "full", "save_steps": 1}
    done = train(place, "small/run", disk=disk, at=("backward", 3, {"leave": leave}), **values)
    if done.code == 77:
        pytest.skip("this machine allows no disk of one's own")
    assert done.code == 11, done.err
    assert "Traceback" not in done.err and "the disk is full" in done.err
    run = look(tmp_path / "small" / "run")
    assert {"checkpoint-1", "checkpoint-2"} <= set(run.checkpoints)
    assert all(verify(run.folder / name) == "" for name in run.checkpoints)
    assert not list(run.folder.glob(".tmp-*"))
    assert not (run.folder / "model.safetensors").exists()
    assert not run.json("run.json")["finished"]


def test_a_disk_without_room_is_refused_before_the_start(place: Workspace, train: Any, tmp_path: Path):
    disk = {"folder": str(place.path("small")), "bytes": 1 << 20, "copy": str(tmp_path / "small")}
    done = train(place, "small/run", finetuning_type="full", disk=disk)
    if done.code == 77:
        pytest.skip("this machine allows no disk of one's own")
    assert done.code == 11, done.err
    assert "disk:" in done.err and "are needed" in done.err and "--save_total_limit 1" in done.err


def test_memory_that_runs_out_ends_with_12_and_what_to_lower(place: Workspace, train: Any, look: Any):
    # A micro-batch of 4, then of 2, then of 1.
    full = {"raises": "RuntimeError", "text": "DefaultCPUAllocator: can't allocate memory: 9 bytes were asked"}
    done = train(place, "saves/memory", at=[("backward", call, full) for call in (2, 3, 4)])
    assert done.code == 12, done.err[-600:]
    assert "memory ran out while training" in done.err and "--per_device_train_batch_size" in done.err
    assert "Traceback" not in done.err
    assert look(place.path("saves/memory")).json("run.json")["attempts"][-1]["outcome"] == "MemoryFullError"
