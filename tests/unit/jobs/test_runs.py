"""Run folders read without the store: how they stand, what hangs together, and the list made anew from them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from studio.errors import WorkspaceError
from studio.jobs import steps
from studio.jobs.identity import identity_of
from studio.jobs.lineage import checkpoints, children, dependants, discard_run, lineage
from studio.jobs.rebuild import rebuild
from studio.jobs.runs import folders, is_held, point_to, read_run, runs
from studio.jobs.steps import Ending
from studio.jobs.store import folder_of, store_of
from studio.workspace import Workspace, lock, write_json

STARTED = "2026-11-01T10:00:00+0000"


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    for name in ("saves", "models", "data"):
        (tmp_path / name).mkdir()
    return Workspace(tmp_path.resolve())


def made(place: Workspace, name: str, attempt: dict[str, Any] | None = None, **more: Any) -> Path:
    """A run folder."""
    folder = place.saves / name
    folder.mkdir(parents=True)
    record = {"schema": 1, "command": "studio train --stage sft", "recipe": {"stage": "sft"}, "started": STARTED,
              "finished": None, "attempts": [{"started": STARTED, **(attempt or {})}]}  # fmt: skip
    write_json(folder / "run.json", {**record, **more})
    return folder


def own() -> dict[str, Any]:
    found = identity_of(os.getpid())
    assert found is not None
    return asdict(found)


def state(folder: Path) -> tuple[str, str]:
    row = read_run(folder)
    assert row is not None
    return row.state, row.reason


# -- states


def test_a_run_works_while_its_process_lives_and_holds_the_folder(place: Workspace) -> None:
    folder = made(place, "a", {"process": own()})
    with lock(folder, "a run"):
        assert state(folder) == ("running", "")
    assert state(folder) == ("lost", "killed"), "a process that let the folder go does not work on it"
    other = made(place, "b", {"process": own() | {"start_ticks": 1}})
    with lock(other, "a run"):
        assert state(other) == ("lost", "killed"), "another process has the number now"
    before = made(place, "c", {"process": own() | {"boot_id": "of an earlier start"}})
    with lock(before, "a run"):
        assert state(before) == ("lost", "lost")


def test_a_lock_is_looked_at_without_taking_it(place: Workspace) -> None:
    with lock(place.saves / "x", "a run"):
        assert is_held(place.saves / "x/.studio.lock")
    assert not is_held(place.saves / "x/.studio.lock")
    assert not is_held(place.saves / "nothing")


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        ("StoppedError", "stopped on request", ("stopped", "")),
        ("DivergedError", "training diverged after step 3", ("failed", "diverged")),
        ("DatasetError", "x.json: row 3: it is empty", ("failed", "bad_row")),
        ("DiskFullError", "the disk is full", ("paused", "disk_full")),
        ("MemoryFullError", "memory ran out (CUDA out of memory)", ("failed", "out_of_memory_device")),
        ("finished", "", ("succeeded", "")),
    ],
)
def test_the_record_tells_how_a_run_ended(
    place: Workspace, outcome: str, reason: str, expected: tuple[str, str]
) -> None:
    ended = {"process": own(), "ended": STARTED, "outcome": outcome, "reason": reason}
    assert state(made(place, "a", ended)) == expected


def test_a_crash_is_told_by_the_log(place: Workspace) -> None:
    folder = made(place, "a")
    (folder / "log.txt").write_text("step 1\n2026-11-01 10:00:09 Traceback (most recent call last):\n"
                                    "2026-11-01 10:00:09 MemoryError\n")  # fmt: skip
    assert state(folder) == ("failed", "out_of_memory_host")
    with (folder / "log.txt").open("a") as log:
        log.write("2026-11-01 10:00:10 studio 0.1.0: studio train --stage sft\n2026-11-01 10:00:11 step 1\n")
    assert state(folder) == ("lost", "lost"), "what an earlier attempt died of says nothing of the last one"


def test_a_finished_run_succeeded(place: Workspace) -> None:
    assert state(made(place, "a", finished=STARTED)) == ("succeeded", "")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"recipe": 3}', "\x00\x01", "[" * 100_000])
def test_a_record_that_is_none_hides_no_other(place: Workspace, text: str) -> None:
    made(place, "good")
    (place.saves / "bad").mkdir()
    (place.saves / "bad/run.json").write_text(text)
    assert [row.folder.name for row in runs(place)] == ["good"]


def test_a_record_of_odd_things_is_still_a_row(place: Workspace) -> None:
    folder = made(place, "a", attempts="none", command=7, started=[])
    row = read_run(folder)
    assert row is not None
    assert (row.attempts, row.argv, row.started, row.process, row.job) == ([], (), None, None, None)


# -- where runs lie


def test_runs_are_found_below_saves_and_not_inside_runs(place: Workspace) -> None:
    for name in ("one", "m/lora/two", "a/b/c/d/five", "a/b/c/d/e/six", "one/checkpoint-2", ".trash/gone"):
        made(place, name)
    assert {str(folder.relative_to(place.saves)) for folder in folders(place)} == {"one", "m/lora/two", "a/b/c/d/five"}


def test_a_run_elsewhere_is_found_by_its_pointer(place: Workspace, tmp_path_factory: Any) -> None:
    elsewhere = Workspace(tmp_path_factory.mktemp("elsewhere"))
    folder = made(elsewhere, "run")
    point_to(folder, place)
    point_to(made(place, "inside"), place)
    assert {row.folder for row in runs(place)} == {folder, place.saves / "inside"}
    assert len([*(place.root / ".studio/runs").iterdir()]) == 1
    (folder / "run.json").unlink()
    assert [row.folder.name for row in runs(place)] == ["inside"]


# -- what hangs together


def test_checkpoints_have_their_numbers(place: Workspace) -> None:
    folder = made(place, "a")
    for step in (2, 10):
        path = folder / f"checkpoint-{step}"
        path.mkdir()
        history = [{"step": 1, "loss": 3.0}, {"step": 2, "eval_loss": 2.5, "eval_runtime": 1}, {"step": 9, "loss": 1.0}]
        write_json(path / "trainer_state.json", {"global_step": step, "best_global_step": 2, "log_history": history})
        write_json(path / "manifest.json", {"files": [{"name": "x", "size": 1, "sha256": ""}]})
    (folder / "checkpoint-2/x").write_text("1")
    (folder / "checkpoint-2/optimizer.pt").write_text("")
    two, ten = checkpoints(folder, place)
    assert (two.step, two.complete, two.resumable, two.best) == (2, True, True, True)
    assert dict(two.metrics) == {"eval_loss": 2.5, "loss": 3.0}
    assert (ten.step, ten.complete, ten.resumable, ten.metrics["loss"]) == (10, False, False, 1.0)


def test_a_family_is_known_in_both_directions(place: Workspace) -> None:
    base = place.models / "base"
    base.mkdir()
    first = made(place, "pt", parents=["models/base"], finished=STARTED)
    second = made(place, "sft", recipe={"stage": "sft", "model_name_or_path": "saves/pt/checkpoint-4"})
    (second / "adapter_config.json").write_text("{}")
    export = place.models / "out"
    export.mkdir()
    write_json(export / "export.json", {"base": str(first), "adapters": [str(second)]})
    parents, offspring = lineage(place, first)
    assert [(each.path, each.kind) for each in parents] == [("models/base", "model")]
    assert {(each.path, each.kind, each.note) for each in offspring} == {
        ("saves/sft", "adapter", "checkpoint-4"), ("models/out", "export", "")}  # fmt: skip
    parents, _ = lineage(place, second)
    assert [(each.path, each.kind) for each in parents] == [("saves/pt/checkpoint-4", "missing")]
    parents, offspring = lineage(place, export)
    assert [(each.path, each.kind) for each in parents] == [("saves/pt", "run"), ("saves/sft", "run")]
    assert children(place, place.saves / "p") == [], "a name that begins alike is another folder"


def test_a_parent_that_only_judged_or_was_compared_with_says_so(place: Workspace) -> None:
    judge, start = (made(place, f"m/{name}") for name in ("judge", "start"))
    recipe = {
        "reward_model": "saves/m/judge", "ref_model": "models/gone", "model_name_or_path": "saves/m/start"
    }  # fmt: skip
    parents, _ = lineage(place, made(place, "m/ppo", recipe=recipe, parents=["saves/m/start"]))
    assert [(each.path, each.kind, each.note) for each in parents] == [
        ("saves/m/start", "run", ""), ("saves/m/judge", "run", "reward model"),
        ("models/gone", "missing", "reference model"),
    ]  # fmt: skip
    assert [child.path for child in lineage(place, judge)[1]] == ["saves/m/ppo"]
    assert [child.path for child in lineage(place, start)[1]] == ["saves/m/ppo"]


def test_a_job_that_uses_a_folder_depends_on_it(place: Workspace) -> None:
    folder = made(place, "a")
    store = store_of(place)
    chat = store.submit("serve", ["api", "--model_name_or_path", "models/m", "--adapter_name_or_path=saves/a"])
    other = store.submit("serve", ["api", "--model_name_or_path", "saves/ab"])
    assert [each.path for each in dependants(place, folder, [chat, other])] == [str(chat.id)]
    store.close()


def test_only_a_run_in_saves_is_removed_and_only_when_nobody_works_on_it(place: Workspace) -> None:
    folder = made(place, "a")
    with lock(folder, "a run"), pytest.raises(WorkspaceError, match="in use"):
        discard_run(folder, place)
    (place.models / "m").mkdir()
    write_json(place.models / "m/run.json", {})
    (place.saves / "link").symlink_to(place.models / "m")
    (place.saves / "plain").mkdir()
    for wrong in (place.saves, place.root, place.models / "m", place.saves / "link", place.saves / "plain"):
        with pytest.raises(WorkspaceError, match="only a run below saves"):
            discard_run(wrong, place)
    discard_run(folder, place)
    assert not folder.exists() and sorted(entry.name for entry in place.saves.iterdir()) == ["link", "plain"]


# -- the list made anew


def test_a_lost_list_is_made_anew_from_the_folders(place: Workspace) -> None:
    store = store_of(place)
    done = store.submit("train", ["train", "--stage", "sft"], title="done", output="saves/done", request="r")
    waits = store.submit("export", ["export"], title="waits", environment={"STUDIO_ROOTS": "/x"})
    cut = store.submit("train", ["train"], title="cut")
    for job in (done, cut):
        steps.take(store, job.id)
        (folder_of(place, job.id) / "supervisor.pid").write_text("999999999\n")
    end = Ending("failed", 10, 0, "bad_row", "A row.", 5.0)
    write_json(folder_of(place, done.id) / "exit.json", {"schema": 1, **asdict(end), "attempt": 1})
    steps.finish(store, done.id, 1, end)
    before = store.get(done.id)
    store.close()
    for path in place.root.glob(".studio/studio.db*"):
        path.unlink()
    assert steps.rebuild_is_due(store) or store.jobs() == []
    assert [job.id for job in rebuild(store, place)] == [done.id, waits.id, cut.id]
    again = store.get(done.id)
    assert replace(again, started=before.started, place=before.place, ended=before.ended) == before
    assert store.get(waits.id).state == "queued" and store.get(waits.id).environment == {"STUDIO_ROOTS": "/x"}
    assert store.get(cut.id).state == "lost"
    assert rebuild(store, place) == [], "what is listed is left alone"
    assert store.submit("train", ["train"]).id > cut.id
    store.close()


def test_a_job_of_which_only_the_run_is_left_is_listed_again(place: Workspace) -> None:
    made(place, "a", {"job": 7, "ended": STARTED, "outcome": "DivergedError", "reason": "training diverged"})
    made(place, "b", {"job": None})
    store = store_of(place)
    (job,) = rebuild(store, place)
    assert (job.id, job.state, job.reason, job.argv) == (7, "failed", "diverged", ("train", "--stage", "sft"))
    assert json.loads(json.dumps(store.get(7).output)) == str(place.saves / "a")
    store.close()


def test_known_runs_are_read_only_while_somebody_holds_them(place: Workspace) -> None:
    one, two = made(place, "m/one"), made(place, "m/two")
    known = {os.path.realpath(one), os.path.realpath(two)}
    assert runs(place, known=known) == []
    with lock(two, "a run"):
        assert [row.folder for row in runs(place, known=known)] == [two]
    assert [row.folder for row in runs(place, known={os.path.realpath(two)})] == [one]


def test_only_a_training_is_started_from_a_record(place: Workspace) -> None:
    for number, command in enumerate(("studio webui --host 0.0.0.0", "python -m studio train", "sh -c x", "studio")):
        row = read_run(made(place, f"m/{number}", command=command))
        assert row is not None and row.argv == ()
    row = read_run(made(place, "m/good", command="studio train --stage sft"))
    assert row is not None and row.argv == ("train", "--stage", "sft")


@pytest.mark.parametrize("parents", [5, True, "models/m", {"a": 1}, [5, None, {}]])
def test_a_record_with_odd_parents_hides_no_family(place: Workspace, parents: Any) -> None:
    made(place, "m/odd", parents=parents)
    good = made(place, "m/good")
    assert lineage(place, good) == ([], [])
    lineage(place, place.saves / "m/odd")
