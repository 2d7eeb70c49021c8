"""What the Datasets tab is told: the list, rows, numbers. No torch, nothing outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from studio.data.inspect import preview
from studio.data.statistics import Question, statistics
from studio.web.datasets_rows import entry_for, lens_of
from studio.web.site import Site
from studio.workspace import Workspace
from tests.unit.web.datasets_page import MODEL, api, site

__all__ = ["api", "site"]


def register(workspace: Workspace, **entries: Any) -> None:
    found = json.loads(workspace.dataset_info.read_text())
    workspace.dataset_info.write_text(json.dumps(found | entries, indent=2))


def by_name(api: TestClient) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in api.get("/datasets").json()["datasets"]}


def rows(api: TestClient, status: int = 200, **asked: Any) -> dict[str, Any]:
    answer = api.post("/datasets/rows", json=asked)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


# The list


def test_the_list_says_kind_size_health_and_stages_with_reasons(api: TestClient, workspace: Workspace) -> None:
    (workspace.data / "pairs.jsonl").write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    register(
        workspace,
        pairs={"file_name": "pairs.jsonl", "formatting": "pairs"},
        gone={"file_name": "tiny_sft.jsom"},
        wrong={"file_name": "tiny_sft.json", "formating": "alpaca"},
        remote={"hf_hub_url": "a/b"},
    )
    found = by_name(api)
    rewarded = {"ppo", "grpo", "rloo"}
    assert set(found["tiny_sft"]["stages"]) == {"pt", "sft"} | rewarded
    assert found["tiny_sft"]["size_bytes"] == (workspace.data / "tiny_sft.json").stat().st_size
    assert set(found["tiny_pt"]["stages"]) == {"pt"} | rewarded
    assert "sft needs conversations" in found["tiny_pt"]["why_not"]["sft"]
    assert (found["pairs"]["kind"], set(found["pairs"]["stages"])) == ("pairs", {"rm", "dpo", "kto"} | rewarded)
    assert found["gone"]["health"] == "missing"
    assert "tiny_sft.json?" in found["gone"]["complaint"]
    assert found["wrong"]["health"] == "broken"
    assert "formating" in found["wrong"]["complaint"]
    assert (found["remote"]["hub"], found["remote"]["file"]) == (True, "a/b")
    assert workspace.dataset_info.read_text().splitlines()[found["gone"]["line"] - 1].strip().startswith('"gone"')


def test_a_folder_of_shards_has_the_rows_of_its_index_and_is_held_against_it(
    api: TestClient, workspace: Workspace
) -> None:
    folder = workspace.data / "pieces"
    folder.mkdir()
    shards = [[f"{number}.jsonl.zst", 10, 4, 400, "0" * 64, "0" * 8] for number in range(3)]
    facts = {"rows": 30, "packed": 12, "unpacked": 1200, "shuffled": None, "entry": {}, "columns": ["text"]}
    (folder / "index.json").write_text(json.dumps({"studio_shards": 2, **facts, "sources": [], "shards": shards}))
    for name, *_ in shards:
        (folder / name).write_bytes(b"1234")
    register(workspace, pieces={"file_name": "pieces", "columns": {"prompt": "text"}})
    found = by_name(api)["pieces"]
    assert (found["health"], found["rows"], found["size_bytes"]) == ("ok", 30, 12)
    (folder / "1.jsonl.zst").write_bytes(b"123")
    found = by_name(api)["pieces"]
    assert found["health"] == "broken" and "1.jsonl.zst" in found["complaint"] and "4 bytes" in found["complaint"]
    (folder / "1.jsonl.zst").unlink()
    assert "there is no such file" in by_name(api)["pieces"]["complaint"]


def test_an_unchanged_list_is_told_in_short(api: TestClient, workspace: Workspace) -> None:
    version = api.get("/datasets").json()["version"]
    assert api.get("/datasets", params={"known": version}).json() == {"version": version, "same": True}
    register(workspace, more={"file_name": "tiny_sft.json"})
    assert "datasets" in api.get("/datasets", params={"known": version}).json()


def test_a_broken_registry_is_told_with_its_place_and_the_last_good_list_stays(
    api: TestClient, workspace: Workspace
) -> None:
    assert len(by_name(api)) == 3
    workspace.dataset_info.write_text(workspace.dataset_info.read_text()[:60])
    found = api.get("/datasets").json()
    assert len(found["datasets"]) == 3
    assert found["broken"][0]["line"] > 1
    assert rows(api, dataset="tiny_sft")["rows"]


def test_thousands_of_entries_are_listed_in_a_moment(api: TestClient, workspace: Workspace) -> None:
    register(workspace, **{f"set{number}": {"file_name": f"{number}.jsonl"} for number in range(2_000)})
    answer = api.get("/datasets")
    assert len(answer.json()["datasets"]) == 2_003
    assert answer.elapsed.total_seconds() < 5


# Rows


def test_tokens_are_exactly_those_of_training(api: TestClient, site: Site) -> None:
    values = {**MODEL, "cutoff_len": 60, "stage": "sft"}
    page = rows(api, dataset="tiny_share", start=3, count=4, values=values)
    lens = lens_of(values, site.workspace)
    entry = entry_for(site, "tiny_share", "")
    views = preview(entry, lens.tokenizer, lens.template, lens.view, site.workspace, 2, 4)
    for row, view in zip(page["rows"], views, strict=True):
        for shown, each in zip(row["renderings"], view.renderings, strict=True):
            assert [one for _, _, ids in shown["tokens"] for one in ids] == each.input_ids
            assert [bool(mark) for _, mark, ids in shown["tokens"] for _ in ids] == each.loss_mask
            assert (shown["count"], shown["truncated"]) == (len(each.input_ids), each.truncated)
    assert page["total"] == 20
    assert any(shown["truncated"] for row in page["rows"] for shown in row["renderings"])


def test_without_a_model_rows_and_conversations_are_shown(api: TestClient) -> None:
    page = rows(api, dataset="tiny_sft", count=2)
    assert page["hint"] == "no_model"
    assert [message["role"] for message in page["rows"][0]["messages"]] == ["user", "assistant"]
    assert page["rows"][0]["raw"][0]["name"] == "instruction"
    assert page["rows"][0]["renderings"] == []


def test_a_model_that_is_not_here_leaves_a_hint(api: TestClient) -> None:
    page = rows(api, dataset="tiny_sft", values={"model_name_or_path": "someone/far-away"})
    assert "someone/far-away" in page["hint"]
    assert page["rows"]


def test_nothing_hidden_is_left_in_what_is_shown(api: TestClient, workspace: Workspace) -> None:
    row = {"instruction": "<script>alert(1)</script>\x1b]0;x\u202e\u200b", "output": "[x](javascript:1)\u2028"}
    (workspace.data / "odd.jsonl").write_text(json.dumps(row) + "\n")
    page = rows(api, path="data/odd.jsonl", values=MODEL)
    cell = page["rows"][0]["raw"][0]["text"]
    assert cell == "<script>alert(1)</script>\\x1b]0;x\\u202e\\u200b"
    everything = json.dumps(page, ensure_ascii=False)
    assert not any(mark in everything for mark in "\x1b\u202e\u200b\u2028")


def test_long_cells_are_folded_and_given_whole_when_asked(api: TestClient, workspace: Workspace) -> None:
    (workspace.data / "long.jsonl").write_text(json.dumps({"instruction": "x" * 9_000, "output": "y"}) + "\n")
    cell = rows(api, path="data/long.jsonl")["rows"][0]["raw"][0]
    assert (len(cell["text"]), cell["length"], cell["folded"]) == (2_000, 9_000, True)
    cell = rows(api, path="data/long.jsonl", whole=True)["rows"][0]["raw"][0]
    assert (len(cell["text"]), cell["folded"]) == (9_000, False)


def test_refused_rows_stand_among_the_others_with_their_reason(api: TestClient, workspace: Workspace) -> None:
    lines = ['{"instruction": "a", "output": "b"}', '{"instruction": "a"', '{"instruction": "c", "output": "d"}']
    (workspace.data / "some.jsonl").write_text("\n".join(lines))
    register(workspace, some={"file_name": "some.jsonl"})
    found = rows(api, dataset="some", values=MODEL)["rows"]
    assert [bool(row["refused"]) for row in found] == [False, True, False]
    assert found[2]["row"] == 3


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x.jsonl", "data/../../x", "saves/x.jsonl", ".studio/token", "data/.hidden.jsonl", "a\0b"],
)
def test_only_files_of_data_are_read(api: TestClient, path: str) -> None:
    for answer in (
        api.post("/datasets/rows", json={"path": path}),
        api.post("/datasets/look", json={"path": path}),
        api.post("/datasets/add", json={"path": path, "name": "x"}),
    ):
        assert answer.status_code == 422, answer.text


def test_a_link_in_data_that_leads_outside_is_refused(api: TestClient, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text('{"instruction": "a", "output": "secret"}\n')
    (workspace.data / "deep").mkdir()
    (workspace.data / "deep" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    register(workspace, link={"file_name": "deep/link.jsonl"})
    assert "secret" not in api.post("/datasets/rows", json={"path": "data/deep/link.jsonl"}).text.replace("secret.", "")
    assert by_name(api)["link"]["health"] == "missing"
    assert "outside" in rows(api, 422, dataset="link")["error"]


def test_wrong_values_are_told(api: TestClient) -> None:
    assert "cutoff_len" in rows(api, 422, dataset="tiny_sft", values={"cutoff_len": 1})["error"]
    assert "no dataset is named" in rows(api, 422, dataset="tiny_stf")["error"]


# Numbers


def test_numbers_are_counted_by_a_job_and_found_again(api: TestClient, site: Site) -> None:
    asked = {"dataset": "tiny_sft", "values": {**MODEL, "cutoff_len": 30}}
    assert api.post("/datasets/statistics", json=asked).json()["job"] is None
    job = api.post("/datasets/statistics", json={**asked, "begin": True}).json()["job"]
    assert job["state"] == "queued"
    assert api.post("/datasets/statistics", json={**asked, "begin": True}).json()["job"]["id"] == job["id"]
    words = site.store.get(job["id"]).argv
    assert words[:3] == ("data", "statistics", "tiny_sft")
    environment = {**os.environ, "STUDIO_WORKSPACE": str(site.workspace.root)}
    subprocess.run([sys.executable, "-m", "studio", *words], env=environment, check=True, capture_output=True)
    found = api.post("/datasets/statistics", json=asked).json()
    assert found["result"]["cutoff_len"] == 30
    assert found["result"]["tokens"]["truncated"] > 0
    assert api.post("/datasets/statistics", json={**asked, "values": MODEL}).json()["result"] is None


def test_what_the_terminal_counted_the_page_knows(api: TestClient, site: Site) -> None:
    lens = lens_of(MODEL, site.workspace)
    statistics(Question(entry_for(site, "tiny_sft", ""), lens.view, lens.tokenizer, lens.template), site.workspace)
    assert (
        api.post("/datasets/statistics", json={"dataset": "tiny_sft", "values": MODEL}).json()["result"]["rows"] == 40
    )


def test_nothing_of_it_imports_torch_or_transformers(workspace: Workspace) -> None:
    program = """
import sys
from fastapi.testclient import TestClient
from fastapi import FastAPI
from studio.jobs.store import Store
from studio.web.api import datasets
from studio.web.site import Site
from studio.workspace import Workspace
place = Workspace.find(sys.argv[1])
site = Site(place, Store(place.root / "db"), "x")
app = FastAPI()
app.include_router(datasets.routes(site))
api = TestClient(app)
values = {"model_name_or_path": "models/tiny-chat"}
for path, body in (("rows", {"dataset": "tiny_sft", "values": values}), ("look", {"path": "data/tiny_pt.jsonl"}),
                   ("statistics", {"dataset": "tiny_sft", "values": values})):
    assert api.post("/datasets/" + path, json=body).status_code == 200
assert api.get("/datasets").status_code == 200
print([name for name in ("torch", "transformers", "pandas", "datasets") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(workspace.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_numbers_are_counted_inside_the_folders_of_the_page_and_once(api: TestClient, site: Site) -> None:
    asked = {"dataset": "tiny_sft", "values": {}, "begin": True}
    with ThreadPoolExecutor(8) as many:
        told = list(many.map(lambda _: api.post("/datasets/statistics", json=asked).json(), range(8)))
    (job,) = site.store.jobs(kinds=("data",))
    assert {each["job"]["id"] for each in told} == {job.id}
    assert job.environment["STUDIO_ROOTS"] == str(site.workspace.root)
