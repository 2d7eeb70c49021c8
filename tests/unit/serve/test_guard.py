import asyncio
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from studio.errors import UsageError
from studio.serve.guard import Guard, check_open, find_key, is_loopback, names_of, told_names

KEY = "correct-horse-battery"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body it got."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})


def ask(path: str = "/v1/models", *, guarded: Guard | None = None, **more: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        app = guarded or Guard(echo, key="", names=names_of("127.0.0.1", ()), any_address=False)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://localhost:8000"
        ) as client:
            return await client.request(more.pop("method", "POST"), path, **more)

    return asyncio.run(send())


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:8000", "[::1]:8000", "localhost."])
def test_this_machine_is_served_by_its_names(host: str) -> None:
    assert ask(headers={"host": host}).status_code == 200


FOREIGN = ["evil.example", "evil.example:8000", "", "192.168.0.7", "localhost.evil.example", "[::1]x", "[::1]:x",
           "[::1", "::1", "localhost:x", "localhost:1:2", "[localhost]x"]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused(host: str) -> None:
    answer = ask(headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "host"


def test_two_hosts_are_none() -> None:
    assert ask(headers=[("host", "localhost"), ("host", "localhost")]).status_code == 421


def test_what_a_proxy_says_about_the_host_is_not_believed() -> None:
    assert ask(headers={"host": "evil.example", "x-forwarded-host": "localhost"}).status_code == 421


PAGES = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:8000"},
    {"sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("headers", PAGES, ids=str)
def test_no_page_of_a_browser_is_served(headers: dict[str, str]) -> None:
    answer = ask(headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_public_name_and_with_a_key_any_address_are_served() -> None:
    named = Guard(echo, key="", names=names_of("127.0.0.1", ["Gate.Example"]), any_address=False)
    assert ask(guarded=named, headers={"host": "gate.example"}).status_code == 200
    outside = Guard(echo, key=KEY, names=names_of("0.0.0.0", ()), any_address=True)
    key = {"authorization": f"Bearer {KEY}"}
    assert ask(guarded=outside, headers={"host": "192.168.0.7:8000", **key}).status_code == 200
    assert ask(guarded=outside, headers={"host": "evil.example", **key}).status_code == 421


WRONG = ["", "Bearer ", "Bearer EMPTY", "Bearer null", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer ../../../../x",
         "Bearer " + "k" * 10_000]  # fmt: skip


@pytest.mark.parametrize("value", WRONG, ids=lambda value: value[:20])
def test_a_wrong_key_gets_the_same_answer_as_none(value: str) -> None:
    guarded = Guard(echo, key=KEY, names=names_of("127.0.0.1", ()), any_address=False)
    none, wrong = ask(guarded=guarded), ask(guarded=guarded, headers={"authorization": value})
    assert none.status_code == wrong.status_code == 401
    assert none.content == wrong.content
    assert wrong.headers["www-authenticate"] == "Bearer"


def test_the_key_counts_once_and_only_in_its_header() -> None:
    guarded = Guard(echo, key=KEY, names=names_of("127.0.0.1", ()), any_address=False)
    right = ("authorization", f"Bearer {KEY}")
    assert ask(guarded=guarded, headers=[right]).status_code == 200
    assert ask(guarded=guarded, headers=[right, right]).status_code == 401
    assert ask(f"/v1/models?api_key={KEY}", guarded=guarded).status_code == 401


def test_whether_the_server_is_there_may_be_asked_without_a_key_but_not_under_a_foreign_name() -> None:
    guarded = Guard(echo, key=KEY, names=names_of("127.0.0.1", ()), any_address=False)
    assert ask("/health", guarded=guarded).status_code == 200
    assert ask("/health", guarded=guarded, headers={"host": "evil.example"}).status_code == 421
    assert ask("/v1/models/health", guarded=guarded).status_code == 401


def test_a_body_reaches_the_application_whole() -> None:
    assert ask(content=b"x" * 100_000).text == "100000"


def limited(**limits: Any) -> Guard:
    return Guard(echo, key="", names=names_of("127.0.0.1", ()), any_address=False, **limits)


def test_a_body_that_is_too_long_is_refused_by_its_length_or_when_it_has_come() -> None:
    small = limited(most_bytes=1000)
    assert ask(content=b"x" * 1001, guarded=small).status_code == 413
    assert ask(content=b"x" * 1000, guarded=small).status_code == 200

    async def in_pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    assert ask(content=in_pieces(), guarded=small).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def never() -> Any:
        yield b"{"
        await asyncio.sleep(30)

    assert ask(content=never(), guarded=limited(body_s=0.05)).status_code == 408


@pytest.mark.parametrize("value", ["", " ", "EMPTY", "null", "None", "with blank", "schlüssel", "line\nbreak"])
@pytest.mark.parametrize("name", ["STUDIO_API_KEY", "API_KEY"])
def test_a_key_that_protects_nothing_is_refused_at_the_start(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be a key that nobody guesses"):
        find_key({name: value})


def test_our_key_comes_before_the_ecosystems() -> None:
    assert find_key({"STUDIO_API_KEY": "ours", "API_KEY": "theirs"}) == "ours"
    assert find_key({"API_KEY": "theirs"}) == "theirs"
    assert find_key({}) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "gate.example"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="Set STUDIO_API_KEY") as error:
        check_open(host, "")
    assert error.value.exit_code == 2
    check_open(host, KEY)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    check_open(host, "")


def test_settings_of_another_program_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "9000")
    assert told_names() == ["API_PORT is set and not read; write --port."]
