"""The openai client against a server of its own, on a model whose answers are known."""

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from studio.workspace import Workspace
from tests.flow.parrot import CALL, SEES, SONG, write_parrot
from tests.flow.serving import Server

KEY = "correct-horse-battery"
ASK: list[dict[str, Any]] = [{"role": "user", "content": "canary, please"}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
FAST, WAITING = 8, 2


@pytest.fixture(scope="module")
def parrots(place: Workspace, tiny_tokenizer_folder: Path) -> Workspace:
    write_parrot(place.models / "parrot", tiny_tokenizer_folder)
    return place


@pytest.fixture(scope="module")
def server(parrots: Workspace) -> Iterator[Server]:
    limits = ("--max_concurrent", str(FAST), "--max_waiting", str(WAITING))
    running = Server(parrots, "--model_name_or_path", "models/parrot", "--port", "0", *limits)
    assert running.url, "".join(running.log)
    yield running
    assert running.finished(signal.SIGTERM) == 0
    log = "".join(running.log)
    assert "canary" not in log
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return server.client()


def song(tokens: int) -> str:
    """What the model sings in so many tokens."""
    return "".join(SONG[number % len(SONG)] for number in range(tokens))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_the_server_says_one_line_when_it_is_ready(server: Server) -> None:
    assert server.line == f"parrot answers at {server.url}\n"
    assert server.url.startswith("http://127.0.0.1:")


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["parrot"]
    assert client.models.retrieve("parrot").owned_by == "studio"


def test_a_plain_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="parrot", messages=ASK, max_tokens=12)
    (choice,) = answer.choices
    assert choice.message.content == song(12)
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_a_streamed_answer_comes_in_pieces_and_ends_with_its_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="parrot", messages=ASK, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == song(12)
    assert sum(map(bool, texts)) > 6
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


def test_a_stop_string_ends_an_answer_streamed_or_not(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "parrot", "messages": ASK, "max_tokens": 60, "stop": ["read s", "nothing"]}
    whole = client.chat.completions.create(**asked).choices[0]
    assert (whole.message.content, whole.finish_reason) == (" river京 b", "stop")
    streamed = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == " river京 b"


def test_a_seed_gives_the_same_answer_again(client: openai.OpenAI) -> None:
    def drawn(seed: int | None) -> str | None:
        found = client.chat.completions.create(model="parrot", messages=ASK, max_tokens=30, temperature=1, seed=seed)
        return found.choices[0].message.content

    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in (3, 4, None, None)}) == 4
    assert drawn(3) != song(30)


def test_several_choices_streamed_and_not(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "parrot", "messages": ASK, "max_tokens": 20, "temperature": 1, "seed": 1, "n": 3}
    whole = client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_tools_are_called_and_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="parrot", messages=ASK, tools=TOOLS)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == SEES
    (call,) = choice.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Oslo"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    again = [*ASK, choice.message.model_dump(exclude_none=True), result]
    assert client.chat.completions.create(model="parrot", messages=again, max_tokens=2).choices[0].message.content


def test_calls_of_tools_are_streamed(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="parrot", messages=ASK, tools=TOOLS, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SEES
    assert [(call.index, call.function.name) for call in calls] == [(0, "weather")]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_tools_that_may_not_be_called_are_not_shown(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="parrot", messages=ASK, tools=TOOLS, tool_choice="none", max_tokens=4)
    assert answer.choices[0].message.content == song(4)
    assert CALL not in song(4)


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_those_of_openai_streamed_or_not(client: openai.OpenAI, stream: bool) -> None:
    def refused(**asked: Any) -> dict[str, Any]:
        with pytest.raises(openai.APIStatusError) as error:
            client.chat.completions.create(**{"model": "parrot", "messages": ASK, "stream": stream, **asked})
        body = error.value.body
        assert isinstance(body, dict)
        return {**body, "status": error.value.status_code}

    assert refused(messages=[])["param"] == "messages"
    assert refused(messages=[{"role": "root", "content": "x"}])["param"] == "messages[0].role"
    assert refused(top_p=2)["param"] == "top_p"
    assert refused(logprobs=True)["param"] == "logprobs"
    assert refused(extra_body={"chat_template": "x"})["param"] == "chat_template"
    unknown = refused(model="gpt-5")
    assert (unknown["status"], unknown["code"]) == (404, "model_not_found")
    long = refused(messages=[{"role": "user", "content": "7" * 600}])
    assert (long["status"], long["code"]) == (400, "context_length_exceeded")
    assert "512 tokens; this one has 6" in long["message"]


def test_eight_at_once_are_answered_together(client: openai.OpenAI) -> None:
    def ask(number: int) -> str | None:
        answer = client.chat.completions.create(model="parrot", messages=ASK, max_tokens=20 + number)
        return answer.choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [song(20 + number) for number in range(8)]


def test_a_client_that_leaves_stops_its_answer(server: Server, client: openai.OpenAI) -> None:
    def opened() -> Any:
        return client.chat.completions.create(model="parrot", messages=ASK, max_tokens=450, stream=True)

    before = len(server.log)
    with contextlib.ExitStack() as leaving:
        for _ in range(FAST + WAITING):
            leaving.enter_context(contextlib.closing(opened()))
        with pytest.raises(openai.RateLimitError) as busy:
            opened()
        assert busy.value.response.headers["retry-after"] == "1"
    until(lambda: sum("tokens" in line for line in server.log[before:]) == FAST + WAITING)
    assert all(" + 450 tokens" not in line for line in server.log[before:])
    # All places are free again.
    answer = client.chat.completions.create(model="parrot", messages=ASK, max_tokens=3, n=FAST + WAITING)
    assert len(answer.choices) == FAST + WAITING


def test_a_client_that_leaves_before_an_answer_that_is_not_streamed_stops_it_too(server: Server) -> None:
    before = len(server.log)
    host = server.url.removeprefix("http://").removesuffix("/v1")
    connection = http.client.HTTPConnection(host)
    body = json.dumps({"model": "parrot", "messages": ASK, "max_tokens": 450})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    connection.close()
    until(lambda: any("tokens" in line for line in server.log[before:]))
    assert " + 450 tokens" not in server.log[-1]


def raw(server: Server, text: bytes) -> bytes:
    """What the server answers to these bytes."""
    host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(text)
        answer = connection.recv(65536)
    return answer.split(b"\r\n", 1)[0]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", b"403"),
        (b"GET /health HTTP/1.0\r\n\r\n", b"421"),
        (b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET //health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n", b"413"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_hostile_requests_get_a_status_and_nothing_else(server: Server, text: bytes, status: bytes) -> None:
    assert raw(server, text).split(b" ")[1] == status


def refused_start(place: Workspace, *words: str, **environment: str) -> tuple[int, str]:
    server = Server(place, "--model_name_or_path", "models/parrot", *words, **environment)
    assert server.line == ""
    return server.finished(), "".join(server.log)


def test_what_cannot_be_served_is_refused_before_anything_is_loaded(parrots: Workspace) -> None:
    code, said = refused_start(parrots, "--host", "0.0.0.0")
    assert code == 2
    assert "Set STUDIO_API_KEY" in said
    code, said = refused_start(parrots, STUDIO_API_KEY="EMPTY")
    assert code == 2
    assert "STUDIO_API_KEY must be a key that nobody guesses" in said
    code, said = refused_start(parrots, "--infer_backend", "vllm")
    assert code == 2
    assert "the package vllm is not installed" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused_start(parrots, "--port", str(port))
    assert code == 3
    assert f"port {port} of 127.0.0.1 is in use" in said


@pytest.mark.slow
def test_with_a_key_only_those_who_have_it_are_served_and_ctrl_c_ends_with_answers_open(parrots: Workspace) -> None:
    words = ("--model_name_or_path", "models/parrot", "--served_model_name", "bird,parrot", "--root_path", "/proxy")
    server = Server(parrots, *words, "--host", "0.0.0.0", "--port", "0", STUDIO_API_KEY=KEY)
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    for key in ("none", "EMPTY", KEY[:-1]):
        with pytest.raises(openai.AuthenticationError):
            server.client(key).models.list()
    client = server.client(KEY)
    assert [model.id for model in client.models.list()] == ["bird", "parrot"]
    behind = server.url.replace("/v1", "/proxy/v1")
    assert openai.OpenAI(base_url=behind, api_key=KEY, max_retries=0).models.list().data[0].id == "bird"
    stream = client.chat.completions.create(model="bird", messages=ASK, max_tokens=450, stream=True)
    next(iter(stream))
    server.process.send_signal(signal.SIGINT)
    with pytest.raises(openai.APIError, match="let go"):
        list(stream)
    assert server.finished() == 0
    assert KEY not in "".join(server.log)
