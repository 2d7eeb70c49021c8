"""The older families look as they are published, and their marks hold exactly what the model writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.data.example import Example
from studio.data.render import View, render
from studio.data.turns import drafts
from studio.errors import ModelError, RowError
from studio.model.templates import Template, choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.model.toolcalls import parse_tool_calls
from studio.workspace import Workspace
from tests.unit.model.classic_goldens import DEEPSEEK, GOLDENS, PUBLISHED, QUESTIONS, ROUNDS, SPECIAL, TOLD, talk

NAMES = sorted(GOLDENS)
# Their history shows no end token, so each answer is a text of its own.
ONE_ANSWER_A_TEXT = {"baichuan", "baichuan2"}
WITHOUT_SYSTEM = {name for name, golden in GOLDENS.items() if not golden.told}
# What the model writes around an answer that is "answer".
WRITTEN = {
    "atom": " answer\n</s>",
    "belle": " answer</s>",
    "deepseek": " answer</s>",
    "internlm2": "answer<|im_end|>",
    "llama2": " answer </s>",
    "moss": " answer<eom>",
    "vicuna": " answer</s>",
    "yi": "answer<|im_end|>",
}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "二"}}}


@pytest.fixture
def tokenizer(tiny_chat_model: Path, tmp_path: Path) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path / "cache")


@pytest.fixture(params=NAMES)
def template(request: pytest.FixtureRequest, tokenizer: LightTokenizer, tmp_path: Path) -> Template:
    return choose_template(request.param, tokenizer, Workspace(tmp_path))[0]


@pytest.fixture
def internlm2(tokenizer: LightTokenizer, tmp_path: Path) -> Template:
    return choose_template("internlm2", tokenizer, Workspace(tmp_path))[0]


def special(template: Template) -> dict[str, str]:
    return dict(GOLDENS[template.name].special)


def test_a_conversation_looks_as_it_is_published(template: Template) -> None:
    golden = GOLDENS[template.name]
    assert template.render(ROUNDS, special=special(template)) == golden.rounds, golden.source


def test_the_prompt_ends_where_the_model_begins(template: Template) -> None:
    golden = GOLDENS[template.name]
    prompt = template.render(QUESTIONS, special=special(template), add_generation_prompt=True)
    assert prompt == golden.asked, golden.source


def test_a_system_message_stands_where_the_family_has_it(template: Template) -> None:
    golden = GOLDENS[template.name]
    if template.name in WITHOUT_SYSTEM:
        with pytest.raises(RowError, match=r"without system.*; got 'system'"):
            template.render(TOLD, special=special(template))
    else:
        assert template.render(TOLD, special=special(template)) == golden.told, golden.source


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_text_is_that_of_the_published_template(name: str, tokenizer: LightTokenizer, tmp_path: Path) -> None:
    template, _ = choose_template(name, tokenizer, Workspace(tmp_path))
    messages, text = PUBLISHED[name]
    assert template.render(messages, special=DEEPSEEK if name == "deepseek" else SPECIAL) == text


@pytest.mark.parametrize("messages", [ROUNDS, talk(*"1234", "5", "6")], ids=["chinese", "long"])
def test_marks_begin_where_the_prompt_ends(template: Template, messages: list[dict[str, Any]]) -> None:
    text, spans = template.render_marked(messages, special=special(template))
    assert template.marked
    assert text == template.render(messages, special=special(template))
    shown = spans if template.name not in ONE_ANSWER_A_TEXT else [*[None] * (len(messages) // 2 - 1), *spans]
    assert len(shown) == len(messages) // 2
    for at, span in zip(range(1, len(messages), 2), shown, strict=True):
        prompt = template.render(messages[:at], special=special(template), add_generation_prompt=True)
        assert text.startswith(prompt)
        assert text[len(prompt) :].lstrip(" ").startswith(messages[at]["content"])
        assert span is None or span[0] == len(prompt)


def test_a_mark_holds_the_answer_and_its_end(template: Template) -> None:
    text, spans = template.render_marked(talk("question", "answer"), special=SPECIAL)
    assert [text[start:end] for start, end in spans] == [WRITTEN.get(template.name, "answer</s>")]


def test_each_answer_of_baichuan_is_a_text_that_ends_with_it(tokenizer: LightTokenizer, tmp_path: Path) -> None:
    template, _ = choose_template("baichuan2", tokenizer, Workspace(tmp_path))
    made = drafts(Example(messages=ROUNDS), template, SPECIAL, ("</s>",), whole=False, last_only=False)
    assert [draft.text[start:end] for draft in made for start, end in draft.spans] == [
        ROUNDS[1]["content"] + "</s>",
        ROUNDS[3]["content"] + "</s>",
    ]
    assert made[1].text == GOLDENS["baichuan2"].rounds
    assert made[1].text.startswith(made[0].text.removesuffix("</s>"))


@pytest.mark.parametrize("messages", [talk("Who?", "Me.", "Why not?", "Ask them."), ROUNDS], ids=["english", "chinese"])
def test_tokens_that_bear_loss_are_the_answers_and_their_ends(
    template: Template, messages: list[dict[str, Any]], tokenizer: LightTokenizer
) -> None:
    (rows,) = render([Example(messages=messages)], tokenizer, template, View())
    assert not isinstance(rows, RowError)
    learned, wanted = "", ""
    for row in rows:
        kept = [id for id, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears]
        learned += tokenizer.fast.decode(kept, skip_special_tokens=False)
        wanted += "".join(row.text[start:end] for start, end in row.spans)
    assert len(rows) == (2 if template.name in ONE_ANSWER_A_TEXT else 1)
    if template.name == "empty":
        # Nothing stands between question and answer, so a token may reach over the border.
        assert wanted.endswith(learned[-5:])
    else:
        assert learned == wanted


def test_a_tokenizer_without_begin_token_gets_none(template: Template) -> None:
    with_it = template.render(ROUNDS, special={"bos_token": "<s>", "eos_token": "</s>"})
    without = template.render(ROUNDS, special={"eos_token": "</s>"})
    assert without == with_it.replace("<s>", "")
    assert "<s><s>" not in with_it


@pytest.mark.parametrize(
    ("message", "got"),
    [
        ({"role": "tool", "content": "1"}, "'tool'"),
        ({"role": "assistant", "content": "", "tool_calls": [CALL]}, "'assistant' with tool calls"),
        ({"role": "assistant", "content": "Me.", "reasoning_content": "Hm."}, "'assistant' with thinking"),
        ({"role": "system", "content": "Be brief."}, "'system'"),
    ],
)
def test_what_a_family_has_no_form_for_is_refused(template: Template, message: dict[str, Any], got: str) -> None:
    messages = [{"role": "user", "content": "Who?"}, message]
    has_form = {"yi": ["'system'"], "internlm2": ["'system'", "'tool'", "'assistant' with tool calls"]}
    if got in has_form.get(template.name, []):
        assert template.render(messages, special=SPECIAL)
        return
    with pytest.raises(RowError, match=rf"template '{template.name}' must be able .* refuses it.*; got {got}"):
        template.render(messages, special=SPECIAL)


@pytest.mark.parametrize("name", ["firefly", "llama2"])
def test_rounds_that_only_their_place_tells_must_take_turns(
    name: str, tokenizer: LightTokenizer, tmp_path: Path
) -> None:
    template, _ = choose_template(name, tokenizer, Workspace(tmp_path))
    for messages in ([talk("Who?")[0]] * 2, talk("Who?", "Me.")[1:]):
        with pytest.raises(RowError, match=r"in turn, .*; got '\w+' where '\w+' is due"):
            template.render(messages, special=SPECIAL)


def test_only_a_family_with_a_form_for_tools_shows_them(template: Template) -> None:
    assert template.shows_tools == (template.name == "internlm2")


def test_internlm2_shows_tools_calls_and_results(internlm2: Template) -> None:
    # chat/chat_format.md of InternLM/InternLM@1182cbbb; one line of JSON as lmdeploy/model.py writes it.
    function = {"name": "add", "description": "加", "parameters": {"type": "object"}}
    messages = [
        *talk("3+4?", system="Count."),
        {"role": "assistant", "content": "I add.", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"sum": 7}'},
        {"role": "assistant", "content": "7"},
    ]
    text, spans = internlm2.render_marked(messages, special=SPECIAL, tools=[{"type": "function", "function": function}])
    assert text == (
        "<s><|im_start|>system\nCount.<|im_end|>\n<|im_start|>system name=<|plugin|>\n"
        '[{"name": "add", "description": "加", "parameters": {"type": "object"}}]<|im_end|>\n'
        "<|im_start|>user\n3+4?<|im_end|>\n<|im_start|>assistant\nI add.<|action_start|><|plugin|>\n"
        '{"name": "add", "parameters": {"a": 1, "b": "二"}}<|action_end|><|im_end|>\n'
        '<|im_start|>environment name=<|plugin|>\n{"sum": 7}<|im_end|>\n<|im_start|>assistant\n7<|im_end|>\n'
    )
    assert [text[start:end] for start, end in spans] == [
        'I add.<|action_start|><|plugin|>\n{"name": "add", "parameters": {"a": 1, "b": "二"}}<|action_end|><|im_end|>',
        "7<|im_end|>",
    ]
    bare = internlm2.render(messages[1:], special=SPECIAL, tools=[function], add_generation_prompt=True)
    assert bare.startswith('<s><|im_start|>system name=<|plugin|>\n[{"name": "add"')


def test_internlm2s_calls_are_found_again(internlm2: Template) -> None:
    messages = [*talk("3+4?"), {"role": "assistant", "content": "I add.", "tool_calls": [CALL, CALL]}]
    text, spans = internlm2.render_marked(messages, special=SPECIAL)
    answer = text[slice(*spans[-1])].removesuffix("<|im_end|>")
    assert parse_tool_calls(answer) == ("I add.", [CALL["function"], CALL["function"]])


def test_a_default_system_prompt_needs_a_form_for_it(
    template: Template, tokenizer: LightTokenizer, tmp_path: Path
) -> None:
    system = TOLD[0]["content"]
    if template.name in WITHOUT_SYSTEM:
        with pytest.raises(ModelError, match="default_system must go with a chat template that shows system messages"):
            choose_template(template.name, tokenizer, Workspace(tmp_path), default_system=system)
        return
    told, _ = choose_template(template.name, tokenizer, Workspace(tmp_path), default_system=system)
    assert told.render(TOLD[1:], special=special(template)) == GOLDENS[template.name].told


def test_the_end_of_an_answer_is_the_familys(template: Template) -> None:
    ends = {"yi": "<|im_end|>", "internlm2": "<|im_end|>", "moss": "<eom>"}
    assert template.end(SPECIAL) == ends.get(template.name, "</s>")


def test_transformers_renders_the_same_text(template: Template, tiny_chat_model: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_chat_model)
    text = theirs.apply_chat_template(ROUNDS, chat_template=template.jinja, tokenize=False)
    assert text == template.render(ROUNDS, special={"eos_token": theirs.eos_token})
