"""The whole application, Gradio's routes included: nothing without a token, no file that is not given out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.testclient import TestClient

from studio.errors import StudioError
from studio.jobs.store import Store
from studio.web import app as application
from studio.web.site import Site
from studio.workspace import Workspace

TOKEN = "a-token-of-the-tests-0123456789"
HERE = "http://127.0.0.1:7860"
BEARER = {"authorization": f"Bearer {TOKEN}"}
SECRET = "what nobody may read"


def site_of(root: Path, **more: Any) -> Site:
    (root / "models").mkdir(parents=True, exist_ok=True)
    return Site(Workspace(root), Store(root / ".studio" / "studio.db"), TOKEN, port=7860, **more)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / "workspace"


@pytest.fixture(scope="module")
def inner(root: Path) -> Iterator[FastAPI]:
    """Our routes and Gradio's, without the guard; one more event that shows an uploaded file's text."""
    import gradio

    from studio.web import page

    ours = page.blocks

    def blocks(site: Site) -> gradio.Blocks:
        with ours(site) as found:
            file, text = gradio.File(), gradio.Textbox()
            file.change(lambda path: Path(path).read_text(), file, text, api_name="show")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "blocks", blocks)
        patch.setenv("GRADIO_TEMP_DIR", "")
        yield application.make_inner(site_of(root))


@pytest.fixture(scope="module")
def client(root: Path, inner: FastAPI) -> Iterator[TestClient]:
    site = site_of(root)
    guarded = application.Guard(application.Head(inner, ""), site)
    with TestClient(guarded, base_url=HERE, follow_redirects=False, raise_server_exceptions=False) as found:
        yield found


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and an address of every route, those of mounted applications and of included routers too."""
    for route in app.routes:
        path = prefix + (getattr(route, "path", None) or "")
        if isinstance(route, Mount):
            yield from routes(route.app, path.rstrip("/")) if hasattr(route.app, "routes") else [("GET", f"{path}/x")]
        elif hasattr(route, "original_router"):
            for method, inner in routes(route.original_router):
                yield method, inner if inner.startswith("/gradio_api") else f"/api{inner}"
        else:
            for method in sorted(getattr(route, "methods", None) or {"GET"}):
                yield method, re.sub(r"\{[^}]*\}", "1", path)


def test_no_route_of_ours_or_gradios_answers_without_the_token(client: TestClient, inner: FastAPI) -> None:
    found = sorted(set(routes(inner)))
    assert {("POST", "/api/jobs"), ("POST", "/gradio_api/queue/join"), ("GET", "/config")} <= set(found)
    assert len(found) > 60
    served = [
        (method, path)
        for method, path in found
        if path != "/health" and client.request(method, path).status_code != 401
    ]
    assert served == []


def test_no_route_is_served_under_a_foreign_name_or_to_a_foreign_page(client: TestClient, inner: FastAPI) -> None:
    for method, path in sorted(set(routes(inner))):
        wrong_host = client.request(method, path, headers={**BEARER, "host": "evil.example"})
        wrong_page = client.request(method, path, headers={**BEARER, "origin": "https://evil.example"})
        assert (wrong_host.status_code, wrong_page.status_code) == (421, 403), (method, path)
        assert "access-control-allow-origin" not in wrong_page.headers


def forged(path: Path | str) -> dict[str, Any]:
    return {"path": str(path), "orig_name": "x.txt", "meta": {"_type": "gradio.FileData"}}


def show(inner: FastAPI) -> int:
    """The number of the event that shows an uploaded file's text."""
    gradio_app = next(route.app for route in inner.routes if isinstance(route, Mount) and route.path == "")
    blocks = gradio_app.get_blocks()
    return next(number for number, one in blocks.fns.items() if one.api_name == "show")


@pytest.mark.parametrize("where", ["/etc/passwd", "secret", "dataset_info.json", "../workspace/dataset_info.json"])
def test_no_file_of_the_machine_can_be_named_as_an_upload(
    client: TestClient, inner: FastAPI, root: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    (root / "dataset_info.json").write_text(json.dumps(SECRET))
    file = forged(tmp_path / "secret.txt" if where == "secret" else where)
    number = show(inner)
    body = {"data": [file], "fn_index": number, "session_hash": "abc"}
    asked = [
        client.post("/gradio_api/run/predict", json=body, headers=BEARER),
        client.post("/gradio_api/run/show", json=body, headers=BEARER),
        client.post("/gradio_api/queue/join", json=body, headers=BEARER),
        client.post("/gradio_api/call/show", json={"data": [file]}, headers=BEARER),
        client.post("/gradio_api/call/v2/show", json={"data": [file]}, headers=BEARER),
    ]
    told = "".join(answer.text for answer in asked)
    events = [json.loads(answer.text).get("event_id") for answer in asked[3:] if answer.status_code == 200]
    for event in filter(None, events):
        told += client.get(f"/gradio_api/call/show/{event}", headers=BEARER).text
    if asked[2].status_code == 200:
        told += client.get("/gradio_api/queue/data?session_hash=abc", headers=BEARER).text
    assert SECRET not in told
    assert "root:" not in told


def test_an_upload_that_was_made_is_read(client: TestClient, inner: FastAPI) -> None:
    """Else the test above would pass whatever happens."""
    made = client.post("/gradio_api/upload", files={"files": ("a.txt", b"uploaded")}, headers=BEARER).json()
    body = {"data": [forged(made[0])], "fn_index": show(inner), "session_hash": "abd"}
    assert "uploaded" in client.post("/gradio_api/run/predict", json=body, headers=BEARER).text


FILES = [
    "/etc/passwd",
    "etc/passwd",
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%252e%252e/secret.txt",
    "dataset_info.json",
    "./dataset_info.json",
    ".studio/token",
    "file:///etc/passwd",
    "/proc/self/environ",
    "http://127.0.0.1:7860/health",
    "//evil.example/x",
    "pyproject.toml",
    "studio/web/app.py",
    "README.md",
    "C:\\x",
    "%00/etc/passwd",
    "/ETC/PASSWD",
    "{app}",
    "{token}",
]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(
    "route",
    [
        "/gradio_api/file=",
        "/file=",
        "/gradio_api/file/",
        "/static/",
        "/assets/",
        "/svelte/",
        "/gradio_api/stream/",
        "/gradio_api/proxy=",
        "/studio/static/",
        "/custom_component/",
        "/theme/",
    ],
)
def test_no_file_is_given_out_by_its_path(client: TestClient, root: Path, route: str, path: str) -> None:
    (root / "dataset_info.json").write_text(json.dumps(SECRET))
    path = path.format(app=Path(application.__file__), token=root / ".studio" / "token")
    answer = client.get(route + path, headers=BEARER)
    assert SECRET not in answer.text
    assert "root:" not in answer.text
    assert "make_app" not in answer.text
    assert "requires-python" not in answer.text
    assert answer.status_code >= 400 or "text/html" not in answer.headers["content-type"]
    assert "evil.example" not in answer.headers.get("location", "")


def test_gradio_opens_no_connection_that_stays_and_keeps_no_monitor(client: TestClient) -> None:
    config = client.get("/config", headers=BEARER).json()
    assert config["connect_heartbeat"] is False
    assert client.get("/monitoring", headers=BEARER).status_code >= 400
    told = json.dumps(config)
    assert '"analytics_enabled": true' not in told
    public = [one["api_name"] for one in config["dependencies"] if one.get("api_visibility") == "public"]
    assert set(public) <= {"show"}, "listeners must be private"


def test_an_event_with_strange_numbers_is_refused_and_the_studio_lives(client: TestClient) -> None:
    for number in (9999, -1, "0", None, 2**70):
        body = {"data": [], "fn_index": number, "session_hash": "abe"}
        for route in ("run/predict", "queue/join"):
            answer = client.post(f"/gradio_api/{route}", json=body, headers=BEARER)
            assert answer.status_code >= 400 or "Traceback" not in answer.text
    assert client.get("/health").json() == {"status": "ok"}


def test_what_is_asked_wrongly_gets_a_sentence(client: TestClient) -> None:
    answer = client.get("/api/there/is/no/such", headers=BEARER)
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "there is nothing of this name. /api/docs lists what there is.",
    )
    assert client.post("/api/recipe", content=b"{", headers=BEARER).status_code in (404, 422)


def test_an_error_of_the_program_tells_the_page_a_number_and_the_terminal_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    application._tell(app)

    @app.get("/bad")
    def bad() -> None:
        raise ValueError("at /a/secret/path")

    @app.get("/wrong")
    def wrong() -> None:
        raise StudioError("a sentence for the person.")

    client = TestClient(app, raise_server_exceptions=False)
    answer = client.get("/bad")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    number = re.search(r"error ([0-9a-f]{8})", answer.json()["error"])
    assert number and number[1] in caplog.text
    assert "at /a/secret/path" in caplog.text
    assert client.get("/wrong").json() == {
        "error": "a sentence for the person.",
        "complaints": ["a sentence for the person."],
    }


def test_the_page_about_the_api_lists_every_route_and_loads_nothing(client: TestClient) -> None:
    answer = client.get("/api/docs", headers=BEARER)
    schema = client.get("/api/openapi.json", headers=BEARER).json()
    assert schema["paths"]
    assert [path for path in schema["paths"] if f"<code>{path}</code>" not in answer.text] == []
    assert not re.search(r"<script|<link|https?://|src=", answer.text)


def test_scripts_are_kept_for_ever_under_their_version_and_asked_for_elsewhere(client: TestClient) -> None:
    from studio.web.head import version

    kept = client.get(f"/studio/static/{version()}/studio.js", headers=BEARER)
    asked = client.get("/studio/static/studio.js", headers=BEARER)
    old = client.get("/studio/static/0123456789ab/studio.js", headers=BEARER)
    assert "immutable" in kept.headers["cache-control"]
    assert asked.headers["cache-control"] == old.headers["cache-control"] == "no-cache"
    assert kept.text == asked.text == old.text
    again = client.get("/studio/static/studio.js", headers={**BEARER, "if-none-match": asked.headers["etag"]})
    assert again.status_code == 304
    assert client.get(f"/studio/static/{version()}/../app.py", headers=BEARER).status_code == 404


def test_nothing_that_trains_is_loaded_with_the_page() -> None:
    code = "import sys, studio.web.app, studio.web.page, studio.verbs.webui; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    names = {name.partition(".")[0] for name in done.stdout.split()}
    assert not names & {"torch", "transformers", "datasets", "peft", "trl", "accelerate", "bitsandbytes"}
    assert not {name for name in done.stdout.split() if name.startswith(("studio.train", "studio.loop.trainer"))}
