"""`studio jobs`: the list in the terminal, which is the one that the page shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.jobs import steps
from studio.jobs.steps import Ending
from studio.jobs.store import Store, folder_of, store_of
from studio.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
COMMAND = ("train", "--stage", "sft", "--learning_rate", "0.001", "--output_dir", "saves/m/lora/one",
           "--overwrite_output_dir", "True")  # fmt: skip


@pytest.fixture
def place(workspace: Workspace) -> Workspace:
    return workspace


@pytest.fixture
def store(place: Workspace) -> Iterator[Store]:
    found = store_of(place)
    yield found
    found.close()


@pytest.fixture
def jobs(command: Any, place: Workspace) -> Callable[..., Any]:
    """`jobs("list")`: the verb, as a command."""
    return lambda *words: command(place, "jobs", *words)


@pytest.fixture
def failed(store: Store, place: Workspace) -> int:
    """A job that failed of a bad row."""
    job = store.submit("train", COMMAND, title="m/lora/one", output="saves/m/lora/one", environment={"A": "1"})
    steps.take(store, job.id)
    steps.finish(store, job.id, 1, Ending("failed", 10, 0, "bad_row", "A row of the data cannot be used."))
    log = "2026-11-22 10:00:00 attempt 1: studio train\nfirst\n\x1b[31mrows.json: row 7: it is empty\x1b[0m\n"
    (folder_of(place, job.id) / "log.txt").write_text(log)
    return job.id


def test_an_empty_workspace_says_so_and_stays_untouched(jobs: Any, place: Workspace):
    done = jobs()
    assert done.code == 0 and "no job was ever started" in done.out
    assert not (place.root / ".studio").exists()


def test_the_list_is_for_people_and_for_programs(jobs: Any, store: Store, failed: int):
    waits = store.submit("export", ("export",), title="out").id
    done = jobs("list")
    assert "failed" in done.out and "saves/m/lora/one" in done.out and "queued" in done.out
    assert "no worker runs" in done.err
    told = json.loads(jobs("list", "--json").out)
    assert [job["id"] for job in told["jobs"]] == [waits, failed] and told["worker"] is False
    assert told["jobs"][1]["reason"] == "bad_row"


def test_one_job_is_shown_with_why_it_failed(jobs: Any, failed: int):
    done = jobs("show", str(failed))
    for part in ("cause:", "evidence: rows.json: row 7: it is empty", "remedy:", "--learning_rate 0.001"):
        assert part in done.out
    told = json.loads(jobs("show", "saves/m/lora/one", "--json").out)
    assert told["id"] == failed and told["failure"]["kind"] == "bad_row" and told["recipe"]["learning_rate"] == "0.001"


def test_logs_are_shown_from_their_end_without_colours(jobs: Any, failed: int):
    assert jobs("logs", str(failed)).out.endswith("first\nrows.json: row 7: it is empty\n")
    assert jobs("logs", str(failed), "--lines", "1").out == "rows.json: row 7: it is empty\n"
    assert jobs("logs", str(failed), "--follow").out.endswith("empty\n"), (
        "it has ended, so there is no more to wait for"
    )


def test_a_clone_is_the_exact_command_or_a_new_job_with_a_folder_of_its_own(
    jobs: Any, store: Store, place: Workspace, failed: int
):
    line = jobs("clone", str(failed)).out
    assert line == f"STUDIO_WORKSPACE={place.root} studio {' '.join(COMMAND)}\n"
    done = jobs("clone", str(failed), "--start")
    assert done.code == 0 and "no worker runs" in done.err
    new = store.jobs()[0]
    assert new.argv == ("train", "--stage", "sft", "--learning_rate", "0.001", "--output_dir", "saves/m/lora/one-2")
    assert (new.parent, new.state, new.environment) == (failed, "queued", {"A": "1"})
    jobs("clone", str(new.id), "--start")
    assert store.jobs()[0].output.endswith("saves/m/lora/one-3")


def test_jobs_wait_stop_and_go_on(jobs: Any, store: Store, failed: int):
    done = jobs("resume", str(failed))
    assert done.code == 0 and "waits in the queue" in done.out and "no worker runs" in done.err
    assert store.get(failed).state == "queued"
    again = jobs("resume", str(failed))
    assert again.code == 10 and "queued" in again.err
    other = store.submit("export", ("export",)).id
    assert jobs("move", str(other), "--before", str(failed)).out == f"the queue: {other}, {failed}\n"
    assert "stopped" in jobs("stop", str(failed)).out and store.get(failed).state == "stopped"
    assert "paused" in jobs("pause", str(other)).out and store.get(other).state == "paused"
    assert jobs("kill", str(other)).code == 10


def test_what_is_removed_is_gone_and_what_is_needed_stays(jobs: Any, store: Store, place: Workspace, failed: int):
    folder = place.saves / "m/lora/one"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"schema": 1, "recipe": {}}))
    child = place.saves / "child"
    child.mkdir()
    (child / "run.json").write_text(json.dumps({"schema": 1, "recipe": {}, "parents": ["saves/m/lora/one"]}))
    done = jobs("remove", str(failed), "--files")
    assert done.code == 3 and "saves/child" in done.err and folder.is_dir()
    assert jobs("remove", str(failed), "--files", "--force").code == 0
    assert not folder.exists() and store.jobs() == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("lst",), 2, "Did you mean list"),
        (("show",), 2, "needs the number of a job"),
        (("show", "99"), 10, "no job 99"),
        (("show", "saves/nothing"), 10, "neither the number of a job nor the folder"),
        (("show", str(2**70)), 10, "neither"),
        (("stop", "--now", "1"), 2, "takes no '--now'"),
        (("logs", "1", "--lines", "x"), 2, "must be a number"),
        (("list", "more"), 2, "takes no 'more'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(jobs: Any, words: tuple[str, ...], code: int, told: str):
    done = jobs(*words)
    assert done.code == code and told in done.err and "Traceback" not in done.err


def test_a_run_of_another_terminal_is_listed_stopped_and_queued_to_go_on(
    jobs: Any, store: Store, place: Workspace, small: dict[str, str]
):
    values = {**small, "max_steps": "5000", "save_steps": "5000", "output_dir": "saves/mine"}
    words = [f"--{name}={value}" for name, value in values.items()]
    points = place.saves / "mine/progress.jsonl"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
    environment = {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "studio", "train", *words], cwd=place.root, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            until = time.monotonic() + 120
            while not (points.exists() and points.stat().st_size) and time.monotonic() < until:
                assert process.poll() is None
                time.sleep(0.2)
            (row,) = json.loads(jobs("list", "--json").out)["outside"]
            assert (row["state"], row["output"], row["progress"]["total_steps"]) == ("running", "saves/mine", 5000)
            refused = jobs("resume", "saves/mine")
            assert refused.code == 3 and "it is running" in refused.err
            assert "was asked to stop" in jobs("stop", "saves/mine").out
            assert process.wait(120) == 14
        finally:
            process.kill()
    (row,) = json.loads(jobs("list", "--json").out)["outside"]
    assert (row["state"], row["reason"]) == ("stopped", "")
    assert jobs("logs", "saves/mine", "--follow").out.rstrip().endswith("The same command goes on from there.")
    assert "waits in the queue" in jobs("resume", "saves/mine").out
    (job,) = store.jobs()
    assert job.argv[0] == "train" and job.output == str(place.saves / "mine")
    assert json.loads(jobs("list", "--json").out)["outside"] == []
