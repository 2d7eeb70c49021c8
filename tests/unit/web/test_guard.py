"""Who is served and who is not: tokens, hosts, origins. The application behind counts what reaches it."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from studio.web.guard import Guard
from tests.unit.web.guarded import BEARER, HERE, TOKEN, Behind, behind, client, enter, site_of

__all__ = ["behind", "client"]

PATHS = ["/", "/api/jobs", "/gradio_api/queue/join", "/assets/x.js", "/config", "/health/x", "//health", "/healthz"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_is_served_without_the_token(client: TestClient, behind: Behind, path: str, method: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 401
    assert not behind.reached


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer null"},
        {"authorization": "Bearer ../../../../x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"studio_7860={TOKEN}"},
        {"cookie": "studio_7860="},
        {"cookie": "studio_7860=\x01; ;=;"},
        {"x-token": TOKEN},
    ],
)
def test_a_wrong_token_gets_the_same_answer_as_none(
    client: TestClient, behind: Behind, headers: dict[str, str]
) -> None:
    answer, bare = client.get("/api/jobs", headers=headers), client.get("/api/other")
    assert (answer.status_code, answer.content) == (401, bare.content)
    assert not behind.reached


def test_two_keys_in_one_request_do_not_count(client: TestClient) -> None:
    doubled = [("authorization", "Bearer wrong"), ("authorization", f"Bearer {TOKEN}")]
    assert client.get("/api/jobs", headers=doubled).status_code == 401


def test_a_program_sends_the_token_as_a_bearer_token(client: TestClient, behind: Behind) -> None:
    assert client.get("/api/jobs", headers=BEARER).status_code == 200
    assert client.post("/api/jobs", headers=BEARER, json={}).json() == {"bytes": 2}


def test_health_is_open_and_says_nothing(client: TestClient, behind: Behind) -> None:
    assert client.get("/health").status_code == 200
    assert behind.reached == ["/health"]


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(client: TestClient) -> None:
    answer = client.get(f"/?token={TOKEN}&theme=x")
    assert answer.headers["location"] == "/?theme=x"
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert all(part in cookie for part in ("studio_7860=", "HttpOnly", "SameSite=strict", "Path=/;"))
    assert client.get("/").status_code == 200


def test_a_link_from_another_site_goes_on_by_a_page_because_a_redirect_would_lose_the_cookie(
    client: TestClient,
) -> None:
    asked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "accept": "text/html"}
    answer = client.get(f"/?token={TOKEN}", headers=asked)
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, True)
    assert 'http-equiv="refresh" content="0;url=/"' in answer.text


def test_a_token_elsewhere_in_an_address_is_not_read(client: TestClient) -> None:
    assert client.get(f"/api/jobs?token={TOKEN}").status_code == 401
    assert client.post(f"/?token={TOKEN}").status_code == 401


def test_a_cookie_ends_with_its_token_and_with_its_session(tmp_path: Path, behind: Behind) -> None:
    first = TestClient(Guard(behind.app, site_of(tmp_path, session="one")), base_url=HERE, follow_redirects=False)
    enter(first)
    cookies = dict(first.cookies)
    for other, expected in ((site_of(tmp_path, session="one"), 200), (site_of(tmp_path, session="two"), 401)):
        client = TestClient(Guard(behind.app, other), base_url=HERE, cookies=cookies)
        assert client.get("/").status_code == expected


def test_after_many_wrong_tokens_an_address_waits_and_who_is_inside_does_not(client: TestClient) -> None:
    enter(client)
    wrong = [client.get(f"/?token=wrong{number}").status_code for number in range(12)]
    assert wrong == [401] * 9 + [429] * 3
    assert client.get("/api/jobs", headers={"authorization": "Bearer wrong"}).status_code == 429
    assert client.get("/api/jobs").status_code == 200


def test_a_person_without_the_token_sees_a_page_to_enter_it(client: TestClient) -> None:
    answer = client.get("/x", headers={"accept": "text/html"})
    assert answer.status_code == 401
    assert "终端" in answer.text
    assert 'name="token"' in answer.text
    assert "<script" not in answer.text


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:7860",
    "127.0.0.1.evil.example",
    "localhost.evil",
    "",
    "127.0.0.1:x",
    "127.0.0.1@evil.example",
    "[::1",
    "evil\x00",
    "192.168.0.7:7860",
    "0x7f000001",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("path", ["/", "/health", "/api/jobs"])
def test_a_foreign_host_is_not_served(client: TestClient, behind: Behind, host: str, path: str) -> None:
    assert client.get(path, headers={**BEARER, "host": host}).status_code == 421
    assert not behind.reached


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:7860", "LOCALHOST", "localhost."])
def test_every_name_of_this_machine_is_served(client: TestClient, host: str) -> None:
    assert client.get("/", headers={**BEARER, "host": host}).status_code == 200


def test_two_hosts_are_none(client: TestClient) -> None:
    asked = [("host", "127.0.0.1:7860"), ("host", "127.0.0.1:7860"), *BEARER.items()]
    assert client.get("/", headers=asked).status_code == 421


def test_a_public_host_is_served_and_what_a_proxy_adds_is_not_believed(tmp_path: Path, behind: Behind) -> None:
    app = Guard(behind.app, site_of(tmp_path, public_hosts=("https://studio.example.org",)))
    client = TestClient(app, base_url="https://studio.example.org")
    told = {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "//evil", "forwarded": "host=evil.example"}
    assert client.get("/", headers={**BEARER, **told}).status_code == 200
    assert not set(told) & set(behind.seen)
    wrong = {**BEARER, "host": "evil.example", "x-forwarded-host": "studio.example.org"}
    assert client.get("/", headers=wrong).status_code == 421


def test_listening_for_other_machines_serves_addresses_but_not_foreign_names(tmp_path: Path, behind: Behind) -> None:
    client = TestClient(Guard(behind.app, site_of(tmp_path, host="0.0.0.0")), base_url=HERE)
    answers = {
        host: client.get("/", headers={**BEARER, "host": host}).status_code
        for host in ("192.168.0.7:7860", "[fe80::1]", "evil.example")
    }
    assert list(answers.values()) == [200, 200, 421]


FOREIGN_ORIGINS = [
    "https://evil.example",
    "null",
    "http://localhost:9999",
    "http://127.0.0.1:7861",
    "http://127.0.0.1",
    "file://",
    "http://127.0.0.1:7860.evil.example",
    "http://user@127.0.0.1:7860",
    "x",
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs"),
        ("DELETE", "/api/jobs/1"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/queue/join"),
        ("GET", "/gradio_api/queue/data"),
        ("GET", "/gradio_api/heartbeat/x"),
        ("OPTIONS", "/api/jobs"),
    ],
)
def test_a_page_of_another_origin_is_not_served(
    client: TestClient, behind: Behind, origin: str, method: str, path: str
) -> None:
    enter(client)
    answer = client.request(method, path, headers={"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert not behind.reached


@pytest.mark.parametrize("kind", ["cross-site", "same-site", "strange"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/jobs"), ("GET", "/gradio_api/queue/data"), ("GET", "/config")]
)
def test_what_the_browser_calls_foreign_is_not_served_even_without_an_origin(
    client: TestClient, behind: Behind, kind: str, method: str, path: str
) -> None:
    enter(client)
    assert client.request(method, path, headers={"sec-fetch-site": kind}).status_code == 403
    assert not behind.reached


def test_a_link_on_another_site_may_lead_to_the_page(client: TestClient) -> None:
    enter(client)
    assert client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200


def test_the_page_itself_is_served(client: TestClient) -> None:
    enter(client)
    ours = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert client.post("/api/jobs", headers=ours, json={}).status_code == 200


def test_a_cookie_alone_changes_nothing(client: TestClient, behind: Behind) -> None:
    enter(client)
    assert client.post("/api/jobs", json={}).status_code == 403
    assert not behind.reached


def test_no_answer_lets_another_origin_read(client: TestClient) -> None:
    for answer in (client.get("/"), client.get("/api/x", headers=BEARER), client.get("/health")):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors" in answer.headers["content-security-policy"]


def test_only_pages_named_at_the_start_may_frame_the_page(tmp_path: Path, behind: Behind) -> None:
    app = Guard(behind.app, site_of(tmp_path, frame_ancestors=("https://notebook.example.org",)))
    headers = TestClient(app, base_url=HERE).get("/", headers=BEARER).headers
    assert "frame-ancestors 'self' https://notebook.example.org" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


@pytest.mark.parametrize("method", ["TRACE", "DEBUG", "CONNECT", "PROPFIND"])
def test_strange_methods_are_not_answered(client: TestClient, behind: Behind, method: str) -> None:
    assert client.request(method, "/", headers=BEARER).status_code == 405
    assert not behind.reached


def test_websockets_are_refused(client: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers=BEARER):
        pass


@pytest.mark.parametrize("keeps", [True, False])
def test_a_proxy_may_strip_the_prefix_or_keep_it(tmp_path: Path, behind: Behind, keeps: bool) -> None:
    app = Guard(behind.app, site_of(tmp_path, root_path="/proxy/7860"))
    client = TestClient(app, base_url=HERE, follow_redirects=False)
    prefix = "/proxy/7860" if keeps else ""
    answer = client.get(f"{prefix}/?token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/proxy/7860/")
    assert "Path=/proxy/7860;" in answer.headers["set-cookie"]
    assert client.get(f"{prefix}/api/jobs", headers=BEARER).status_code == 200
    assert behind.reached == ["/api/jobs"]


def test_the_prefix_without_its_slash_leads_to_the_page(tmp_path: Path, behind: Behind) -> None:
    app = Guard(behind.app, site_of(tmp_path, root_path="/proxy/7860"))
    client = TestClient(app, base_url=HERE, follow_redirects=False)
    assert client.get("/proxy/7860", headers=BEARER).headers["location"] == "/proxy/7860/"
    assert client.get("/proxy/78601", headers=BEARER).status_code == 200
    assert behind.reached == ["/proxy/78601"]
