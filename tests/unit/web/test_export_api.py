"""What the Export tab is told before, while and after an export; no weight is opened and no torch imported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.numpy import save_file

from studio.command import read_set
from studio.errors import ArgumentError, StudioError, WorkspaceError
from studio.jobs.store import Store, folder_of
from studio.model.weights import tensors
from studio.recipe import ExportSet
from studio.web.api import export
from studio.web.exporting import in_models
from studio.web.site import Site
from studio.workspace import Workspace

RUN = "saves/tiny/lora/first"


@pytest.fixture
def site(workspace: Workspace) -> Site:
    adapter(workspace, RUN)
    return Site(workspace, Store(workspace.root / ".studio" / "studio.db"), "token")


@pytest.fixture
def client(site: Site) -> TestClient:
    app = FastAPI()
    app.include_router(export.routes(site), prefix="/api")
    return TestClient(app)


def adapter(place: Workspace, name: str, **config: Any) -> Path:
    """A LoRA on models/tiny, as peft writes one."""
    folder = place.root / name
    folder.mkdir(parents=True)
    settings = {"peft_type": "LORA", "base_model_name_or_path": "models/tiny", "r": 1, "lora_alpha": 1,
                "target_modules": ["q_proj"], **config}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    halves = {"A": np.ones((1, 32), "float32"), "B": np.ones((32, 1), "float32")}
    named = {f"{stem}.lora_{half}.weight": values for half, values in halves.items()}
    save_file(named, str(folder / "adapter_model.safetensors"))
    return folder


def preview(client: TestClient, **values: Any) -> dict[str, Any]:
    answer = client.post("/api/export/preview", json={"values": values})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_bare_name_becomes_a_folder_of_models_and_is_shown_in_full(client: TestClient, site: Site) -> None:
    told = preview(client, model_name_or_path=RUN, export_dir="first")
    assert told["target"] == "models/first"
    assert told["full"] == str(site.workspace.root / "models" / "first")
    assert told["ok"]
    assert (in_models("a/b"), in_models("/x"), in_models("~x"), in_models("")) == ("a/b", "/x", "~x", "")


def test_the_command_says_what_the_form_says(client: TestClient) -> None:
    values = {"model_name_or_path": RUN, "export_dir": "has space", "infer_dtype": "float32", "export_size": "0.5"}
    told = preview(client, **values)
    asked, _ = read_set(ExportSet, told["argv"][1:])
    assert asked.changes() == {
        "model_name_or_path": RUN, "export_dir": "models/has space", "infer_dtype": "float32", "export_size": 0.5,
    }  # fmt: skip
    assert "'models/has space'" in told["shell"]
    assert "infer_dtype: float32" in told["yaml"]


@pytest.mark.parametrize(("dtype", "share"), [("auto", 1.0), ("bfloat16", 0.5), ("float16", 0.5)])
def test_sizes_are_told_from_the_headers(client: TestClient, site: Site, dtype: str, share: float) -> None:
    whole = sum(tensor.nbytes for tensor in tensors(site.workspace.models / "tiny").values())
    told = preview(client, model_name_or_path=RUN, export_dir="x", infer_dtype=dtype, export_size=whole * share / 3e9)
    cost = told["cost"]
    assert cost["bytes"] == whole * share
    assert cost["needed"] > cost["bytes"]
    assert told["free"] > 0
    assert cost["files"] >= 3
    assert (cost["base"], cost["adapters"]) == ("models/tiny", [RUN])


def test_a_target_that_stands_is_told_before_the_start(client: TestClient) -> None:
    values = {"model_name_or_path": RUN, "export_dir": "tiny-chat"}
    told = preview(client, **values)
    assert not told["ok"]
    assert "exists already" in told["by_field"]["export_dir"]
    moved = preview(client, **values, overwrite_export_dir=True)
    assert moved["ok"]
    assert moved["aside"].startswith("tiny-chat.old-")
    with pytest.raises(ArgumentError, match="exists already"):
        client.post("/api/export", json={"values": values})


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"export_size": 0}, "export_size", "above 0"),
        ({"export_dir": "models/tiny/inner"}, "export_dir", "within each other"),
        ({"model_name_or_path": "models/absent"}, "model_name_or_path", "no model folder"),
        ({"quantization_bit": 4}, "quantization_bit", "full precision"),
        ({"trust_remote_code": True}, "trust_remote_code", "started without it"),
        ({"infer_dtype": "int3"}, "infer_dtype", "one of"),
        ({"adapter_name_or_path": ["models/tiny-chat"]}, "model_name_or_path", "adapter_config.json"),
    ],
)
def test_what_cannot_be_is_told_at_its_field(client: TestClient, values: dict[str, Any], field: str, says: str) -> None:
    told = preview(client, **{"model_name_or_path": RUN, "export_dir": "x", **values})
    assert not told["ok"]
    assert says in told["by_field"][field]


def test_all_complaints_come_at_once(client: TestClient) -> None:
    told = preview(client, export_size=-1, infer_dtype="int3", no_such=1)
    assert len(told["complaints"]) == 3


def test_a_full_disk_is_told_with_numbers(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1_000_000))  # type: ignore[attr-defined]
    told = preview(client, model_name_or_path=RUN, export_dir="x")
    assert "has 0.00 GB free" in told["by_field"]["export_dir"]


def test_no_path_leads_out_of_the_roots(client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(site.workspace.root))
    for values in ({"export_dir": "/etc/x"}, {"model_name_or_path": "../../etc"}, {"adapter_name_or_path": ["/root"]}):
        told = preview(client, **{"model_name_or_path": RUN, "export_dir": "x", **values})
        assert "leads outside" in " ".join(told["complaints"])
    outside = site.workspace.root.parent / "outside"
    outside.mkdir()
    adapter(site.workspace, "saves/tiny/lora/lying", base_model_name_or_path=str(outside))
    told = preview(client, model_name_or_path="saves/tiny/lora/lying", export_dir="x")
    assert "leads outside" in " ".join(told["complaints"])


def test_pickled_weights_are_offered_for_conversion(client: TestClient, site: Site) -> None:
    folder = site.workspace.models / "old"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x" * 1000)
    told = preview(client, model_name_or_path="models/old", export_dir="new")
    assert told["convertible"]
    assert not told["ok"]
    told = preview(client, model_name_or_path="models/old", export_dir="new", convert_pickle=True)
    assert told["ok"]
    assert told["cost"]["bytes"] == 1000


def test_a_model_on_a_hub_is_not_asked_for(client: TestClient) -> None:
    told = preview(client, model_name_or_path="somebody/something", export_dir="x")
    assert told["ok"]
    assert told["cost"] is None


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (RUN, "tiny-first"),
        (f"{RUN}/checkpoint-8", "tiny-first-checkpoint-8"),
        ("models/tiny", "tiny-export"),
        ("", ""),
        ("saves/tiny/lora/taken", "tiny-taken-2"),
    ],
)
def test_a_free_name_is_suggested(client: TestClient, site: Site, model: str, name: str) -> None:
    (site.workspace.models / "tiny-taken").mkdir()
    assert preview(client, model_name_or_path=model)["suggestion"] == name


def test_a_start_is_one_job_however_often_it_is_clicked(client: TestClient, site: Site) -> None:
    body = {"values": {"model_name_or_path": RUN, "export_dir": "first"}, "request": "one"}
    first, second = (client.post("/api/export", json=body).json() for _ in range(2))
    assert first["id"] == second["id"]
    job = site.store.get(first["id"])
    assert (job.kind, job.output) == ("export", str(site.workspace.models / "first"))
    assert job.environment["STUDIO_ROOTS"]
    with pytest.raises(WorkspaceError):
        client.post("/api/export", json={**body, "request": "two"})


def test_progress_and_result_are_read_from_the_folder_of_the_job(client: TestClient, site: Site) -> None:
    body = {"values": {"model_name_or_path": RUN, "export_dir": "first"}, "request": "one"}
    number = client.post("/api/export", json=body).json()["id"]
    folder = folder_of(site.workspace, number)
    (folder / "progress.jsonl").write_text('{"done": 1, "total": 4, "text": "merging"}\n{"done": 2, "to')
    (folder / "result.json").write_text('{"target": "models/first"}')
    told = client.get(f"/api/export/{number}").json()
    assert told["progress"]["done"] == 1
    assert told["result"] is None, "it has not ended well yet"
    assert [job["id"] for job in client.get("/api/export").json()] == [number]
    other = site.store.submit("data", ["data", "list"])
    with pytest.raises(StudioError, match="no export"):
        client.get(f"/api/export/{other.id}")


def test_an_unknown_key_is_refused(client: TestClient) -> None:
    assert client.post("/api/export/preview", json={"value": {}}).status_code == 422


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, studio.web.api.export; print([n for n in ('torch', 'transformers', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
