"""A reward service is asked again where it fails in passing, and what it answers is never taken on trust."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from studio import remote
from studio.errors import RewardError
from studio.remote import LARGEST_REPLY
from studio.rewards.base import Sample
from studio.rewards.service import ServiceReward, probe, url_complaint

SAMPLES = [Sample((), "good"), Sample((), "bad")]
# A reply: status, body (or what is made of the request), headers, and seconds to wait before it.
Reply = tuple[int, Any, dict[str, str], float]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
GOOD: Reply = (200, {"scores": [1.5, -2]}, {}, 0)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[str, list[dict[str, Any]]]]]:
    """`serve(reply, …)`: an address that answers with these in turn, with the last one for ever; what it was asked."""
    servers = []

    def start(*replies: Reply) -> tuple[str, list[dict[str, Any]]]:
        asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append({"path": self.path, "key": self.headers.get("authorization"), **body})
                status, said, headers, wait_s = replies[min(len(asked), len(replies)) - 1]
                time.sleep(wait_s)
                said = said(body) if callable(said) else said
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # nobody may listen any more
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/score", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)


def asking(url: str, retries: int = 2, timeout_s: float = 5.0) -> ServiceReward:
    return ServiceReward(url, lambda sample: f"<{sample.answer}>", timeout_s=timeout_s, retries=retries)


def test_texts_go_out_and_scores_come_back_in_order(serve: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_REWARD_KEY", "secret")
    url, asked = serve(GOOD)
    assert asking(url)(SAMPLES) == [1.5, -2.0]
    assert asked == [{"path": "/score", "key": "Bearer secret", "model": "", "messages": ["<good>", "<bad>"]}]


def test_an_address_of_our_own_gets_conversations_with_their_tools(serve: Any):
    url, asked = serve((200, lambda body: {"scores": [1.0] * len(body["messages"])}, {}, 0))
    question, tools = {"role": "user", "content": "?"}, [{"type": "function", "function": {"name": "look"}}]
    samples = [Sample((question,), "a"), Sample((question,), "b", row={"tools": tools}), Sample((question,), "c")]
    assert asking(url.replace("/score", "/v1/score"))(samples) == [1.0, 1.0, 1.0]
    assert [each["messages"] for each in asked] == [
        [[question, {"role": "assistant", "content": text}]] for text in ("a", "b", "c")
    ]
    assert [each.get("tools") for each in asked] == [None, tools, None]


def test_many_samples_go_out_in_several_requests(serve: Any):
    url, asked = serve((200, lambda body: {"scores": [float(text[1:-1]) for text in body["messages"]]}, {}, 0))
    samples = [Sample((), str(number)) for number in range(150)]
    assert asking(url)(samples) == [float(number) for number in range(150)]
    assert [len(each["messages"]) for each in asked] == [64, 64, 22]
    assert asked[0]["key"] is None


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_in_passing_is_asked_again(serve: Any, status: int):
    url, asked = serve((status, {}, {}, 0), (status, {}, {}, 0), GOOD)
    assert asking(url)(SAMPLES) == [1.5, -2.0]
    assert len(asked) == 3


def test_a_failure_that_stays_is_told_with_the_attempts(serve: Any):
    url, asked = serve((500, {}, {}, 0))
    with pytest.raises(RewardError, match=r"answered 500 after 3 attempts\. See that it runs"):
        asking(url)(SAMPLES)
    assert len(asked) == 3


def test_a_slow_service_is_not_waited_for(serve: Any):
    url, asked = serve((200, {"scores": [0, 0]}, {}, 0.6), GOOD)
    assert asking(url, timeout_s=0.3)(SAMPLES) == [1.5, -2.0]
    assert len(asked) == 2
    url, _ = serve((200, {"scores": [0, 0]}, {}, 0.6))
    with pytest.raises(RewardError, match=r"did not answer within 0\.2 s"):
        asking(url, retries=0, timeout_s=0.2)(SAMPLES)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"", CHUNKED], ids=["head", "before it", "chunk"])
def test_a_reply_that_drips_is_not_waited_for(head: bytes):
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def drip() -> None:
        line, _ = server.accept()
        with line, contextlib.suppress(OSError):
            line.recv(65536)
            line.sendall(head)
            while not ended.wait(0.05):
                line.sendall(b"0" if head else b"HTTP/1.1 100 Continue\r\n\r\n")

    dripping = threading.Thread(target=drip)
    dripping.start()
    threading.Timer(20, ended.set).start()
    try:
        with pytest.raises(RewardError, match=r"did not answer within 0\.3 s"):
            asking(f"http://127.0.0.1:{server.getsockname()[1]}/score", retries=0, timeout_s=0.3)(SAMPLES)
        assert not ended.is_set()
    finally:
        ended.set()
        dripping.join()
        server.close()


def test_a_packed_reply_is_never_unpacked(serve: Any):
    packed = gzip.compress(json.dumps({"scores": [1.5, -2]}).encode())
    url, _ = serve((200, packed, {"content-encoding": "gzip"}, 0))
    with pytest.raises(RewardError, match="must answer with"):
        asking(url)(SAMPLES)


def test_the_key_goes_to_its_host_alone_and_nowhere_by_itself_from_the_page(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("STUDIO_REWARD_KEY", "secret")
    url, asked = serve(GOOD)
    port = url.rpartition(":")[2].partition("/")[0]
    monkeypatch.setenv("STUDIO_ROOTS", str(tmp_path))
    for host, sent in (("", None), ("other.example", None), ("127.0.0.1", "Bearer secret"), ("127.0.0.1:1", None),
                       (f"127.0.0.1:{port}", "Bearer secret")):  # fmt: skip
        monkeypatch.setenv("STUDIO_REWARD_HOST", host)
        asking(url)(SAMPLES)
        assert asked[-1]["key"] == sent, host
    monkeypatch.delenv("STUDIO_REWARD_HOST")
    url, _ = serve((401, {}, {}, 0))
    with pytest.raises(RewardError, match=r"STUDIO_REWARD_HOST to 127\.0\.0\.1:\d+: STUDIO_REWARD_KEY goes to that"):
        asking(url)(SAMPLES)


def test_nobody_there_is_told(serve: Any):
    url, _ = serve(GOOD)
    closed = url.replace("http://127.0.0.1", "http://127.0.0.2")
    with pytest.raises(RewardError, match="could not be asked"):
        asking(closed, retries=0)(SAMPLES)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, {"scores": [1]}, {}, 0), "gave 1 number"),
        ((200, {"scores": [1, 2, 3]}, {}, 0), "gave 3 numbers"),
        ((200, b'{"scores": [1, NaN]}', {}, 0), "gave nan"),
        ((200, b'{"scores": [1, 1e999]}', {}, 0), "gave inf"),
        ((200, {"scores": ["1", "2"]}, {}, 0), "which are no numbers"),
        ((200, {"scores": [None, 2]}, {}, 0), "which are no numbers"),
        ((200, {"rewards": [1, 2]}, {}, 0), 'must answer with {"scores"'),
        ((200, b"<html>", {}, 0), "'<html>'"),
        ((200, b"[" * 100_000, {}, 0), "must answer with"),
        ((302, {}, {"location": "http://169.254.169.254/latest"}, 0), "which is not followed"),
        ((404, {}, {}, 0), "answered 404. Check the address"),
        ((401, {}, {}, 0), "STUDIO_REWARD_KEY"),
        ((200, b" " * (LARGEST_REPLY + 10), {}, 0), "more than 4 MiB"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_list_of_scores_is_refused_and_not_asked_again(serve: Any, reply: Reply, words: str):
    url, asked = serve(reply)
    with pytest.raises(RewardError) as told:
        asking(url)(SAMPLES)
    assert words in str(told.value)
    assert len(asked) == 1, "and nobody else was asked"


def test_a_probe_tells_what_is_wrong_before_the_start(serve: Any):
    url, asked = serve((200, {"scores": [0.0]}, {}, 0))
    assert probe(url, 5) == ""
    assert len(asked[0]["messages"]) == 1
    url, asked = serve((500, {}, {}, 0))
    assert "answered 500. See that it runs" in probe(url, 5)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80/score", "ftp://host/score", "http://", "http://host:99999/", "http://a b/", "http://a\n/"]
)
def test_an_address_must_be_one(url: str):
    assert "must be the address of a service" in url_complaint(url)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    told = url_complaint("https://me:hunter2@host/score")
    assert "must never stand in a command" in told
    assert "hunter2" not in told
    for odd in ("ftp://me:hunter2@host/", "http://me:hunter2@", "me:hunter2@host/score", "gopher://hunter2@host"):
        assert "must never stand" in url_complaint(odd) and "hunter2" not in url_complaint(odd)
    assert url_complaint("https://host:8443/v1/score?model=a") == ""
    assert url_complaint("https://host/@us/score?to=a@b") == ""
