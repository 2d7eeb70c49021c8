"""What the page is told of works: previews, what is refused, starts, results; kept evaluations of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from studio.errors import ArgumentError, StudioError
from studio.evaluate.intervals import Measure
from studio.evaluate.kept import Result, keep
from studio.jobs.store import Store, folder_of
from studio.web.api import evaluations, jobs, works
from studio.web.site import Site
from studio.web.trust import refuse_trust
from studio.works.base import WORKS
from studio.workspace import Workspace, write_json

CLEAN = {"dataset": ["tiny_pt"], "output_dir": "data/tidy"}
CHOICE = {"model_name_or_path": "models/tiny", "task_dir": "data/exam.jsonl"}


@pytest.fixture
def site(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Site:
    row = {"question": "Which?", "A": "a", "B": "b", "answer": "A"}
    (workspace.data / "exam.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setenv("STUDIO_ROOTS", str(workspace.root))
    return Site(workspace, Store(workspace.root / ".studio" / "studio.db"), "token")


@pytest.fixture
def client(site: Site) -> TestClient:
    app = FastAPI()
    for subject in (works, jobs, evaluations):
        app.include_router(subject.routes(site), prefix="/api")
    return TestClient(app)


def preview(client: TestClient, work: str, **values: Any) -> dict[str, Any]:
    answer = client.post(f"/api/works/{work}/preview", json={"values": values})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_preview_says_the_command_the_target_and_what_it_knows(client: TestClient) -> None:
    told = preview(client, "clean", **CLEAN, min_length="4")
    assert told["ok"] and told["target"] == "data/tidy"
    assert told["argv"] == ["data", "clean", "--dataset", "tiny_pt", "--output_dir", "data/tidy", "--min_length", "4"]
    assert "min_length: 4" in told["yaml"] and "studio data clean" in told["shell"]
    assert told["facts"]["sources"][0]["name"] == "tiny_pt"


def test_every_work_previews_an_empty_form_with_complaints(client: TestClient) -> None:
    for each in client.get("/api/works").json():
        told = preview(client, each["name"])
        assert not told["ok"] and told["complaints"], each["name"]
        assert told["by_field"], each["name"]


def test_an_unknown_work_and_an_unknown_argument_are_told(client: TestClient) -> None:
    with pytest.raises(StudioError, match="cleen"):
        client.post("/api/works/cleen/preview", json={"values": {}})
    assert "min_lenght" in preview(client, "clean", **CLEAN, min_lenght=3)["complaints"][0]
    assert client.post("/api/works/clean/preview", json={"values": {}, "more": 1}).status_code == 422


@pytest.mark.parametrize(
    ("work", "values"),
    [
        ("clean", {**CLEAN, "output_dir": "../elsewhere"}),
        ("clean", {**CLEAN, "output_dir": "/etc/studio"}),
        ("clean", {"train_file": ["/etc/passwd"], "output_dir": "data/tidy"}),
        ("shard", {"train_file": ["../../secret.jsonl"], "output_dir": "data/x"}),
        ("tokenizer-extend", {"model_name_or_path": "/root", "add_tokens": ["a"], "output_dir": "models/x"}),
        (
            "tokenizer-extend",
            {"model_name_or_path": "models/tiny", "special_tokens_map": "/etc/x", "output_dir": "models/x"},
        ),
        ("clean", {**CLEAN, "held_out": ["tiny_pt", "/etc/passwd"]}),
        ("eval_choice", {**CHOICE, "task_dir": "/etc"}),
        ("eval_choice", {**CHOICE, "export": ["../result.csv"]}),
    ],
)
def test_a_path_outside_the_workspace_is_refused(client: TestClient, work: str, values: dict[str, Any]) -> None:
    told = preview(client, work, **values)
    assert not told["ok"]
    assert "outside the folders" in told["complaints"][0]


def test_what_the_studio_keeps_for_itself_is_no_target(client: TestClient) -> None:
    told = preview(client, "clean", **{**CLEAN, "output_dir": ".studio/tidy"})
    assert "keeps its own things" in told["complaints"][0]


def test_code_of_a_model_runs_only_where_the_studio_allows_it(client: TestClient, site: Site) -> None:
    told = preview(client, "eval_choice", **CHOICE, trust_remote_code=True)
    assert not told["ok"] and "--trust_remote_code" in told["complaints"][0]
    assert preview(client, "eval_choice", **CHOICE)["ok"]
    harness = {"model_name_or_path": "models/tiny", "tasks": ["humaneval"]}
    for name, value in {"allow_code_execution": True, "include_path": "data"}.items():
        told = preview(client, "eval_harness", **harness, **{"allow_code_execution": True, name: value})
        named = [each.split(":")[0] for each in told["complaints"]]
        assert not told["ok"] and f"--{name}" in named and len(named) == len(set(named))
    # Nor is a job begun again that was made when it was allowed.
    with pytest.raises(ArgumentError, match="runs no code of models"):
        refuse_trust(site, ["eval", "choice", "--model_name_or_path", "models/tiny", "--trust_remote_code", "True"])
    refuse_trust(site, ["eval", "choice", "--model_name_or_path", "models/tiny"])


def test_the_same_request_twice_is_one_job(client: TestClient) -> None:
    first = client.post("/api/works/clean", json={"values": CLEAN, "request": "r1"}).json()
    again = client.post("/api/works/clean", json={"values": CLEAN, "request": "r1"}).json()
    other = client.post("/api/works/shard", json={"values": {**CLEAN, "output_dir": "data/s"}, "request": "r2"}).json()
    assert first["id"] == again["id"] != other["id"]
    assert [job["id"] for job in client.get("/api/works/clean/jobs").json()] == [first["id"]]
    assert first["title"] == "clean: data/tidy" and first["active"]


def test_a_start_of_a_form_that_is_wrong_starts_nothing(client: TestClient, site: Site) -> None:
    with pytest.raises(ArgumentError, match="output_dir"):
        client.post("/api/works/clean", json={"values": {"dataset": ["tiny_pt"]}})
    assert site.store.jobs(limit=5) == []


def test_news_of_a_job_have_its_progress_and_then_its_result(client: TestClient, site: Site) -> None:
    job = client.post("/api/works/clean", json={"values": CLEAN, "request": "r"}).json()
    folder = folder_of(site.workspace, job["id"])
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        '{"done": 1, "total": 4, "text": "reading"}',
        '{"done": 2, "total": 4, "text": "reading"}',
        '{"done": 3, "tot',
    ]
    (folder / "progress.jsonl").write_text("\n".join(lines))
    write_json(folder / "result.json", {"rows": 3})
    news = client.get(f"/api/works/jobs/{job['id']}").json()
    # A line that is half written is none, and a result counts when the job has ended well.
    assert news["progress"] == {"done": 2, "total": 4, "text": "reading"}
    assert news["result"] is None and news["work"] == "clean"


def test_a_job_that_is_no_work_is_told(client: TestClient, site: Site) -> None:
    job = site.store.submit("train", ["train", "--stage", "sft"], title="t", output="saves/x")
    with pytest.raises(StudioError, match="none of these works"):
        client.get(f"/api/works/jobs/{job.id}")


def result(model: str, value: float, *, base: bool = False, step: int | None = None) -> Result:
    measure = Measure(value, value - 0.1, value + 0.1, 4)
    rows = [{"question": "Which?", "right": base}]
    return Result(
        "choice", "choice", model, base, step, {"accuracy": measure}, rows=rows, values={"accuracy": [1.0, 0.0]}
    )


@pytest.fixture
def run(site: Site) -> Path:
    """A run with two evaluations, beside a broken file and a link that leads away."""
    folder = site.workspace.saves / "tiny" / "lora" / "first"
    folder.mkdir(parents=True)
    for step in (10, 20):
        found = [
            result("models/tiny", 0.25, base=True),
            result(f"saves/tiny/lora/first/checkpoint-{step}", 0.5, step=step),
        ]
        keep(found, {found[1].model: {"all": {"accuracy": Measure(0.25, -0.1, 0.6, 4)}}}, folder, site.workspace)
    (folder / "eval" / "99999999-broken.json").write_text('{"schema": 1, "res')
    secret = site.workspace.root / "secret.json"
    secret.write_text('{"schema": 1, "results": [], "differences": {}, "secret": true}')
    (folder / "eval" / "99999998-link.json").symlink_to(secret)
    site.store.submit("train", ["train"], title="first", output=str(folder))
    return folder


def test_the_evaluations_of_a_run_are_listed_without_their_rows(client: TestClient, run: Path) -> None:
    listed = client.get("/api/jobs/1/evaluations").json()["evaluations"]
    assert [each["file"].endswith("choice.json") or "choice-2" in each["file"] for each in listed] == [
        True,
        True,
        False,
    ]
    first = listed[0]
    assert [each["base"] for each in first["results"]] == [True, False]
    assert first["results"][1]["measures"]["accuracy"]["value"] == 0.5
    assert first["results"][1]["rows"] == 1 and "values" not in first["results"][1]
    assert "cannot be read" in listed[-1]["error"]
    assert "secret" not in json.dumps(listed)


def test_one_evaluation_has_its_rows_and_no_other_file_is_given(client: TestClient, run: Path) -> None:
    name = client.get("/api/jobs/1/evaluations").json()["evaluations"][0]["file"]
    kept = client.get(f"/api/jobs/1/evaluations/{name}").json()
    assert kept["results"][0]["rows"] == [{"question": "Which?", "right": True}]
    (run / "run.json").write_text("{}")
    for other in ("99999998-link.json", "..%2Frun.json", "%2e%2e/run.json", "none.json", ".json"):
        assert client.get(f"/api/jobs/1/evaluations/{other}").status_code == 404, other


def test_evaluations_of_no_run_are_listed_newest_first_and_given_whole(client: TestClient, site: Site) -> None:
    place = site.workspace
    assert client.get("/api/evaluations").json() == {"evaluations": [], "older": 0}
    for model in ("models/tiny", "models/other"):
        path = keep([result(model, 0.25)], {}, None, place)
        path.rename(path.with_name(f"2026010{2 if 'other' in model else 1}-000000-choice.json"))
    (place.root / "evaluations" / "tiny" / "20250101-broken.json").write_text("{")
    (place.root / "evaluations" / "away").symlink_to(place.data)
    found = client.get("/api/evaluations").json()["evaluations"]
    assert [each["folder"] for each in found] == ["other", "tiny", "tiny"]
    assert "cannot be read" in found[-1]["error"] and "values" not in found[0]["results"][0]
    path = f"/api/evaluations/other/{found[0]['file']}"
    assert client.get(path).json()["results"][0]["rows"] == [{"question": "Which?", "right": False}]
    table = client.get(f"{path}/csv")
    assert table.headers["content-disposition"] == "attachment"
    assert "models/other,False,,choice,all,accuracy,0.25" in table.text
    (place.root / "rows.json").write_text('{"schema": 1, "results": [], "differences": {}}')
    for folder, file in (("..", "rows.json"), ("%2e%2e", "rows.json"), ("away", "raw.json"), ("tiny", "none.json")):
        assert client.get(f"/api/evaluations/{folder}/{file}").status_code == 404, folder


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1e999, "results": []}',
        "[" * 100_000,
        '{"schema": 1, "results": [], "differences": {}}',
        '{"schema": 1, "time": "x", "results": [3], "differences": {}}',
        '{"schema": 1, "time": "x", "results": [{"rows": 3}], "differences": {}}',
        '{"schema": 1, "time": "x", "results": [], "differences": {"m": 1}}',
        '{"schema": 1, "time": "x", "results": [], "differences": {}, "settings": 1e999}',
        '{"schema": NaN}',
    ],
)
def test_a_file_that_is_no_evaluation_spoils_the_list_of_none(client: TestClient, site: Site, text: str) -> None:
    path = keep([result("models/tiny", 0.25)], {}, None, site.workspace)
    path.with_name("99999999-odd.json").write_text(text)
    odd, good = client.get("/api/evaluations").json()["evaluations"]
    assert "cannot be read" in odd["error"] and good["file"] == path.name
    with pytest.raises(StudioError, match="cannot be read"):
        client.get("/api/evaluations/tiny/99999999-odd.json")


def test_of_very_many_evaluations_the_newest_are_listed_and_each_can_be_asked_for(
    client: TestClient, site: Site
) -> None:
    path = keep([result("models/tiny", 0.25)], {}, None, site.workspace)
    for number in range(210):
        path.with_name(f"20200101-{number:06}-choice.json").write_bytes(path.read_bytes())
    told = client.get("/api/evaluations").json()
    assert len(told["evaluations"]) == 200 and told["older"] == 11
    assert client.get("/api/evaluations/tiny/20200101-000000-choice.json").status_code == 200


def test_the_shards_of_a_folder_are_listed(client: TestClient, site: Site) -> None:
    folder = site.workspace.data / "pieces"
    folder.mkdir()
    shards = [[f"{number:05}.jsonl.zst", 10, 40, 400, "0" * 64, "0" * 8] for number in range(30)]
    facts = {"rows": 300, "packed": 1200, "unpacked": 12000, "shuffled": None, "entry": {}, "columns": ["text"]}
    write_json(folder / "index.json", {"studio_shards": 2, **facts, "sources": [], "shards": shards})
    told = client.get("/api/works/shards", params={"folder": "data/pieces"}).json()
    assert told["count"] == 30 and len(told["shards"]) == 20
    assert told["shards"][0] == {"name": "00000.jsonl.zst", "rows": 10, "packed": 40, "unpacked": 400}
    with pytest.raises(StudioError, match="no folder of shards"):
        client.get("/api/works/shards", params={"folder": "models/tiny"})
    with pytest.raises(StudioError, match="outside the folders"):
        client.get("/api/works/shards", params={"folder": "/etc"})


def test_a_run_without_evaluations_has_none(client: TestClient, site: Site) -> None:
    site.store.submit("train", ["train"], title="t", output="saves/none")
    assert client.get("/api/jobs/1/evaluations").json() == {"evaluations": []}
    assert client.get("/api/jobs/77/evaluations").status_code == 404


def test_the_page_process_loads_no_torch_for_any_of_this() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import studio.web.api.works, studio.web.api.evaluations, studio.web.evaluations;"
        "from studio.works.base import WORKS; assert len(list(WORKS)) > 5; print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
    assert all(WORKS[name].words for name in WORKS)


def test_what_is_not_there_is_said_at_its_field_before_the_start(client: TestClient, site: Site) -> None:
    (site.workspace.data / "words.json").write_text('{"user": 3}')
    extend = {"model_name_or_path": "models/tiny", "output_dir": "models/more"}
    train = {"output_dir": "models/own"}
    for work, name, values in (
        ("tokenizer-train", "dataset", {**train, "dataset": ["nothing"]}),
        ("tokenizer-train", "train_file", {**train, "train_file": ["data/nothing.jsonl"]}),
        ("tokenizer-inspect", "dataset", {"model_name_or_path": "models/tiny", "dataset": ["nothing"]}),
        ("tokenizer-extend", "sentencepiece_model", {**extend, "sentencepiece_model": "data/words.json"}),
        ("tokenizer-extend", "add_tokens_file", {**extend, "add_tokens_file": "data/nothing.txt"}),
        ("tokenizer-extend", "special_tokens_map", {**extend, "special_tokens_map": "data/words.json"}),
        ("tokenizer-new-model", "tokenizer_name_or_path", {**train, "tokenizer_name_or_path": "data"}),
    ):
        told = preview(client, work, **values)
        assert not told["ok"] and list(told["by_field"]) == [name], (work, told["complaints"])


def test_a_model_that_the_disk_cannot_hold_is_refused_before_the_start(client: TestClient) -> None:
    asked = {"tokenizer_name_or_path": "models/tiny", "output_dir": "models/vast", "hidden_size": 65536}
    told = preview(client, "tokenizer-new-model", **asked, num_attention_heads=512, num_hidden_layers=1000)
    assert not told["ok"] and "GB free" in told["complaints"][0]


def test_a_mix_tells_its_sources_though_its_file_is_there(client: TestClient, site: Site) -> None:
    (site.workspace.data / "mix.yaml").write_text("old")
    told = preview(client, "mix", dataset=["tiny_pt"], mix_file="data/mix.yaml")
    assert not told["ok"] and list(told["by_field"]) == ["mix_file"]
    assert told["facts"]["sources"][0]["name"] == "tiny_pt" and "complaints" not in told["facts"]
