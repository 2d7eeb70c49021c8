"""Runs that were started in a terminal, and the removal of runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from studio.jobs.identity import identity_of
from studio.web.site import Site
from tests.unit.web.jobs_page import COMMAND, api, end, site, submit, write_run

__all__ = ["api", "site"]


# Holds a run folder's lock as a trainer does, until it is asked to end.
HOLDER = """
import sys, time
from pathlib import Path
from studio.workspace import lock
with lock(Path(sys.argv[1]), "a run"):
    print("held", flush=True)
    time.sleep(60)
"""


# -- runs that were started in a terminal


@pytest.fixture
def running(site: Site) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A process that holds a run folder as a trainer does."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str) -> subprocess.Popen[str]:
        folder = site.workspace.saves / name
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        own = identity_of(process.pid)
        assert own is not None
        write_run(folder.with_name("made"), attempt={"process": asdict(own)})
        (folder.with_name("made") / "run.json").replace(folder / "run.json")
        (folder.with_name("made")).rmdir()
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_run_of_a_terminal_is_listed_and_can_be_stopped(api: TestClient, site: Site, running: Any) -> None:
    process = running("mine")
    (told,) = api.get("/jobs").json()["outside"]
    assert told["id"] == "outside:saves/mine" and told["state"] == "running" and told["can"]["stop"] == ""
    assert api.get("/jobs/outside:saves/mine").json()["recipe"]["learning_rate"] == "0.001"
    assert api.delete("/jobs/outside:saves/mine?files=true").status_code == 409
    assert api.post("/jobs/outside:saves/mine/stop").status_code == 200
    assert process.wait(10) == -signal.SIGTERM
    assert api.get("/jobs/outside:saves/mine").json()["state"] == "lost"
    assert api.post("/jobs/outside:saves/mine/stop").status_code == 409


def test_a_pid_alone_is_never_sent_a_signal(api: TestClient, site: Site, running: Any) -> None:
    process = running("other")
    path = site.workspace.saves / "other/run.json"
    record = json.loads(path.read_text())
    record["attempts"][-1]["process"]["start_ticks"] -= 1
    path.write_text(json.dumps(record))
    assert api.post("/jobs/outside:saves/other/kill").status_code == 409
    assert process.poll() is None


def test_a_run_of_a_terminal_goes_on_as_a_job(api: TestClient, site: Site) -> None:
    write_run(site.workspace.saves / "left", attempt={"ended": "2026-11-01T10:01:00+0000", "outcome": "StoppedError"})
    assert api.get("/jobs/outside:saves/left").json()["state"] == "stopped"
    job = api.post("/jobs/outside:saves/left/resume").json()
    assert job["state"] == "queued" and job["output"] == "saves/left"
    assert site.store.get(job["id"]).environment["STUDIO_ROOTS"] == str(site.workspace.root)
    assert api.get("/jobs").json()["outside"] == [], "it is a job now"


def test_a_run_outside_the_roots_is_neither_listed_nor_shown(
    api: TestClient, site: Site, tmp_path_factory: Any
) -> None:
    elsewhere = write_run(tmp_path_factory.mktemp("elsewhere") / "run")
    (site.workspace.saves / "link").symlink_to(elsewhere)
    pointers = site.workspace.root / ".studio" / "runs"
    pointers.mkdir(parents=True)
    (pointers / "a.json").write_text(json.dumps({"folder": str(elsewhere)}))
    assert api.get("/jobs").json()["outside"] == []
    assert api.get("/jobs/outside:saves/link").status_code == 404
    assert api.get(f"/jobs/outside:{elsewhere}").status_code == 404


# -- removing


def test_a_run_that_others_depend_on_is_not_removed_by_chance(api: TestClient, site: Site) -> None:
    base = site.workspace.saves / "m/lora/one"
    id = submit(site)
    end(site, id, "succeeded", 0)
    write_run(base, finished="2026-11-01T11:00:00+0000")
    write_run(site.workspace.saves / "child", parents=["models/m", "saves/m/lora/one/checkpoint-2"])
    export = site.workspace.models / "exported"
    export.mkdir()
    (export / "export.json").write_text(json.dumps({"base": "models/m", "adapters": [str(base)]}))
    needed = api.get(f"/jobs/{id}/dependants").json()["dependants"]
    assert {each["path"] for each in needed} == {"saves/child", "models/exported"}
    refused = api.delete(f"/jobs/{id}?files=true")
    assert refused.status_code == 409 and "saves/child" in refused.json()["error"]
    assert base.is_dir()
    assert api.delete(f"/jobs/{id}?files=true&force=true").status_code == 200
    assert not base.exists() and api.get(f"/jobs/{id}").status_code == 404


def test_without_files_only_the_entry_goes(api: TestClient, site: Site) -> None:
    id = submit(site)
    end(site, id)
    folder = write_run(site.workspace.saves / "m/lora/one")
    assert api.delete(f"/jobs/{id}").status_code == 200
    assert folder.is_dir()
    assert api.get("/jobs").json()["outside"][0]["output"] == "saves/m/lora/one", "its folder tells of it"


def test_nothing_outside_saves_is_ever_removed(api: TestClient, site: Site) -> None:
    for name in ("models/run", "saves"):
        job = site.store.submit("train", COMMAND, output=name)
        end(site, job.id)
        if name != "saves":
            write_run(site.workspace.root / name)
        assert api.delete(f"/jobs/{job.id}?files=true&force=true").status_code == 409
        assert (site.workspace.root / name).is_dir()


def test_what_the_page_refuses_it_refuses_from_a_record_too(api: TestClient, site: Site) -> None:
    ended = {"ended": "2026-11-01T10:01:00+0000", "outcome": "StoppedError"}
    words = "studio train --stage sft --trust_remote_code True"
    write_run(site.workspace.saves / "code", command=words, attempt=ended)
    write_run(site.workspace.saves / "page", command="studio webui --host 0.0.0.0", attempt=ended)
    refused = api.post("/jobs/outside:saves/code/resume")
    assert refused.status_code == 422 and "--trust_remote_code" in refused.json()["error"]
    assert api.post("/jobs/outside:saves/page/resume").status_code == 409
    assert site.store.jobs() == []


@pytest.mark.parametrize("name", ["news", "log", "dependants", "stop", "move"])
def test_a_run_may_be_called_like_a_route(api: TestClient, site: Site, name: str) -> None:
    write_run(site.workspace.saves / "m" / name)
    id = f"outside:saves/m/{name}"
    assert api.get(f"/jobs/{id}").json()["id"] == id
    assert api.get(f"/jobs/{id}/news").json()["job"]["id"] == id
    assert api.get(f"/jobs/{id}/dependants").json() == {"dependants": []}
    assert api.post(f"/jobs/{id}/stop").status_code == 409
    assert api.delete(f"/jobs/{id}?files=true").status_code == 200
    assert not (site.workspace.saves / "m" / name).exists()
