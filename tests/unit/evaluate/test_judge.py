"""A judge is asked as its address says, its verdict is read from the end of its reply, and nothing is made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from studio import remote
from studio.errors import StudioError
from studio.evaluate.judge import PATIENCE, Judge, Question, address, score_in, url_complaint, verdict_in

Reply = Callable[[str], tuple[int, Any]]
ASKED = ({"role": "user", "content": "What is 2 + 2?"},)


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], tuple[str, list[dict[str, Any]]]]]:
    """`serve(reply)`: the address of a judge, and the requests it got; `reply` makes status and body of the text."""
    servers: list[ThreadingHTTPServer] = []

    def start(reply: Reply) -> tuple[str, list[dict[str, Any]]]:
        asked: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append({"path": self.path, "key": self.headers.get("authorization"), **body})
                status, content = reply(body["messages"][-1]["content"])
                if isinstance(content, str):
                    content = {"choices": [{"message": {"role": "assistant", "content": content}}]}
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)


def judge(url: str, **more: Any) -> Judge:
    return Judge(url, "wise", 5.0, 1, **more)


def test_scores_come_in_the_order_of_the_answers(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_JUDGE_KEY", "secret")
    url, asked = serve(lambda text: (200, f"It is short.\n**Score: {text.split('value ')[1].split('<')[0].strip()}**"))
    questions = [Question(ASKED, f"value {number}", "four") for number in range(1, 11)]
    told: list[int] = []
    found = judge(url, options={"temperature": 0}).scores(questions, told.append)
    assert [verdict.value for verdict in found] == [float(number) for number in range(1, 11)]
    assert told == list(range(1, 11))
    assert {each["path"] for each in asked} == {"/v1/chat/completions"}
    assert asked[0]["key"] == "Bearer secret"
    assert asked[0]["model"] == "wise"
    assert asked[0]["temperature"] == 0
    assert "What is 2 + 2?" in asked[0]["messages"][1]["content"]
    assert "<reference_answer>\nfour" in asked[0]["messages"][1]["content"]


def test_what_holds_no_verdict_is_counted_as_such(serve: Any) -> None:
    replies = iter(["no score", "Score: 11", "Score: 0", "Score: 3 at first, but then Score: 8"])
    url, _ = serve(lambda _text: (200, next(replies)))
    found = judge(url, concurrency=1).scores([Question(ASKED, "x")] * 4, lambda _: None)
    assert [verdict.outcome for verdict in found] == ["unparsable", "unparsable", "unparsable", "judged"]
    assert [verdict.value for verdict in found] == [None, None, None, 8.0]


def _side(text: str, wanted: str) -> str:
    """The letter under which an answer is shown."""
    return "A" if wanted in text.split("</answer_A>")[0].split("<answer_A>")[1] else "B"


def test_a_pair_is_won_only_when_both_orders_say_so(serve: Any) -> None:
    def reply(text: str) -> tuple[int, str]:
        if "blind" in text:
            return 200, "Verdict: A"
        if "mute" in text:
            return 200, "I cannot say."
        return 200, f"Verdict: {_side(text, 'best')}" if "best" in text else "Verdict: T"

    url, asked = serve(reply)
    questions = [
        Question(ASKED, "the best", base="poor"),
        Question(ASKED, "poor", base="the best"),
        Question(ASKED, "blind", base="also"),
        Question(ASKED, "equal", base="equal"),
        Question(ASKED, "mute", base="mute"),
    ]
    found = judge(url).preferences(questions, lambda _: None)
    assert [verdict.value for verdict in found] == [1.0, 0.0, 0.5, 0.5, None]
    assert found[-1].outcome == "unparsable"
    assert len(asked) == 10


def test_a_judge_that_is_gone_is_not_asked_for_ever(serve: Any) -> None:
    url, asked = serve(lambda _text: (500, {}))
    one = judge(url, concurrency=1)
    found = one.scores([Question(ASKED, "x")] * 50, lambda _: None)
    assert {verdict.outcome for verdict in found} == {"failed"}
    assert len(asked) == 2 * PATIENCE
    assert "answered 500 after 2 attempts" in one.failure


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (200, {"error": "no"}, "choices"),
        (200, {"choices": []}, "choices"),
        (302, "Score: 1", "not followed"),
        (401, "", "STUDIO_JUDGE_KEY"),
        (404, "", "answered 404"),
    ],
)
def test_what_is_no_judge_is_told_before_anything_is_written(serve: Any, status: int, content: Any, words: str) -> None:
    url, _ = serve(lambda _text: (status, content))
    with pytest.raises(StudioError, match=words):
        judge(url).probe()


def test_nobody_there_is_told() -> None:
    with pytest.raises(StudioError, match=r"--judge_url http://127\.0\.0\.1:9/v1: the judge could not be asked"):
        judge("http://127.0.0.1:9/v1").probe()


def test_the_key_does_not_go_to_a_host_that_the_page_names(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("STUDIO_JUDGE_KEY", "secret")
    monkeypatch.setenv("STUDIO_ROOTS", str(tmp_path))
    url, asked = serve(lambda _text: (200, "ready"))
    judge(url).probe()
    monkeypatch.setenv("STUDIO_JUDGE_HOST", "127.0.0.1")
    judge(url).probe()
    assert [each["key"] for each in asked] == [None, "Bearer secret"]


def test_replies_are_read_from_their_end() -> None:
    assert score_in("score：7/10") == 7
    assert score_in("**Score:** 9") == 9
    assert score_in("7") is None
    assert verdict_in("Verdict: **B**.") == "B"
    assert verdict_in("Verdict: Both") is None


def test_addresses() -> None:
    assert address("http://host/v1/") == "http://host/v1/chat/completions"
    assert address("http://host/v1/chat/completions") == "http://host/v1/chat/completions"
    assert url_complaint("https://api.example.com/v1") == ""
    assert "password" in url_complaint("https://me:pw@host/v1")
    assert "pw" not in url_complaint("https://me:pw@host/v1")
    assert "--judge_url ftp://x" in url_complaint("ftp://x")


def test_of_a_giant_reply_the_end_is_kept(serve: Any):
    url, _ = serve(lambda _: (200, "x" * 100_000 + "\nScore: 7"))
    (found,) = Judge(url, "m", 5, 0).scores([Question(ASKED, "4")], lambda _: None)
    assert found.value == 7 and len(found.said[0]) == 4000 and found.said[0].endswith("Score: 7")
    url, _ = serve(lambda _: (200, "x" * 100_000 + "\nVerdict: T"))
    (found,) = Judge(url, "m", 5, 0).preferences([Question(ASKED, "4", base="5")], lambda _: None)
    assert found.value == 0.5 and [len(said) for said in found.said] == [4000, 4000]


def test_the_path_of_completions_stands_before_what_is_asked_for():
    assert address("https://a.b/v1/?version=2") == "https://a.b/v1/chat/completions?version=2"


@pytest.mark.parametrize("name", ["key", "api-key", "api_key", "access_token", "sig"])
def test_a_key_behind_an_address_is_refused_and_not_repeated(name: str):
    told = url_complaint(f"https://a.b/v1?version=2&{name}=hunter2")
    assert f"{name}=…" in told and "STUDIO_JUDGE_KEY" in told and "hunter2" not in told
    assert url_complaint("https://a.b/v1?version=2") == ""


def test_a_reply_that_echoes_the_key_does_not_bring_it_into_what_is_kept(serve: Any, monkeypatch: pytest.MonkeyPatch):
    url, asked = serve(lambda _: (200, f"{asked[-1]['key']}\nScore: 7"))
    monkeypatch.setenv("STUDIO_JUDGE_KEY", "sk-hunter2")
    monkeypatch.delenv("STUDIO_JUDGE_HOST", raising=False)
    (found,) = Judge(url, "m", 5, 0).scores([Question(ASKED, "4")], lambda _: None)
    assert asked[-1]["key"] == "Bearer sk-hunter2"
    assert found.value == 7 and found.said == ("Bearer <key>\nScore: 7",)
