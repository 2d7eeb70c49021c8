import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
import uvicorn

from studio.arguments.generation import GenerationArguments
from studio.errors import MemoryFullError, RowError, StudioError, UsageError, WorkspaceError
from studio.model.answer import BusyError, EndedError, TooLongError
from studio.model.prompting import Prompter
from studio.serve.server import Server, Service, bind, make_app
from tests.unit.serve.scripted import ScriptedEngine

ASK = [{"role": "user", "content": "canary-prompt"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


class Client:
    """Asks an application without a network."""

    def __init__(self, engine: ScriptedEngine, *, shows_tools: bool = True, prompter: Prompter | None = None) -> None:
        self.said: list[str] = []
        asked, names = GenerationArguments(max_new_tokens=99), ["tiny", "other"]
        service = Service(engine, names, asked, shows_tools, ("<s>",), self.said.append, 5, prompter)
        self.app = make_app(service)

    def ask(self, **body: Any) -> httpx.Response:
        return self.send("POST", "/v1/chat/completions", json={"model": "tiny", "messages": ASK, **body})

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def request() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **more)

        return asyncio.run(request())

    def events(self, **body: Any) -> list[dict[str, Any]]:
        answer = self.ask(stream=True, **body)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        return [json.loads(line) for line in lines if line != "[DONE]"] + [{}] * (lines[-1] == "[DONE]")


def deltas(events: list[dict[str, Any]], index: int = 0) -> dict[str, str]:
    """What the deltas of one choice add up to."""
    found: dict[str, str] = {}
    for event in events:
        for choice in event.get("choices", []):
            if choice["index"] == index:
                for name, text in choice["delta"].items():
                    found[name] = found.get(name, "") + text if isinstance(text, str) else text
    return found


def test_an_answer_has_openais_form() -> None:
    body = Client(ScriptedEngine("The answer.")).ask().json()
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 1_700_000_000
    assert body == {
        "object": "chat.completion",
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The answer."},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
    }


def test_a_stream_adds_up_to_the_same() -> None:
    events = Client(ScriptedEngine("The answer.")).events(stream_options={"include_usage": True})
    assert deltas(events) == {"role": "assistant", "content": "The answer."}
    assert [choice["finish_reason"] for event in events for choice in event.get("choices", [])][-1] == "stop"
    assert {event["object"] for event in events[:-1]} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events[:-1]}) == 1
    assert events[-2]["choices"] == []
    assert events[-2]["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-1] == {}
    assert all("usage" not in event for event in Client(ScriptedEngine("x")).events())


def test_several_choices_are_several_answers_streamed_or_not() -> None:
    engine = ScriptedEngine("first", "second")
    client = Client(engine)
    whole = client.ask(n=2, seed=5).json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["first", "second"]
    assert [each["seed"] for each in engine.asked] == [5, 6]
    assert whole["usage"]["prompt_tokens"] == 7
    events = client.events(n=2)
    assert [deltas(events, index)["content"] for index in (0, 1)] == ["first", "second"]


def test_more_choices_than_can_ever_be_answered_at_once_are_refused_for_good() -> None:
    engine = ScriptedEngine("x")
    engine.most = 3
    client = Client(engine)
    refused = client.ask(n=4)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
    assert "at most 3 here" in refused.json()["error"]["message"]
    assert not engine.asked
    assert client.ask(n=3).status_code == 200


def test_a_server_that_is_told_to_end_before_it_listens_ends() -> None:
    ready: list[bool] = []
    taken = bind("127.0.0.1", 0)
    config = uvicorn.Config(Client(ScriptedEngine("x")).app, lifespan="off", log_config=None)
    server = Server(config, ScriptedEngine("x"), lambda: ready.append(True))
    server.told_to_end()
    asyncio.run(asyncio.wait_for(server.serve(sockets=[taken]), 10))
    assert not ready
    taken.close()


def test_what_the_request_says_reaches_the_engine() -> None:
    engine = ScriptedEngine("x")
    Client(engine).ask(temperature=0.5, top_p=0.9, stop=["\n"], max_tokens=5, presence_penalty=1, tools=[TOOL])
    asked = engine.asked[0]
    assert asked["messages"] == ASK
    assert (asked["stop"], asked["tools"], asked["seed"]) == (("\n",), [TOOL], None)
    assert asked["asked"] == GenerationArguments(
        do_sample=True, temperature=0.5, top_p=0.9, max_new_tokens=5, presence_penalty=1
    )


def test_calls_of_tools_are_told_as_such_streamed_or_not() -> None:
    client = Client(ScriptedEngine(f"I look. {CALL}"))
    choice = client.ask(tools=[TOOL]).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    function = choice["message"]["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("weather", {"city": "Oslo"})
    events = client.events(tools=[TOOL])
    assert deltas(events)["tool_calls"][0]["function"] == function
    assert deltas(events)["content"] == "I look."
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_message_that_is_only_a_call_has_no_content() -> None:
    message = Client(ScriptedEngine(CALL)).ask(tools=[TOOL]).json()["choices"][0]["message"]
    assert message["content"] is None


def test_one_call_is_told_where_only_one_was_asked_for() -> None:
    client = Client(ScriptedEngine(CALL + CALL))
    assert len(client.ask(tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"]) == 2
    asked = {"tools": [TOOL], "parallel_tool_calls": False}
    assert len(client.ask(**asked).json()["choices"][0]["message"]["tool_calls"]) == 1
    calls = [
        choice["delta"].get("tool_calls") for event in client.events(**asked) for choice in event.get("choices", [])
    ]
    assert len([call for call in calls if call]) == 1


def test_without_tools_what_looks_like_a_call_is_text() -> None:
    message = Client(ScriptedEngine(CALL)).ask(tools=[TOOL], tool_choice="none").json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": CALL}


def test_thinking_stands_apart() -> None:
    client = Client(ScriptedEngine("<think>hm</think>\nYes."))
    message = client.ask().json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}
    assert deltas(client.events()) == {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}


def test_thinking_that_the_prompt_opened_stands_apart_too() -> None:
    engine = ScriptedEngine("hm</think>Yes.")
    engine.prompt = "<|im_start|>assistant\n<think>\n"
    assert Client(engine).ask().json()["choices"][0]["message"]["reasoning_content"] == "hm"


REFUSED: list[tuple[StudioError, int, str, str]] = [
    (TooLongError(9032, 8192), 400, "context_length_exceeded", "context of 8192 tokens; this one has 9,032"),
    (RowError("the template refuses it: roles must alternate"), 400, "invalid_value", "roles must alternate."),
    (BusyError("40 requests wait already."), 429, "queue_full", "40 requests wait"),
    (EndedError("the model has been let go."), 503, "shutting_down", "let go"),
    (MemoryFullError("memory ran out."), 500, "engine_failed", "memory ran out"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "code", "text"), REFUSED, ids=lambda value: type(value).__name__)
def test_what_the_engine_refuses_is_told_in_openais_form_streamed_or_not(
    error: StudioError, status: int, code: str, text: str, stream: bool
) -> None:
    answer = Client(ScriptedEngine("x", error=error)).ask(stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert text in answer.json()["error"]["message"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_a_failure_in_the_middle_is_the_last_event_of_a_stream() -> None:
    broken = StudioError("the model failed while answering: kernel.")
    client = Client(ScriptedEngine("begun", breaks=broken))
    events = client.events()
    assert deltas(events)["content"] == "begun"
    assert events[-1]["error"]["message"] == str(broken)
    assert client.ask().status_code == 500


def test_an_unknown_model_is_404() -> None:
    answer = Client(ScriptedEngine("x")).ask(model="gpt-5")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "the model 'gpt-5' is not served here; tiny, other is.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_tools_that_the_template_cannot_show_are_refused() -> None:
    client = Client(ScriptedEngine("x"), shows_tools=False)
    assert client.ask(tools=[TOOL]).json()["error"]["param"] == "tools"
    assert client.ask(tools=[TOOL], tool_choice="none").status_code == 200


BODIES: list[tuple[bytes, dict[str, str], str]] = [
    (b"{bad", {"content-type": "application/json"}, "must be JSON"),
    (b"", {"content-type": "application/json"}, "must be a JSON object"),
    (b"[" * 100_000, {"content-type": "application/json"}, "error parsing"),
    (b"[1]", {"content-type": "application/json"}, "must be a JSON object"),
    (b'{"model": "tiny", "messages": []}', {"content-type": "text/plain"}, "sent as application/json"),
    (b"model=tiny", {"content-type": "application/x-www-form-urlencoded"}, "must be"),
    (b"\xff\xfe\x00", {"content-type": "application/json"}, "error parsing"),
]


@pytest.mark.parametrize(("body", "headers", "text"), BODIES, ids=lambda value: str(value)[:30])
def test_a_body_that_cannot_be_read_is_told(body: bytes, headers: dict[str, str], text: str) -> None:
    answer = Client(ScriptedEngine("x")).send("POST", "/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_the_models_are_listed_and_each_can_be_looked_up() -> None:
    client = Client(ScriptedEngine("x"))
    listed = client.send("GET", "/v1/models").json()
    assert [card["id"] for card in listed["data"]] == ["tiny", "other"]
    assert client.send("GET", "/v1/models/other").json() == listed["data"][1]
    assert client.send("GET", "/v1/models/none").status_code == 404


def test_health_follows_the_engine() -> None:
    engine = ScriptedEngine("x")
    client = Client(engine)
    assert client.send("GET", "/health").status_code == 200
    engine.stop()
    assert client.send("GET", "/health").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("DELETE", "/v1/models", 405), ("GET", "/docs", 404)]
)
def test_other_paths_and_methods_are_refused_in_the_same_form(method: str, path: str, status: int) -> None:
    answer = Client(ScriptedEngine("x")).send(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_each_request_is_told_by_its_sizes_and_never_by_its_words() -> None:
    client = Client(ScriptedEngine("canary-answer"))
    client.ask()
    client.events()
    assert len(client.said) == 2
    assert "7 + 5 tokens" in client.said[0]
    assert "canary" not in " ".join(client.said)


def test_a_port_is_held_from_the_beginning_and_one_in_use_is_told() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WorkspaceError, match=f"port {port} of 127.0.0.1 is in use"):
            bind("127.0.0.1", port)
    with bind("127.0.0.1", port):
        pass


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--host 203\.0\.113\.7"):
        bind("203.0.113.7", 0)
    with pytest.raises(UsageError, match="no address of this machine"):
        bind("no-such-host.invalid", 0)


def test_the_newer_protocol_can_be_bound_where_there_is_one() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        with bind("::1", 0) as taken:
            assert taken.family == socket.AF_INET6
    except UsageError:
        pytest.skip("no IPv6 here")
