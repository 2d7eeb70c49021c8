"""Which models a workspace has, what each is, and the forms that are kept beside them."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from studio.jobs.store import Store
from studio.web.api import forms, models, recipe
from studio.web.app import FastAPI, _tell
from studio.web.models_view import about, listed
from studio.web.site import Site
from studio.workspace import Workspace


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    app = FastAPI()
    site = Site(workspace, Store(workspace.root / ".studio" / "studio.db"), "token")
    for subject in (forms, models, recipe):
        app.include_router(subject.routes(site), prefix="/api")
    _tell(app)
    return TestClient(app)


@pytest.fixture
def runs(workspace: Workspace) -> Workspace:
    run = workspace.saves / "tiny" / "lora" / "first"
    write(run / "run.json", {"recipe": {"model_name_or_path": "models/tiny"}})
    write(run / "adapter_config.json", {"base_model_name_or_path": "models/tiny"})
    for step, loss in ((5, 2.0), (10, 1.5)):
        write(run / f"checkpoint-{step}" / "adapter_config.json", {"base_model_name_or_path": "models/tiny"})
        write(run / f"checkpoint-{step}" / "trainer_state.json", {"log_history": [{"loss": 3.0}, {"eval_loss": loss}]})
    full = workspace.saves / "tiny" / "full" / "whole"
    write(full / "run.json", {"recipe": {"model_name_or_path": "models/tiny"}})
    write(full / "config.json", {})
    write(workspace.models / "merged" / "config.json", {})
    write(workspace.models / "merged" / "export.json", {})
    write(workspace.saves / "notes" / "x.json", {})
    return workspace


def test_each_folder_is_offered_as_what_it_is(runs: Workspace) -> None:
    found = {model.path: model for model in listed(runs)}
    assert {path: model.kind for path, model in found.items()} == {
        "models/tiny": "base", "models/tiny-chat": "base", "models/merged": "export",
        "saves/tiny/full/whole": "full", "saves/tiny/lora/first": "adapter",
        "saves/tiny/lora/first/checkpoint-5": "checkpoint", "saves/tiny/lora/first/checkpoint-10": "checkpoint",
    }  # fmt: skip
    last = found["saves/tiny/lora/first/checkpoint-10"]
    assert (last.base, last.run, last.step, last.adapter) == ("models/tiny", "saves/tiny/lora/first", 10, True)
    assert last.metrics == {"loss": 3.0, "eval_loss": 1.5}
    paths = list(found)
    assert paths.index("saves/tiny/lora/first") + 1 == paths.index("saves/tiny/lora/first/checkpoint-10")


def test_a_reward_model_is_told_apart_from_what_writes(runs: Workspace, client: TestClient) -> None:
    judge = runs.saves / "tiny" / "lora" / "judge"
    write(judge / "adapter_config.json", {"base_model_name_or_path": "models/tiny", "task_type": "SEQ_CLS"})
    write(runs.models / "judge" / "config.json", {"architectures": ["Qwen2ForSequenceClassification"]})
    heads = {model.path: model.head for model in listed(runs)}
    assert {path for path, head in heads.items() if head == "score"} == {"saves/tiny/lora/judge", "models/judge"}
    told = client.get("/api/models/about", params={"path": "saves/tiny/lora/judge"}).json()
    assert (told["head"], told["sentence"]) == ("score", "reward model, adapter of models/tiny")
    assert client.get("/api/models/about", params={"path": "models/tiny"}).json()["head"] == "tokens"


@pytest.mark.parametrize(
    ("path", "kind", "name", "ok"),
    [
        ("saves/tiny/lora/first", "adapter", "tiny", True),
        ("merged", "export", "merged", True),
        ("Qwen/Qwen3-0.6B", "hub", "Qwen3-0.6B", True),
        ("models/none", "missing", "", False),
        ("data", "other", "", False),
        ("", "", "", False),
    ],
)
def test_a_path_is_explained(runs: Workspace, path: str, kind: str, name: str, ok: bool) -> None:
    told = about(path, runs)
    assert (told["kind"], told["name"], told["ok"]) == (kind, name, ok)


def test_a_checkpoint_is_explained_with_its_step(runs: Workspace) -> None:
    assert about("saves/tiny/lora/first/checkpoint-10", runs)["step"] == 10


def test_a_path_outside_the_roots_is_not_looked_at(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(workspace.root))
    told = client.get("/api/models/about", params={"path": "/etc"}).json()
    assert not told["ok"]
    assert "leads outside" in told["sentence"]


def test_a_damaged_config_is_no_end_of_the_list(client: TestClient, runs: Workspace) -> None:
    (runs.saves / "tiny" / "lora" / "first" / "adapter_config.json").write_text("{")
    assert len(client.get("/api/models").json()) == 7


# -- forms


def kept(client: TestClient, name: str, **form: Any) -> Any:
    return client.put(f"/api/forms/{name}", json={"schema": 1, **form})


def test_a_form_is_kept_listed_read_and_deleted(client: TestClient) -> None:
    assert kept(client, "mein 表单", values={"learning_rate": "1e-"}, model_name="m").status_code == 200
    assert [form["name"] for form in client.get("/api/forms").json()] == ["mein 表单"]
    told = client.get("/api/forms/mein 表单").json()
    assert told["form"]["values"] == {"learning_rate": "1e-"}
    assert told["notes"] == []
    assert client.delete("/api/forms/mein 表单").status_code == 200
    assert client.get("/api/forms").json() == []
    assert client.get("/api/forms/mein 表单").status_code == 422


def test_keys_of_another_version_are_told_and_left_out(client: TestClient) -> None:
    kept(client, "old", values={"seed": 7, "gone": 1})
    told = client.get("/api/forms/old").json()
    assert told["form"]["values"] == {"seed": 7}
    assert told["notes"] == ["old holds gone, which this studio does not know: left out."]


def test_a_form_of_a_newer_studio_is_refused(client: TestClient, workspace: Workspace) -> None:
    write(workspace.root / ".studio" / "forms" / "new.json", {"schema": 99, "values": {}})
    answer = client.get("/api/forms/new")
    assert answer.status_code == 422
    assert "newer studio" in answer.json()["error"]


@pytest.mark.parametrize("name", ["..", ".x", "a%5Cb", "%2e%2e%2fx", "-x"])
def test_names_that_lead_elsewhere_are_refused(client: TestClient, name: str, workspace: Workspace) -> None:
    assert kept(client, name).status_code in (404, 405, 422)
    assert not (workspace.root / ".studio" / "x.json").exists()


# -- recipe


def test_the_recipe_route_answers_with_everything_the_page_shows(client: TestClient) -> None:
    body = {"values": {"model_name_or_path": "models/tiny", "dataset": ["tiny_sft"]}, "run_name": "first"}
    told = client.post("/api/recipe", json=body).json()
    assert told["ok"]
    assert told["argv"][0] == "train"
    assert {"shell", "lines", "yaml", "python", "output_dir", "complaints", "notes", "by_field"} <= told.keys()
    assert client.post("/api/recipe", json={"wrong": 1}).status_code == 422


@pytest.mark.parametrize("verb", ["train", "export", "chat", "api"])
def test_each_verb_has_a_form(client: TestClient, verb: str) -> None:
    arguments = client.get("/api/form", params={"verb": verb}).json()["arguments"]
    assert "model_name_or_path" in {each["name"] for each in arguments}
    assert all(each["help"] for each in arguments)


def test_there_is_no_form_of_another_verb(client: TestClient) -> None:
    assert client.get("/api/form", params={"verb": "doctor"}).status_code == 422
