"""What an attacker tried on the page's routes, and what stands against it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.testclient import TestClient as GuardedClient

from studio.errors import ArgumentError, StudioError
from studio.jobs.store import Store
from studio.web.api import forms, jobs, recipe
from studio.web.app import _tell
from studio.web.datasets_add import WrongEnding, safe_name
from studio.web.datasets_count import ask
from studio.web.exporting import draft
from studio.web.form import compose, refuse_words
from studio.web.proxy import read_endpoint
from studio.web.site import Site
from studio.workspace import Workspace
from tests.unit.web.guarded import BEARER, TOKEN, Behind, behind, client
from tests.unit.web.jobs_page import api, client_of, end, site, write_run

__all__ = ["api", "behind", "client", "site"]

GOOD = {"model_name_or_path": "models/tiny-chat", "dataset": ["tiny_sft"], "output_dir": "saves/m/lora/run"}
TRUSTED = [True, "True", "true", "T", "t", "y", "yes", "on", 1, "1", 1.0]


@pytest.fixture
def page(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("STUDIO_ROOTS", str(workspace.root))
    return Site(workspace, Store(workspace.root / ".studio" / "studio.db"), "token")


def complaints(site: Site, **values: Any) -> str:
    return "\n".join(compose(site, {**GOOD, **values}).complaints)


@pytest.mark.parametrize("value", TRUSTED)
def test_no_spelling_of_true_lets_a_models_code_run(page: Site, value: object) -> None:
    assert "runs no code of models" in complaints(page, trust_remote_code=value)
    further = json.dumps({"trust_remote_code": value})
    assert "runs no code of models" in complaints(page, extra_arguments=further)


@pytest.mark.parametrize("word", ["--trust_remote_code", "--trust-remote-code=T", "--trust_remote_code=y"])
def test_no_record_lets_a_models_code_run(page: Site, word: str) -> None:
    words = ["--model_name_or_path", "models/tiny-chat", "--dataset", "tiny_sft", "--output_dir", "saves/x", word]
    with pytest.raises(ArgumentError, match="runs no code of models"):
        refuse_words(page, words)


@pytest.mark.parametrize("action", ["resume", "retry"])
def test_a_job_of_a_studio_that_trusted_code_is_not_started_again_by_one_that_does_not(site: Site, action: str) -> None:
    words = ("train", "--stage", "sft", "--model_name_or_path", "m/m", "--dataset", "d", "--output_dir", "saves/x")
    job = site.store.submit("train", (*words, "--trust_remote_code", "True"), output="saves/x")
    end(site, job.id)
    with client_of(site) as api:
        answer = api.post(f"/jobs/{job.id}/{action}")
    assert answer.status_code == 422 and "runs no code of models" in answer.text
    trusting = Site(site.workspace, site.store, "secret", trusts_code=True)
    with client_of(trusting) as api:
        assert api.post(f"/jobs/{job.id}/{action}").status_code == 200


def test_a_template_outside_is_told_before_anything_starts(page: Site) -> None:
    for asked in ("/etc/passwd", "../x.jinja"):
        assert "leads outside" in complaints(page, template=asked)


def test_nothing_is_written_into_what_the_studio_keeps_for_itself(page: Site) -> None:
    for asked in (".studio/jobs/x", "saves/../.studio/forms", "./.studio/x/y"):
        assert "keeps" in complaints(page, output_dir=asked)
        told = draft(page, {"model_name_or_path": "models/tiny", "export_dir": asked}).complaints
        assert "keeps" in "\n".join(told), asked


@pytest.mark.parametrize("name", ["model_name_or_path", "adapter_name_or_path", "resume_from_checkpoint"])
def test_a_name_too_long_for_a_folder_is_a_complaint(page: Site, name: str) -> None:
    assert "255" in complaints(page, **{name: "x" * 300})


def test_the_name_of_a_dataset_is_never_read_as_a_flag(page: Site) -> None:
    path = page.workspace.dataset_info
    listed = json.loads(path.read_text())
    path.write_text(json.dumps({**listed, "--traceback": listed["tiny_sft"]}))
    from studio.data.catalog import read_catalog

    entry = read_catalog(page.workspace)["--traceback"]
    with pytest.raises(StudioError, match="dash"):
        ask(page, entry, "--traceback", "", {}, begin=True)
    values = {"default_system": "--workspace=/tmp"}
    ask(page, read_catalog(page.workspace)["tiny_sft"], "tiny_sft", "", values, begin=True)
    (job,) = page.store.jobs(kinds=["data"])
    assert "--workspace=/tmp" not in job.argv


def test_a_log_that_is_a_link_is_not_given_out(site: Site, api: TestClient) -> None:
    secret = site.workspace.root.parent / "secret.txt"
    secret.write_text("top secret")
    folder = write_run(site.workspace.saves / "m" / "lora" / "lying")
    (folder / "log.txt").symlink_to(secret)
    (folder / "progress.jsonl").symlink_to(secret)
    id = "outside:saves/m/lora/lying"
    for path in ("log", "news", ""):
        assert "top secret" not in api.get(f"/jobs/{id}/{path}".rstrip("/")).text
    assert "top secret" not in api.get("/jobs").text


@pytest.mark.parametrize("name", ["dataset_info.json", "x/dataset_info.json", "Run.json"])
def test_an_upload_cannot_take_the_name_of_what_decides(name: str) -> None:
    with pytest.raises(WrongEnding, match="another name"):
        safe_name(name)


def test_half_a_character_is_a_wrong_request_not_a_failure(site: Site) -> None:
    app = FastAPI()
    for subject in (recipe, forms, jobs):
        app.include_router(subject.routes(site), prefix="/api")
    _tell(app)
    api = TestClient(app, base_url="http://studio/api", headers={"content-type": "application/json"})
    half = '{"model_name_or_path": "\\ud800"}'
    for method, path, body in (
        ("POST", "/jobs", '{"values": %s}'), ("POST", "/recipe", '{"values": %s}'),
        ("PUT", "/forms/x", '{"schema": 1, "values": %s}'),
    ):  # fmt: skip
        answer = api.request(method, path, content=body % half)
        assert answer.status_code == 422 or not answer.json()["ok"], answer.text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80\r\n/v1", "http://127.0.0.1:80/v1#x", "http://127.0.0.1@evil:8/v1"]
)
def test_an_address_of_a_model_is_ours_to_the_last_sign(workspace: Workspace, url: str) -> None:
    (workspace.root / "key").write_text("key")
    (workspace.root / "endpoint.json").write_text(json.dumps({"url": url, "names": ["m"]}))
    assert read_endpoint(workspace.root) is None


def test_only_uploads_may_be_large_whatever_a_form_is_called(client: GuardedClient) -> None:
    for path in ("/api/forms/upload", "/api/jobs/outside:x/upload", "/x/gradio_api/upload", "/upload"):
        assert client.put(path, headers=BEARER, content=b"x" * (2**20 + 1)).status_code == 413, path


def test_wrong_tokens_of_somebody_else_never_keep_the_owner_out(client: GuardedClient, behind: Behind) -> None:
    for number in range(30):
        client.get(f"/?token=wrong{number}")
    assert client.get("/?token=wrong").status_code == 429
    assert client.get("/api/jobs", headers=BEARER).status_code == 200
    assert client.get(f"/?token={TOKEN}").status_code == 303


def test_a_flood_of_wrong_tokens_does_not_fill_the_disk(client: GuardedClient, tmp_path: Any) -> None:
    for number in range(100):
        client.get(f"/?token=wrong{number}")
    assert len((tmp_path / ".studio" / "audit.jsonl").read_text().splitlines()) <= 11
