"""How the end of a command is judged, what it has in its environment, and what is kept of its log."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from studio.jobs import steps, supervisor, told
from studio.jobs.identity import Identity, identity_of
from studio.jobs.job import Job, Kind, Wish
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of, store_of
from studio.jobs.supervisor import Supervisor, command_environment, supervise
from studio.workspace import Workspace
from tests.flow.jobbing import until

# A command that reads its orders from the environment: this package is found before the real one.
COMMAND = """
import json, os, pathlib, resource, sys, time
folder = pathlib.Path(os.environ["STUDIO_JOB_FOLDER"])
(folder / "seen.json").write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
    "core": resource.getrlimit(resource.RLIMIT_CORE)}))
sys.stderr.write(os.environ.get("SAYS", "") + "\\n")
if "SIGNAL" in os.environ:
    os.kill(os.getpid(), int(os.environ["SIGNAL"]))
time.sleep(float(os.environ.get("LASTS", "0")))
sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    package = tmp_path / "path" / "studio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(COMMAND)
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def store(place: Workspace) -> Iterator[Store]:
    made = store_of(place)
    yield made
    made.close()


def submit(store: Store, place: Workspace, kind: Kind = "train", **environment: str) -> int:
    known = {"PYTHONPATH": str(place.root.parent / "path"), **environment}
    made = store.submit(kind, [kind, "--word", "two words"], environment=known)
    assert steps.take(store, made.id)
    return made.id


def supervised(place: Workspace, id: int, **environment: str) -> None:
    """The supervisor as a process of its own, as the worker starts it."""
    words = [sys.executable, "-m", "studio.jobs.supervisor", str(place.root), str(id), "1"]
    subprocess.run(words, env=os.environ | environment, start_new_session=True, check=True, timeout=60)


def ended(store: Store, place: Workspace, *, wish: Wish = "", kind: Kind = "train", **environment: str) -> Job:
    id = submit(store, place, kind, **environment)

    def wish_it() -> None:
        until((folder_of(place, id) / "seen.json").exists, lambda: "the command does not start")
        store.wish(id, wish)

    wishes = threading.Thread(target=wish_it)
    if wish:
        wishes.start()
    supervised(place, id)
    if wish:
        wishes.join()
    return store.get(id)


@pytest.mark.parametrize(
    ("environment", "state", "code", "signal", "reason"),
    [
        ({}, "succeeded", 0, 0, ""),
        ({"CODE": "14"}, "stopped", 14, 0, ""),
        ({"CODE": "130"}, "stopped", 130, 0, ""),
        ({"CODE": "11"}, "paused", 11, 0, "disk_full"),
        ({"CODE": "13", "SAYS": "the loss is nan"}, "failed", 13, 0, "diverged"),
        ({"CODE": "1", "SAYS": "torch.OutOfMemoryError: CUDA out of memory."}, "failed", 1, 0, "out_of_memory_device"),
        ({"SIGNAL": "9"}, "failed", None, 9, "killed"),
        ({"SIGNAL": "15"}, "failed", None, 15, "killed"),
        ({"SIGNAL": "11"}, "failed", None, 11, "crashed"),
    ],
)  # fmt: skip
def test_the_exit_code_says_the_state_and_the_log_the_reason(
    environment: dict[str, str], state: str, code: int | None, signal: int, reason: str, store: Store, place: Workspace
) -> None:
    job = ended(store, place, **environment)
    assert (job.state, job.exit_code, job.signal, job.reason) == (state, code, signal, reason)
    assert bool(job.sentence) == bool(reason)
    told_end = json.loads((folder_of(place, job.id) / "exit.json").read_text())
    assert (told_end["attempt"], told_end["state"]) == (1, state) and told_end["peak_memory_mib"] > 0


@pytest.mark.parametrize(
    ("wish", "kind", "state"),
    [("stop", "train", "stopped"), ("pause", "train", "paused"), ("kill", "train", "killed"),
     ("stop", "serve", "stopped")],
)  # fmt: skip
def test_a_wish_ends_a_command_that_does_not_save(
    wish: Wish, kind: Kind, state: str, store: Store, place: Workspace
) -> None:
    job = ended(store, place, wish=wish, kind=kind, LASTS="60")
    assert job.state == state and job.reason == ""


def test_what_was_not_wished_any_more_is_not_started(store: Store, place: Workspace) -> None:
    id = submit(store, place)
    store.wish(id, "stop")
    supervised(place, id)
    assert store.get(id).state == "stopped"
    assert not (folder_of(place, id) / "seen.json").exists()


def test_the_command_is_the_one_that_is_shown_and_has_nothing_of_the_page(store: Store, place: Workspace) -> None:
    page = {
        "STUDIO_ROOTS": "/x",
        "STUDIO_API_KEY": "k",
        "STUDIO_TOKEN": "t",
        "GRADIO_SERVER_PORT": "1",
        "HF_HOME": "/h",
    }
    id = submit(store, place, STUDIO_ROOTS=str(place.root))
    supervised(place, id, **page)
    folder = folder_of(place, id)
    seen = json.loads((folder / "seen.json").read_text())
    assert seen["argv"] == ["train", "--word", "two words"] and seen["cwd"] == str(place.root)
    assert seen["core"] == [0, 0]
    env = seen["env"]
    assert not {"STUDIO_API_KEY", "STUDIO_TOKEN", "GRADIO_SERVER_PORT"} & env.keys()
    assert (env["STUDIO_ROOTS"], env["HF_HOME"]) == (str(place.root), "/h")
    assert (env["STUDIO_WORKSPACE"], env["STUDIO_JOB_ID"]) == (str(place.root), str(id))
    assert env["STUDIO_JOB_FOLDER"] == str(folder) and env["PYTHONUNBUFFERED"] == "1"
    assert f"STUDIO_WORKSPACE={place.root} studio train --word 'two words'" in (folder / "log.txt").read_text()


def test_a_served_model_gets_a_new_key_each_time_that_only_its_owner_reads(store: Store, place: Workspace) -> None:
    job = store.get(submit(store, place, "serve"))
    path = folder_of(place, job.id) / "key"
    keys = []
    for _ in range(2):
        keys.append(command_environment(job, place, {"STUDIO_API_KEY": "the page's"})["STUDIO_API_KEY"])
        assert path.read_text() == keys[-1] and path.stat().st_mode & 0o777 == 0o600
    assert len(set(keys)) == 2 and all(len(key) >= 32 for key in keys)
    assert keys[-1] not in str(store.get(job.id))


def test_devices_are_named_to_the_command(store: Store, place: Workspace) -> None:
    job = Job(1, "train", ("train",), "starting", devices=("1", "3"))
    assert command_environment(job, place, {"CUDA_VISIBLE_DEVICES": "0"})["CUDA_VISIBLE_DEVICES"] == "1,3"


def test_the_log_is_cut_without_its_writer_noticing(store: Store, place: Workspace, tmp_path: Path) -> None:
    me = identity_of(os.getpid())
    assert isinstance(me, Identity)
    one = Supervisor(store, place, store.get(submit(store, place)), me)
    with one.log.open("ab", buffering=0) as writer:
        writer.write(b"x" * (33 << 20))
        one._trim_log()
        writer.write(b"the end\n")
    assert one.log.read_bytes() == b"the end\n"
    assert (one.folder / "log.1.txt").stat().st_size == 33 << 20
    assert one._tail() == "the end\n"


def test_an_attempt_that_somebody_else_looks_after_is_left_alone(store: Store, place: Workspace) -> None:
    id = submit(store, place)
    assert steps.claim(store, id, 1, Identity("boot", 1, 1))
    assert supervise(place, id, 1) == 0
    assert store.get(id).state == "starting"


@pytest.mark.parametrize("told_before", [True, False])
def test_what_an_attempt_put_in_place_is_a_leftover_only_where_it_told_no_result(
    told_before: bool, store: Store, place: Workspace
) -> None:
    one = attempt_of(store, place)
    one.folder.mkdir(parents=True, exist_ok=True)
    (one.folder / "placed.json").write_text("{}")
    if told_before:
        (one.folder / "result.json").write_text("{}")
    store.wish(one.job.id, "stop")
    one.run()
    assert (one.folder / "placed.json").exists() is not told_before


def test_long_commands_tell_the_page_and_nobody_where_there_is_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.tell(1, 2, "nobody listens")
    told.result({"a": 1})
    monkeypatch.setenv("STUDIO_JOB_FOLDER", str(tmp_path))
    for done in range(1, 101):
        told.tell(done, 100, f"row {done}")
    told.result({"rows": 100})
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert len(lines) < 10 and lines[-1] == {"done": 100, "total": 100, "text": "row 100"}
    assert json.loads((tmp_path / "result.json").read_text()) == {"rows": 100}


def attempt_of(store: Store, place: Workspace, **environment: str) -> Supervisor:
    me = identity_of(os.getpid())
    assert isinstance(me, Identity)
    job = steps.claim(store, submit(store, place, **environment), 1, me)
    assert job is not None
    return Supervisor(store, place, job, me)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("locking protocol"), PermissionError(13, "denied")])
def test_a_list_that_cannot_be_read_ends_no_command(
    error: Exception, store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = attempt_of(store, place)
    monkeypatch.setattr(Store, "version", Mock(side_effect=error))
    assert one.wish() == ""
    monkeypatch.setattr(Store, "setting", Mock(side_effect=error))
    one._say_stopping()


def test_on_a_full_disk_the_end_still_gets_into_the_list(
    store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = attempt_of(store, place)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(supervisor, "write_json", Mock(side_effect=full))
    supervisor._tell(one, Ending("paused", 11, reason="disk_full"))
    assert store.get(one.job.id).state == "paused"


def test_a_job_that_finds_the_disk_full_says_so(
    store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = submit(store, place)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(supervisor, "write_text", Mock(side_effect=full))
    monkeypatch.setattr(signal, "signal", Mock())
    monkeypatch.setattr(supervisor, "end_all", Mock())
    supervise(place, id, 1)
    assert (store.get(id).state, store.get(id).reason) == ("paused", "disk_full")


def test_a_command_that_ended_itself_before_the_blow_was_not_killed(store: Store, place: Workspace) -> None:
    one = attempt_of(store, place)
    store.wish(one.job.id, "stop")
    assert [one._judge(code, "grace").state for code in (14, 0, -9)] == ["stopped", "succeeded", "killed"]
    store.wish(one.job.id, "kill")
    assert [one._judge(code, "kill").state for code in (14, 0, -9)] == ["stopped", "succeeded", "killed"]


def test_a_log_that_cannot_be_cut_leaves_nothing_behind(
    store: Store, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = attempt_of(store, place)
    one.log.write_bytes(b"x" * (33 << 20))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, limit[1]))  # no disk is full here
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        one._trim_log()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert one.log.stat().st_size == 33 << 20
    assert not list(one.folder.glob("log.1*"))
