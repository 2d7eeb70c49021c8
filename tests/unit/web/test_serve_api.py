"""Loading a model, asking it through the page, letting it go, and preferring one of two answers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.testclient import TestClient

from studio.data.catalog import read_catalog
from studio.data.inspect import preview
from studio.data.render import View
from studio.errors import StudioError
from studio.jobs.store import Store, folder_of, store_of
from studio.web.api import serve
from studio.web.site import Site
from studio.workspace import Workspace, write_json

KEY = "the-key-of-the-job"


@pytest.fixture
def site(workspace: Workspace) -> Site:
    return Site(workspace, store_of(workspace), "token")


@pytest.fixture
def page(site: Site) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(serve.routes(site), prefix="/api")

    @app.exception_handler(StudioError)
    async def wrong(_: Request, error: StudioError) -> Response:
        return JSONResponse({"error": str(error)}, {3: 409, 11: 507}.get(error.exit_code, 422))

    with TestClient(app) as client:
        yield client


class Upstream:
    """A served model that keeps what it was asked and notices when its client leaves."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.left = threading.Event()
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            self.heads.append(dict(request.headers))
            self.bodies.append(await request.body())

            async def events() -> Any:
                try:
                    for number in range(1000):
                        yield f"data: {number}\n\n"
                        await asyncio.sleep(0.02)
                except asyncio.CancelledError:
                    self.left.set()
                    raise

            if json.loads(self.bodies[-1]).get("stream"):
                return StreamingResponse(events(), media_type="text/event-stream")
            return JSONResponse({"answer": "whole"}, headers={"set-cookie": "a=b", "x-secret": "1"})

        taken = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [taken]})
        self._thread.start()

    def end(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    running = Upstream()
    yield running
    running.end()


def as_running(store: Store, place: Workspace, url: str) -> int:
    """A serve job that says it answers at an address, without a process."""
    job = store.submit("serve", ["api", "--model_name_or_path", "models/tiny-chat", "--port", "0"], title="tiny-chat")
    set_state(store, job.id, "running")
    folder = folder_of(place, job.id)
    write_json(folder / "endpoint.json", {"url": url, "names": ["tiny-chat"]})
    (folder / "key").write_text(KEY)
    return job.id


def set_state(store: Store, id: int, state: str) -> None:
    with store.writing() as db:
        db.execute("update job set state = ? where id = ?", (state, id))


def test_a_model_is_loaded_by_a_job_whose_command_can_be_read(page: TestClient, site: Site) -> None:
    told = page.post("/api/serve", json={"model": "models/tiny-chat", "template": "chatml", "request": "once"}).json()
    job = site.store.get(told["id"])
    assert job.kind == "serve"
    words = ("api", "--model_name_or_path", "models/tiny-chat", "--template", "chatml", "--port", "0")
    assert job.argv == words
    assert (told["state"], told["ready"], told["model"]) == ("queued", False, "models/tiny-chat")
    again = page.post("/api/serve", json={"model": "models/tiny-chat", "template": "chatml", "request": "once"}).json()
    assert again["id"] == told["id"]
    (listed,) = page.get("/api/serve").json()["models"]
    assert listed["id"] == told["id"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"model": ""}, "choose a model"),
        ({"model": "m", "adapters": ["a", "b"]}, "one adapter"),
        ({"model": "m", "trust_remote_code": True}, "started without"),
        ({"model": "m", "infer_dtype": "int3"}, "infer_dtype"),
        ({"model": "m\nx"}, "one non-empty line"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_a_job_is_made(
    page: TestClient, site: Site, asked: dict[str, Any], reason: str
) -> None:
    answer = page.post("/api/serve", json=asked)
    assert answer.status_code == 422
    assert reason in answer.json()["error"]
    assert not site.store.jobs()


def test_a_path_outside_the_roots_is_refused(page: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(site.workspace.root))
    for asked in (
        {"model": "/etc"},
        {"model": "models/tiny", "adapters": ["../../x"]},
        {"model": "m", "template": "/t.jinja"},
    ):
        assert "leads outside" in page.post("/api/serve", json=asked).json()["error"]


def test_no_model_is_loaded_while_a_training_job_has_the_device(page: TestClient, site: Site) -> None:
    training = site.store.submit("train", ["train"], title="first")
    set_state(site.store, training.id, "running")
    answer = page.post("/api/serve", json={"model": "models/tiny"})
    assert answer.status_code == 409
    assert answer.json()["job"] == training.id
    assert "first" in answer.json()["error"]
    set_state(site.store, training.id, "succeeded")
    assert page.post("/api/serve", json={"model": "models/tiny"}).status_code == 200


def test_a_request_is_passed_on_with_the_key_of_the_job_and_nothing_of_the_page(
    page: TestClient, site: Site, upstream: Upstream
) -> None:
    id = as_running(site.store, site.workspace, upstream.url)
    headers = {"cookie": "studio_token=secret", "authorization": "Bearer secret", "origin": "http://testserver"}
    answer = page.post(f"/api/serve/{id}/v1/chat/completions", json={"x": 1}, headers=headers)
    assert answer.json() == {"answer": "whole"}
    (head,) = upstream.heads
    assert head["authorization"] == f"Bearer {KEY}"
    assert not {"cookie", "origin", "referer"} & head.keys()
    assert "secret" not in str(head)
    assert json.loads(upstream.bodies[0]) == {"x": 1}
    assert not {"set-cookie", "x-secret"} & answer.headers.keys()
    assert KEY not in str(answer.headers)


def test_only_what_a_conversation_needs_is_passed_on(page: TestClient, site: Site, upstream: Upstream) -> None:
    id = as_running(site.store, site.workspace, upstream.url)
    asked = [("GET", "chat/completions"), ("POST", "models"), ("GET", "../health"), ("POST", "models/../../health")]
    for method, path in asked:
        assert page.request(method, f"/api/serve/{id}/v1/{path}").status_code in (404, 405, 422)
    assert not upstream.heads


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:80/v1", "https://127.0.0.1:80/v1", "http://127.0.0.1/v1", "http://127.0.0.1:80/v2",
        "http://127.0.0.1.evil.example:80/v1", "http://user@127.0.0.1:80/v1", "file:///etc/passwd", "x",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_not_this_machines_is_not_asked(page: TestClient, site: Site, url: str) -> None:
    id = as_running(site.store, site.workspace, url)
    answer = page.post(f"/api/serve/{id}/v1/chat/completions", json={})
    assert answer.status_code == 409
    assert not page.get("/api/serve").json()["models"][0]["ready"]


def test_a_model_that_is_not_there_is_told_in_a_sentence(page: TestClient, site: Site, upstream: Upstream) -> None:
    id = as_running(site.store, site.workspace, upstream.url)
    upstream.end()
    answer = page.post(f"/api/serve/{id}/v1/chat/completions", json={})
    assert (answer.status_code, "does not answer any more" in answer.json()["error"]) == (502, True)
    set_state(site.store, id, "stopped")
    answer = page.post(f"/api/serve/{id}/v1/chat/completions", json={})
    assert (answer.status_code, answer.json()["error"]) == (409, "tiny-chat is not loaded any more (stopped).")
    training = site.store.submit("train", ["train"], title="first")
    assert "is no loaded model" in page.post(f"/api/serve/{training.id}/v1/chat/completions", json={}).json()["error"]
    assert "is no loaded model" in page.post(f"/api/serve/{training.id}/unload").json()["error"]


def test_a_conversation_that_is_too_long_is_refused(page: TestClient, site: Site, upstream: Upstream) -> None:
    id = as_running(site.store, site.workspace, upstream.url)
    answer = page.post(f"/api/serve/{id}/v1/chat/completions", content=b"x" * (8 * 2**20 + 1))
    assert answer.status_code == 409
    assert not upstream.heads


def test_when_the_browser_leaves_the_model_is_told_to_stop(site: Site, upstream: Upstream) -> None:
    id = as_running(site.store, site.workspace, upstream.url)
    app = FastAPI()
    app.include_router(serve.routes(site), prefix="/api")
    taken = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/serve/{id}/v1/chat/completions"
        with httpx.stream("POST", url, json={"stream": True}, timeout=20) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert next(answer.iter_text()).startswith("data: 0")
        assert upstream.left.wait(20)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


def test_a_model_that_is_unloaded_gets_the_wish_and_one_that_failed_says_why(page: TestClient, site: Site) -> None:
    id = as_running(site.store, site.workspace, "http://127.0.0.1:1/v1")
    page.post(f"/api/serve/{id}/unload")
    assert site.store.get(id).wish == "stop"
    (folder_of(site.workspace, id) / "log.txt").write_text("models/none: there is no model folder.\n")
    with site.store.writing() as db:
        db.execute(
            "update job set state = 'failed', exit_code = 10, ended = ?, wish = '' where id = ?", (time.time(), id)
        )
    (told,) = page.get("/api/serve").json()["models"]
    assert told["failure"]["kind"] == "missing_file"
    assert told["tail"] == ["models/none: there is no model folder."]
    with site.store.writing() as db:
        db.execute("update job set ended = 1 where id = ?", (id,))
    assert page.get("/api/serve").json() == {"models": []}


def preference(**more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "京?"}],
        "chosen": {"content": "Yes <b>\n", "reasoning_content": "hm", "model": "new"},
        "rejected": {"content": "No", "model": "base"},
        **more,
    }


def test_the_better_answer_becomes_a_row_of_a_registered_dataset(page: TestClient, site: Site) -> None:
    assert page.get("/api/preferences").json() == {"name": "preferences", "rows": 0, "path": "data/preferences.jsonl"}
    assert page.post("/api/preferences", json=preference()).json()["rows"] == 1
    other = preference(rejected={"content": "Maybe"}, tools=[{"type": "function", "function": {"name": "f"}}])
    assert page.post("/api/preferences", json=other).json()["rows"] == 2
    # A double click is one preference.
    assert page.post("/api/preferences", json=other).json()["rows"] == 2
    entry = read_catalog(site.workspace)["preferences"]
    rows = preview(entry, None, None, View(), site.workspace, 0, 9)
    assert [row.refused for row in rows] == ["", ""]
    example = rows[0].example
    assert [message["content"] for message in example.messages] == ["Be brief.", "京?"]
    assert example.chosen[0]["content"] == "Yes <b>\n"
    assert example.chosen[0]["reasoning_content"] == "hm"
    assert example.rejected[0]["content"] == "No"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"rejected": {"content": "Yes <b>\n"}}, "are the same"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "follows a question"),
    ],
)
def test_what_is_no_pair_is_refused(page: TestClient, site: Site, more: dict[str, Any], reason: str) -> None:
    answer = page.post("/api/preferences", json=preference(**more))
    assert (answer.status_code, reason in answer.json()["error"]) == (422, True)
    assert not (site.workspace.data / "preferences.jsonl").exists()


def test_a_foreign_dataset_of_that_name_is_left_alone(page: TestClient, site: Site) -> None:
    registry = json.loads(site.workspace.dataset_info.read_text())
    site.workspace.dataset_info.write_text(json.dumps({**registry, "preferences": {"file_name": "tiny_sft.json"}}))
    assert "another file" in page.post("/api/preferences", json=preference()).json()["error"]
    assert not (site.workspace.data / "preferences.jsonl").exists()


def test_rows_written_at_once_are_all_whole(page: TestClient, site: Site) -> None:
    path = site.workspace.data / "preferences.jsonl"
    page.post("/api/preferences", json=preference())
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    asked = [preference(rejected={"content": str(number)}) for number in range(12)]
    threads = [threading.Thread(target=page.post, args=("/api/preferences",), kwargs={"json": one}) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["rejected"]["content"] for row in rows} == {"No", *map(str, range(12))}
    assert len(rows) == 13
