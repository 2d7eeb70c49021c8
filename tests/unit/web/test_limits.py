"""How much a request may hold, and what is written down of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from studio.web import guard as guards
from tests.unit.web.guarded import BEARER, TOKEN, Behind, behind, client, enter

__all__ = ["behind", "client"]


def test_bodies_have_limits(client: TestClient, behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MOST_UPLOAD", 3 * 2**20)
    for path, size, expected in (
        ("/api/jobs", 2**20, 200),
        ("/api/jobs", 2**20 + 1, 413),
        ("/gradio_api/upload", 2 * 2**20, 200),
        ("/api/datasets/upload", 2 * 2**20, 200),
        ("/api/datasets/upload", 4 * 2**20, 413),
    ):
        assert client.post(path, headers=BEARER, content=b"x" * size).status_code == expected, (path, size)


def test_a_body_that_does_not_say_its_length_has_the_same_limits(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "MOST_UPLOAD", 2**20)
    pieces = [b"x" * 2**19] * 3
    for path in ("/api/jobs", "/gradio_api/upload"):
        assert client.post(path, headers=BEARER, content=iter(pieces)).status_code == 413


def test_addresses_and_headers_have_limits(client: TestClient) -> None:
    assert client.get("/" + "x" * 9000, headers=BEARER).status_code == 414
    assert client.get("/?x=" + "x" * 9000, headers=BEARER).status_code == 414
    assert client.get("/", headers={**BEARER, "x-long": "x" * 17_000}).status_code == 431


def test_what_changes_something_is_written_down_without_secrets(tmp_path: Path, client: TestClient) -> None:
    enter(client)
    client.get("/?token=wrong-one")
    client.post("/api/jobs/3/stop", headers=BEARER, json={"secret": "never told"})
    client.post("/api/recipe", headers=BEARER, json={})
    text = (tmp_path / ".studio" / "audit.jsonl").read_text()
    assert [line.split('"what": "')[1].split('"')[0] for line in text.splitlines()] == [
        "login",
        "login refused",
        "POST /api/jobs/3/stop",
    ]
    assert TOKEN not in text
    assert "wrong-one" not in text
    assert "never told" not in text
    assert (tmp_path / ".studio" / "audit.jsonl").stat().st_mode & 0o077 == 0
