from pathlib import Path
from typing import Any

import pytest

from studio.model.answer import Prompt
from studio.model.prompting import Prompter
from studio.model.templates import choose_template
from studio.model.tokenizer import open_tokenizer
from studio.serve.prompt import is_plain, prompt_of, shown, texts_of
from studio.serve.refusal import Refusal
from studio.serve.schema import ChatRequest
from studio.workspace import Workspace
from tests.unit.serve.scripted import ScriptedEngine
from tests.unit.serve.test_server import Client

ASK = {"role": "user", "content": "Say 京"}
GO_ON = {"add_generation_prompt": False, "continue_final_message": True}


@pytest.fixture(scope="module")
def prompter(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Prompter:
    """A template that knows about thinking, on a tiny vocabulary."""
    place = Workspace(tmp_path_factory.mktemp("place"))
    tokenizer = open_tokenizer(tiny_chat_model, place.cache)
    return Prompter(tokenizer, choose_template("qwen3", tokenizer, place)[0], 512)


def body(*messages: dict[str, Any], **more: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "tiny", "messages": messages, **more})


def test_a_cut_answer_follows_the_prompt_that_it_began_with(prompter: Prompter) -> None:
    begun, _ = prompt_of(prompter, body(ASK))
    cut = {"role": "assistant", "content": "京 京 and"}
    prompt, inside = prompt_of(prompter, body(ASK, cut, **GO_ON))
    assert prompt == Prompt(begun.text + "京 京 and", continues=True)
    assert not inside


def test_thinking_that_was_cut_goes_on_inside_and_an_answer_behind_it_outside(prompter: Prompter) -> None:
    begun, _ = prompt_of(prompter, body(ASK))
    cut = {"role": "assistant", "content": "", "reasoning_content": "hm, so"}
    prompt, inside = prompt_of(prompter, body(ASK, cut, **GO_ON))
    assert prompt.text == begun.text + "<think>\nhm, so"
    assert inside
    prompt, inside = prompt_of(prompter, body(ASK, {**cut, "content": "It"}, **GO_ON))
    assert prompt.text == begun.text + "<think>\nhm, so\n</think>\n\nIt"
    assert not inside


def test_only_an_answer_without_calls_goes_on(prompter: Prompter) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for last in (ASK, {"role": "assistant", "tool_calls": [call]}):
        with pytest.raises(Refusal, match="must be an answer without calls"):
            prompt_of(prompter, body(ASK, last, **GO_ON))


def test_thinking_is_switched_for_one_request(prompter: Prompter, tiny_chat_model: Path, tmp_path: Path) -> None:
    off = body(ASK, chat_template_kwargs={"enable_thinking": False})
    assert not is_plain(off)
    assert prompt_of(prompter, off)[0].text.endswith("<think>\n\n</think>\n\n")
    assert "<think>" not in prompt_of(prompter, body(ASK))[0].text
    place = Workspace(tmp_path)
    bare = Prompter(prompter.tokenizer, choose_template("chatml", prompter.tokenizer, place)[0], 512)
    with pytest.raises(Refusal, match="no switch for thinking"):
        prompt_of(bare, off)


def test_a_prompt_is_shown_with_its_tokens(prompter: Prompter) -> None:
    told = shown(prompter, body(ASK))
    assert told["prompt"] == prompt_of(prompter, body(ASK))[0].text
    assert told["count"] == len(told["token_ids"]) == len(told["texts"])
    assert told["context"] == 512
    assert told["texts"][0] == "<|im_start|>"


def test_the_server_shows_prompts_and_goes_on(prompter: Prompter) -> None:
    engine = ScriptedEngine(" then this.")
    client = Client(engine, prompter=prompter)
    told = client.send("POST", "/v1/prompt", json={"model": "tiny", "messages": [ASK]}).json()
    assert "Say 京" in told["prompt"]
    cut = {"role": "assistant", "content": "First"}
    answer = client.ask(messages=[ASK, cut], **GO_ON).json()
    assert answer["choices"][0]["message"]["content"] == " then this."
    assert engine.asked[0]["messages"] == Prompt(told["prompt"] + "First", continues=True)
    refused = client.send("POST", "/v1/prompt", json={"model": "else", "messages": [ASK]})
    assert refused.json()["error"]["code"] == "model_not_found"


def test_thinking_that_goes_on_is_told_as_thinking(prompter: Prompter) -> None:
    client = Client(ScriptedEngine(" more</think>\n\nYes."), prompter=prompter)
    cut = {"role": "assistant", "content": "", "reasoning_content": "hm"}
    message = client.ask(messages=[ASK, cut], **GO_ON).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": " more"}


def test_a_character_made_of_several_tokens_is_shown_once() -> None:
    assert texts_of("a京 b", [(0, 1), (1, 2), (1, 2), (1, 2), (2, 4)]) == ["a", "京", "", "", " b"]
