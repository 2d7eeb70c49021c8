import json
from typing import Any

import pytest
from pydantic import ValidationError

from studio.arguments.generation import GenerationArguments
from studio.serve.refusal import Refusal, refusal_of_fields
from studio.serve.schema import ChatRequest

ASK = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "weather", "description": "", "parameters": {"type": "object"}}}


def request(**fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [ASK], **fields})


def refused(body: Any) -> Refusal:
    """How the server would refuse a body."""
    with pytest.raises(ValidationError) as error:
        ChatRequest.model_validate(body)
    errors = [{**each, "loc": ("body", *each["loc"])} for each in error.value.errors()]
    return refusal_of_fields(errors)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": None}, "messages", "is missing"),
    ({"messages": "hello"}, "messages", "valid list"),
    ({"messages": [ASK] * 10_000}, "messages", "at most 2048"),
    ({"messages": [{"role": "root", "content": "x"}]}, "messages[0].role", "'user', 'assistant'"),
    ({"messages": [ASK, {"role": "user", "content": 5}]}, "messages[1].content", "must be a valid string; got 5"),
    ({"messages": [{"role": "user"}]}, "messages[0]", "content is missing"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content",
     "part 0 must be text; pictures, sound and files are not read"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content", "part 0 must be text"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content", "halves of characters"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]}, "messages[0]",
     "only in messages of the assistant"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{bad"}}]}]},
     "messages[0].tool_calls[0].function.arguments", "must be JSON text"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
     "messages[0].tool_calls[0].function.arguments", "the JSON text of an object"),
    ({"temperature": "hot"}, "temperature", "valid number; got 'hot'"),
    ({"temperature": 1e308}, "temperature", "less than or equal to 2"),
    ({"temperature": -1}, "temperature", "greater than or equal to 0"),
    ({"temperature": float("nan")}, "temperature", "finite"),
    ({"temperature": True}, "temperature", "not true or false"),
    ({"top_p": 2}, "top_p", "less than or equal to 1"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ({"max_completion_tokens": 2**63}, "max_completion_tokens", "less than or equal to"),
    ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
    ({"n": 1000}, "n", "less than or equal to 16"),
    ({"seed": 2**70}, "seed", "less than or equal to"),
    ({"stop": ["x"] * 1000}, "stop", "at most 16"),
    ({"stop": ""}, "stop", "must not hold an empty text"),
    ({"stop": [1]}, "stop[0]", "valid string"),
    ({"presence_penalty": 3}, "presence_penalty", "less than or equal to 2"),
    ({"stream": "yes"}, "stream", "valid boolean"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "is missing"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "'function'"),
    ({"tools": [{**TOOL, "function": {"name": "a b"}}]}, "tools[0].function.name", "letters, digits"),
    ({"tool_choice": "required"}, "tool_choice", "the model itself decides"),
    ({"tool_choice": {"type": "function"}}, "tool_choice", "the model itself decides"),
    ({"response_format": {"type": "json_object"}}, "response_format.type", "JSON cannot be promised"),
    ({"logprobs": True}, "logprobs", "is not supported"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "is not supported"),
    ({"functions": [{}]}, "functions", "use tools"),
    ({"modalities": ["text", "audio"]}, "modalities", "only text is written"),
    ({"modalities": 5}, "modalities", "only text is written"),
    ({"min_p": 0.1}, "min_p", "tokens are chosen by temperature"),
    ({"min_tokens": 5}, "min_tokens", "ends where the model ends it"),
    ({"ignore_eos": True}, "ignore_eos", "ends where the model ends it"),
    ({"guided_json": {}}, "guided_json", "the form of an answer cannot be promised"),
    ({"structured_outputs": {"json": {}}}, "structured_outputs", "the form of an answer cannot be promised"),
    ({"logits_processors": []}, "logits_processors", "can only be set where"),
    ({"repetition_penalty": 1e-30}, "repetition_penalty", "greater than or equal to 0.01"),
    ({"chat_template": "{{ x }}"}, "chat_template", "can only be set where the server is started"),
    ({"chat_template_kwargs": {"tools": 1}}, "chat_template_kwargs", "may hold enable_thinking"),
    ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking", "valid boolean"),
    ({"continue_final_message": True}, "continue_final_message", "goes with add_generation_prompt false"),
    ({"add_generation_prompt": False}, "continue_final_message", "goes with add_generation_prompt false"),
    ({"trust_remote_code": True}, "trust_remote_code", "can only be set where"),
    ({"lora_request": None}, "lora_request", "can only be set where"),
    ({"extra_body": {}}, "extra_body", "can only be set where"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "reason"), BAD, ids=lambda value: str(value)[:40])
def test_a_wrong_field_is_told_with_its_place(fields: dict[str, Any], param: str, reason: str) -> None:
    refusal = refused({"model": "m", "messages": [ASK], **fields})
    assert (refusal.status, refusal.param) == (400, param)
    assert reason in refusal.message
    assert refusal.body["error"]["type"] == "invalid_request_error"
    assert len(refusal.message) < 300


def test_a_schema_that_is_nested_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"properties": {"x": deep}}
    refusal = refused(
        {"model": "m", "messages": [ASK], "tools": [{**TOOL, "function": {"name": "f", "parameters": deep}}]}
    )
    assert "nested at most 64 deep" in refusal.message


def test_a_body_that_is_no_object_is_refused_whole() -> None:
    assert refused([1]).message.startswith("the body must be a JSON object")


def test_unknown_fields_and_nulls_ask_for_nothing() -> None:
    nothing = {
        "logprobs": False,
        "min_p": 0,
        "min_tokens": 0,
        "ignore_eos": False,
        "modalities": ["text"],
        "best_of": 1,
    }
    asked = request(user="me", metadata={}, temperature=None, stop=None, tools=None, n=None, **nothing)
    assert asked.asked(GenerationArguments()) == GenerationArguments()
    assert (asked.n, asked.stop, asked.offered) == (1, [], None)


def test_a_temperature_draws_and_zero_does_not() -> None:
    drawing, greedy = GenerationArguments(do_sample=True, temperature=0.3), GenerationArguments()
    assert request(temperature=0.7).asked(greedy) == GenerationArguments(do_sample=True, temperature=0.7)
    assert not request(temperature=0).asked(drawing).do_sample
    assert request(temperature=1e-30).asked(drawing) == drawing.model_copy(update={"do_sample": False})
    assert request(top_p=0.5).asked(greedy).do_sample
    assert request(top_k=5).asked(greedy) == GenerationArguments(do_sample=True, top_k=5)
    assert not request(top_k=5, temperature=0).asked(greedy).do_sample
    assert not request(top_k=0).asked(greedy).do_sample
    assert request().asked(drawing) == drawing


def test_the_newer_name_of_the_length_wins() -> None:
    assert request(max_tokens=5, max_completion_tokens=9).asked(GenerationArguments()).max_new_tokens == 9
    assert request(max_tokens=5).asked(GenerationArguments()).max_new_tokens == 5


def test_messages_become_what_templates_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    asked = request(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Rain "}, {"type": "text", "text": "today?"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "no"},
        ]
    )
    called = {**call, "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    assert asked.conversation == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain today?"},
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": "no", "name": "weather", "tool_call_id": "c1"},
    ]


def test_tools_are_offered_unless_none_may_be_called() -> None:
    assert request(tools=[TOOL]).offered == [TOOL]
    assert request(tools=[TOOL], tool_choice="auto").offered == [TOOL]
    assert request(tools=[TOOL], tool_choice="none").offered is None


def test_a_refusal_is_json() -> None:
    assert json.loads(bytes(Refusal(429, "later", retry=True).response.body)) == {
        "error": {"message": "later", "type": "rate_limit_error", "param": None, "code": None}
    }
