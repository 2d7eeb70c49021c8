"""New datasets through the page, uploads above all, and the registry as a text."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from studio.errors import DatasetError, DiskFullError
from studio.web import datasets_add
from studio.web.datasets_add import WrongEnding, ending_of, receive, safe_name
from studio.workspace import Workspace
from tests.unit.web.datasets_page import api, site

__all__ = ["api", "site"]


# Uploads


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("rows.jsonl", "rows.jsonl"),
        ("../x.json", "x.json"),
        ("..\\..\\x.json", "x.json"),
        ("/etc/cron.d/x.csv", "x.csv"),
        ("数据 集.jsonl", "数据_集.jsonl"),
        ("a b'\";$(rm).JSONL.GZ", "a_b_(rm).JSONL.GZ"),
        ("-rf.jsonl", "rf.jsonl"),
        (".jsonl", "data.jsonl"),
        ("..jsonl", "data.jsonl"),
        ("x\u202etxt.csv", "x_txt.csv"),
        ("cafe\u0301.txt", "caf\u00e9.txt"),
        ("x\n.json", "x.json"),
        ("😀.parquet", "data.parquet"),
    ],
)
def test_an_upload_gets_a_safe_name(asked: str, kept: str) -> None:
    assert safe_name(asked) == kept


@pytest.mark.parametrize("asked", ["x.py", "x", "", "x.json.exe", "x.pkl", "x.parquet.gz", "x.gz", "x.zip", "x.html"])
def test_other_endings_are_refused(asked: str) -> None:
    with pytest.raises(WrongEnding):
        safe_name(asked)


def test_a_name_of_255_bytes_is_shortened_and_keeps_its_ending() -> None:
    name = safe_name("数" * 82 + ".jsonl.zst")
    assert name.endswith(".jsonl.zst")
    assert len(name.encode()) <= 200
    assert ending_of(name) == ".jsonl.zst"


def upload(api: TestClient, name: str, data: bytes) -> Any:
    return api.post("/datasets/upload", content=data, headers={"X-File-Name": name})


def test_an_upload_never_replaces_a_file(api: TestClient, workspace: Workspace) -> None:
    before = (workspace.data / "tiny_sft.json").read_bytes()
    first, second = (upload(api, "tiny_sft.json", b"[1]").json()["path"] for _ in range(2))
    assert (first, second) == ("data/tiny_sft-2.json", "data/tiny_sft-3.json")
    assert (workspace.data / "tiny_sft.json").read_bytes() == before


def test_a_wrong_ending_and_an_empty_file_leave_nothing(api: TestClient, workspace: Workspace) -> None:
    before = sorted(workspace.data.iterdir())
    assert upload(api, "run.sh", b"x").status_code == 415
    assert upload(api, "x.json", b"").status_code == 422
    assert sorted(workspace.data.iterdir()) == before


def test_too_much_is_refused_by_what_is_said_and_by_what_comes(
    api: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets_add, "MOST_BYTES", 1000)
    before = sorted(workspace.data.iterdir())
    assert upload(api, "x.json", b"x" * 1001).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    answer = api.post("/datasets/upload", content=pieces(), headers={"X-File-Name": "x.json"})
    assert answer.status_code == 413
    assert sorted(workspace.data.iterdir()) == before


def test_what_ends_early_leaves_nothing(workspace: Workspace) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"[1,"

    async def broken() -> AsyncIterator[bytes]:
        yield b"[1,"
        raise ConnectionResetError("gone")

    before = sorted(workspace.data.iterdir())
    for body in (cut(), broken()):
        with pytest.raises((DatasetError, OSError, DiskFullError)):
            asyncio.run(receive(workspace, "x.json", 10, body))
    assert sorted(workspace.data.iterdir()) == before


# New entries


def test_a_file_is_recognised_tried_and_registered(api: TestClient, workspace: Workspace) -> None:
    packed = gzip.compress(b'{"question": "q", "answer": "a", "more": 1}\n' * 5)
    path = upload(api, "qa.jsonl.gz", packed).json()["path"]
    assert [each["path"] for each in api.get("/datasets/files").json()] == [path]
    found = api.post("/datasets/look", json={"path": path}).json()
    assert found["entry"]["columns"] == {"prompt": "question", "response": "answer"}
    assert [each["name"] for each in found["columns"]] == ["question", "answer", "more"]
    assert found["name"] == "qa"
    mapping = {"columns": {"prompt": "answer", "response": "question"}}
    tried = api.post("/datasets/try", json={"path": path, "mapping": mapping, "count": 3}).json()
    assert (tried["read"], tried["tried"], len(tried["rows"])) == (5, 5, 3)
    assert tried["rows"][0]["messages"][0]["text"] == "a"
    answer = api.post("/datasets/add", json={"path": path, "name": "qa", "mapping": mapping})
    assert answer.status_code == 200
    assert json.loads(workspace.dataset_info.read_text())["qa"] == {"file_name": "qa.jsonl.gz", **mapping}
    assert api.get("/datasets/files").json() == []
    again = api.post("/datasets/add", json={"path": path, "name": "qa", "mapping": mapping})
    assert "is registered" in again.json()["error"]


def test_another_encoding_is_asked_for_and_written(api: TestClient, workspace: Workspace) -> None:
    (workspace.data / "zh.csv").write_bytes("问题,回答\n你好吗，今天,我很好，谢谢\n".encode("gb18030") * 3)
    found = api.post("/datasets/look", json={"path": "data/zh.csv"}).json()
    assert found["looks_like"] == "gb18030"
    assert found["entry"] is None
    found = api.post("/datasets/look", json={"path": "data/zh.csv", "encoding": "gb18030"}).json()
    assert found["entry"]["columns"] == {"prompt": "问题", "response": "回答"}
    body = {
        "path": "data/zh.csv",
        "encoding": "gb18030",
        "name": "zh",
        "mapping": {"columns": found["entry"]["columns"]},
    }
    assert api.post("/datasets/add", json=body).status_code == 200
    assert json.loads(workspace.dataset_info.read_text())["zh"]["encoding"] == "gb18030"


def test_columns_that_say_nothing_are_listed_for_the_person_to_choose(api: TestClient, workspace: Workspace) -> None:
    (workspace.data / "odd.jsonl").write_text('{"a": "x", "b": "y"}\n' * 3)
    found = api.post("/datasets/look", json={"path": "data/odd.jsonl"}).json()
    assert found["entry"] is None
    assert "columns must say" in found["error"]
    assert [each["name"] for each in found["columns"]] == ["a", "b"]
    tried = api.post("/datasets/try", json={"path": "data/odd.jsonl", "mapping": {"formatting": "openai"}}).json()
    assert tried["read"] == 0
    assert tried["reasons"][0]["count"] == 3


# The registry


def test_two_tabs_that_save_get_each_others_text(api: TestClient) -> None:
    first = api.get("/datasets/registry").json()
    ours = {"text": '{"ours": {"file_name": "tiny_sft.json"}}', "version": first["version"]}
    theirs = {"text": '{"theirs": {"file_name": "tiny_sft.json"}}', "version": first["version"]}
    assert api.put("/datasets/registry", json=ours).status_code == 200
    refused = api.put("/datasets/registry", json=theirs)
    assert refused.status_code == 409
    assert refused.json()["text"] == ours["text"]
    assert api.put("/datasets/registry", json={**theirs, "version": refused.json()["version"]}).status_code == 200
    kept = api.get("/datasets/registry").json()["backups"][0]
    assert api.get("/datasets/registry/backup", params={"name": kept["name"]}).json()["text"] == ours["text"]


def test_a_save_is_refused_with_line_and_column_or_with_the_entries(api: TestClient, workspace: Workspace) -> None:
    found = api.get("/datasets/registry").json()
    text = found["text"]
    told = api.put("/datasets/registry", json={"text": text[:-3], "version": found["version"]})
    assert (told.status_code, told.json()["line"] > 10) == (422, True)
    body = {"text": '{\n"a": {"file_nme": "x"}}', "version": found["version"]}
    told = api.put("/datasets/registry", json=body)
    assert (told.status_code, told.json()["entries"][0]["line"]) == (422, 2)
    assert workspace.dataset_info.read_text() == text
    assert api.put("/datasets/registry", json={**body, "broken": True}).status_code == 200


def test_only_registries_are_edited(api: TestClient) -> None:
    for path in ("data/tiny_sft.json", "/etc/passwd", "../x"):
        body = {"text": "{}", "version": "", "path": path}
        assert api.put("/datasets/registry", json=body).status_code == 422
        assert api.get("/datasets/registry", params={"path": path}).status_code == 422
