"""What the page is told of jobs, and what it may ask of them."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient

from studio.jobs import failure, runs, steps
from studio.jobs.steps import Ending
from studio.jobs.store import folder_of, store_of
from studio.web.jobs_view import WHY_NOT, View
from studio.web.language import strings
from studio.web.site import Site
from studio.workspace import Workspace
from tests.unit.web.jobs_page import COMMAND, api, client_of, end, site, submit, write_run

__all__ = ["api", "site"]


def test_the_list_has_the_newest_jobs_in_brief(api: TestClient, site: Site) -> None:
    submit(site, "old")
    submit(site, "new", devices=("1",))
    told = api.get("/jobs").json()
    assert [job["title"] for job in told["jobs"]] == ["new", "old"]
    new = told["jobs"][0]
    assert new["state"] == "queued" and new["devices"] == ["1"] and new["output"] == "saves/m/lora/new"
    assert new["progress"] is None and told["worker"] is False and told["outside"] == []
    assert new["can"]["stop"] == "" and new["can"]["delete"] == "it waits or runs; stop it first"
    assert [job["title"] for job in api.get(f"/jobs?before={new['id']}").json()["jobs"]] == ["old"]


def test_a_list_follows_every_change_at_once(api: TestClient, site: Site) -> None:
    before = api.get("/jobs").json()["version"]
    submit(site)
    told = api.get("/jobs").json()
    assert told["version"] != before and len(told["jobs"]) == 1


def test_names_are_text_whatever_they_hold(api: TestClient, site: Site) -> None:
    names = ["<img src=x onerror=alert(1)>", "'; drop table job; --", "{{7*7}}", "${x}", "😀", "x" * 10_000]
    for number, name in enumerate(names):
        site.store.submit("train", COMMAND, title=name, output=f"saves/{number}")
    assert [job["title"] for job in api.get("/jobs").json()["jobs"]] == names[::-1]


@pytest.mark.parametrize(
    "id",
    [
        "99",
        "0",
        "-1",
        "%2e%2e/1",
        str(2**70),
        "1.0",
        "x",
        "outside:",
        "outside:%2e%2e/%2e%2e",
        "outside:saves",
        "outside:/etc",
        "outside:a%00b",
    ],
)
def test_what_is_not_there_is_404(api: TestClient, id: str) -> None:
    for path in (f"/jobs/{id}", f"/jobs/{id}/news", f"/jobs/{id}/log", f"/jobs/{id}/dependants"):
        assert api.get(path).status_code == 404, path
    assert api.post(f"/jobs/{id}/stop").status_code == 404
    assert api.delete(f"/jobs/{id}").status_code == 404


# -- one job


def test_a_job_is_told_whole(api: TestClient, site: Site) -> None:
    id = submit(site, environment={"STUDIO_ROOTS": "/x"})
    whole = api.get(f"/jobs/{id}").json()
    assert whole["argv"] == list(COMMAND)
    assert whole["shell"].endswith("studio train --stage sft --model_name_or_path models/m --learning_rate 0.001")
    assert whole["recipe"] == {"stage": "sft", "model_name_or_path": "models/m", "learning_rate": "0.001"}
    assert whole["attempts"] == [] and whole["failure"] is None and whole["checkpoints"] == []


def test_a_failed_job_says_cause_evidence_and_remedy(api: TestClient, site: Site) -> None:
    id = submit(site)
    head = "2026-11-22 10:00:00 attempt {}: STUDIO_WORKSPACE=/x studio train --dataset d\n"
    said = head.format(1) + "memory ran out while training (x)\n" + head.format(2) + "data/d.json: row 7: it is empty\n"
    (folder_of(site.workspace, id) / "log.txt").write_text(said)
    end(site, id, reason="bad_row", sentence="A row.")
    card = api.get(f"/jobs/{id}").json()["failure"]
    assert card["kind"] == "bad_row" and card["evidence"] == "data/d.json: row 7: it is empty"
    assert card["cause"] and card["remedy"]


def test_stop_twice_is_one_stop_and_an_ended_job_is_a_conflict(api: TestClient, site: Site) -> None:
    id = submit(site)
    steps.take(site.store, id)
    assert api.post(f"/jobs/{id}/stop").status_code == 200
    assert api.post(f"/jobs/{id}/stop").status_code == 200
    assert api.post(f"/jobs/{id}/resume").status_code == 409
    assert api.delete(f"/jobs/{id}").status_code == 409
    steps.finish(site.store, id, 1, Ending("stopped", 14))
    assert api.post(f"/jobs/{id}/kill").status_code == 409
    assert api.post(f"/jobs/{id}/explode").status_code == 422


def test_a_job_that_ended_early_goes_on_or_starts_anew(api: TestClient, site: Site) -> None:
    id = submit(site)
    end(site, id)
    can = api.get(f"/jobs/{id}").json()["can"]
    assert can["retry"] == "" and "no checkpoint" in can["resume"]
    (site.workspace.saves / "m/lora/one/checkpoint-2").mkdir(parents=True)
    can = api.get(f"/jobs/{id}").json()["can"]
    assert can["resume"] == "" and "Resume" in can["retry"]
    assert api.post(f"/jobs/{id}/resume").json()["state"] == "queued"


def test_waiting_jobs_are_put_in_another_order(api: TestClient, site: Site) -> None:
    first, second = submit(site, "a"), submit(site, "b")
    assert api.post(f"/jobs/{second}/move", json={"before": first}).status_code == 200
    assert [job.id for job in site.store.queue()] == [second, first]
    end(site, first)
    assert api.post(f"/jobs/{first}/move", json={"before": None}).status_code == 409


def test_settings_are_read_and_changed(api: TestClient) -> None:
    assert api.get("/settings").json()["cpu_jobs"] == 1
    assert api.put("/settings", json={"cpu_jobs": 2}).json()["cpu_jobs"] == 2
    assert api.put("/settings", json={"cpu_jobs": 0}).status_code == 422
    assert api.put("/settings", json={"colour": 1}).status_code == 422


def test_recipes_are_held_against_each_other(api: TestClient, site: Site) -> None:
    id = submit(site)
    other = {"stage": "sft", "model_name_or_path": "models/m", "learning_rate": "0.01", "lora_rank": "16"}
    write_run(site.workspace.saves / "m/lora/two", recipe=other)
    rows = api.post("/jobs/diff", json={"ids": [id, "outside:saves/m/lora/two"]}).json()
    assert {"name": "learning_rate", "values": ["0.001", "0.01"]} in rows
    assert {"name": "lora_rank", "values": ["8", "16"]} in rows, "what was not said is the default"
    assert "model_name_or_path" not in {row["name"] for row in rows}
    assert api.post("/jobs/diff", json={"ids": [id]}).status_code == 422


# -- words


def test_every_failure_has_its_words_in_both_languages() -> None:
    english, chinese = strings("en"), strings("zh")
    for kind, (cause, remedy) in failure.KINDS.items():
        assert english[f"failure.{kind}.cause"] == cause and english[f"failure.{kind}.remedy"] == remedy
        assert chinese[f"failure.{kind}.cause"] and chinese[f"failure.{kind}.remedy"]
    for key, text in WHY_NOT.items():
        assert english[f"failure.why_not.{key}"] == text and chinese[f"failure.why_not.{key}"]


def test_a_filled_form_becomes_one_job_however_often_it_is_sent(workspace: Workspace) -> None:
    site = Site(workspace, store_of(workspace), token="secret")
    client = client_of(site)
    values = {"stage": "sft", "model_name_or_path": "models/tiny-chat", "dataset": "tiny_sft", "use_cpu": True,
              "output_dir": "saves/tiny/lora/first"}  # fmt: skip
    asked = {"values": values, "devices": [], "request": "a-mark"}
    job = client.post("/jobs", json=asked).json()
    assert job["state"] == "queued" and job["title"] == "tiny/lora/first", job
    assert client.post("/jobs", json=asked).json()["id"] == job["id"]
    stored = site.store.get(job["id"])
    assert stored.argv[:3] == ("train", "--stage", "sft") and str(workspace.root) in stored.environment["STUDIO_ROOTS"]
    refused = client.post("/jobs", json={**asked, "request": "another"})
    assert refused.status_code == 409 and "job 1" in refused.json()["error"]
    refused = client.post("/jobs", json={"values": {**values, "learning_rate": "fast"}})
    assert refused.status_code == 422 and "learning_rate" in refused.json()["complaints"][0]
    other = {**values, "output_dir": "saves/tiny/lora/second"}
    assert client.post("/jobs", json={"values": other, "devices": ["0; rm"]}).status_code == 422
    assert client.post("/jobs", json={"values": other, "colour": 1}).status_code == 422
    assert len(site.store.jobs()) == 1
    site.store.close()


def test_what_has_finished_does_not_start_again(api: TestClient, site: Site) -> None:
    id = submit(site)
    end(site, id, "succeeded", 0)
    for action in ("resume", "retry"):
        assert api.post(f"/jobs/{id}/{action}").status_code == 409
    assert site.store.get(id).state == "succeeded"


def test_thousands_of_runs_are_listed_without_reading_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        id = submit(site, f"run-{number}")
        write_run(site.workspace.saves / f"m/lora/run-{number}", attempt={"job": id})
        site.store.wish(id, "stop")
    read = Mock(side_effect=AssertionError("a record was read"))
    monkeypatch.setattr(runs, "read_run", read)
    assert View(site).outside() == []
