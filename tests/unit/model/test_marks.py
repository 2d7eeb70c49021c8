"""What each named template marks is what a model writes at inference, behind the prompt it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studio.data.example import Example
from studio.data.turns import Draft, drafts
from studio.errors import RowError
from studio.model.baking import bake
from studio.model.templates import GENERATION, NAMED, Template, named_templates
from tests.unit.model.talks import EVERY, PLAIN, TOOLS, Talk, answer, call, calling, result, system, user

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
# GLM-4 ends a call otherwise than an answer.
OTHER_ENDS = {"glm4": ("<|observation|>",)}


def template(name: str, enable_thinking: bool | None = None) -> Template:
    source = bake((NAMED / f"{name}.jinja").read_text(encoding="utf-8"), enable_thinking, "")
    return Template(name, source, "a test", bool(GENERATION.search(source)), enable_thinking)


def ends(by: Template) -> tuple[str, ...]:
    return (by.end(SPECIAL), *OTHER_ENDS.get(by.name, ()))


def learned(by: Template, talk: Talk) -> list[Draft] | None:
    """The texts of a conversation, or None when the template refuses it."""
    try:
        return drafts(Example(messages=tuple(talk)), by, SPECIAL, ends(by), whole=False, last_only=False)
    except RowError:
        return None


TEMPLATES = [*((name, None) for name in named_templates()), ("qwen3", True), ("qwen3", False)]
each_template = pytest.mark.parametrize(("name", "thinking"), TEMPLATES)


@each_template
def test_every_named_template_marks_and_ends_its_answers(name: str, thinking: bool | None) -> None:
    by = template(name, thinking)
    assert by.marked and by.end(SPECIAL)
    for title, talk in EVERY.items():
        made = learned(by, talk)
        assert made is not None or title not in PLAIN, title
        for draft in made or []:
            assert draft.spans, title
            for start, end in draft.spans:
                assert draft.text[start:end].rstrip().endswith(ends(by)), title


@each_template
def test_the_marks_agree_with_the_prompts(name: str, thinking: bool | None) -> None:
    """Without its marks the template is asked for the prompt of each answer: the same characters are left."""
    by = template(name, thinking)
    unmarked = replace(by, marked=False)
    for title, talk in EVERY.items():
        made = learned(by, talk)
        if made is not None:
            assert learned(unmarked, talk) == made, title


@each_template
def test_an_answer_stands_behind_the_prompt_that_inference_gives(name: str, thinking: bool | None) -> None:
    by = template(name, thinking)
    for title, talk in EVERY.items():
        if learned(by, talk) is None:
            continue
        for at in (at for at, message in enumerate(talk) if message["role"] == "assistant"):
            prompt = by.render(talk[:at], special=SPECIAL, add_generation_prompt=True)
            text, spans = by.render_marked(talk[: at + 1], special=SPECIAL)
            assert text.startswith(prompt), title
            assert (len(prompt), spans[-1][1]) == spans[-1], title


@each_template
def test_the_result_of_a_tool_is_never_learned(name: str, thinking: bool | None) -> None:
    by = template(name, thinking)
    talk = [
        system("Answer."),
        user("Now?"),
        calling(call("clock")),
        result("R1SULT"),
        calling(call("clock")),
        result("R2SULT"),
        answer("Noon."),
    ]
    made = learned(by, talk)
    if made is None:
        assert not by.shows_tools
        return
    for draft in made:
        assert not any("SULT" in draft.text[start:end] for start, end in draft.spans)
    assert "R1SULT" in made[-1].text and "R2SULT" in made[-1].text


@each_template
def test_a_tokenizer_without_a_begin_token_is_no_obstacle(name: str, thinking: bool | None) -> None:
    by = template(name, thinking)
    text = by.render(PLAIN["one turn"], special={"eos_token": "</s>"})
    assert text == by.render(PLAIN["one turn"], special={"bos_token": "", "eos_token": "</s>"})


@each_template
def test_tools_are_shown_or_the_row_is_refused(name: str, thinking: bool | None) -> None:
    by = template(name, thinking)
    if not by.shows_tools:
        return
    text = by.render([user("Now?")], special=SPECIAL, tools=TOOLS, add_generation_prompt=True)
    assert "get_weather" in text and "查询城市天气" in text and "clock" in text


def test_a_row_without_thinking_learns_the_empty_block_only_while_thinking_is_on() -> None:
    talk = [user("Who?"), answer("Me.")]
    for thinking in (None, True):
        (draft,) = learned(template("qwen3", thinking), talk) or []
        assert [draft.text[slice(*span)] for span in draft.spans] == ["<think>\n\n</think>\n\nMe.<|im_end|>"]
    (draft,) = learned(template("qwen3", False), talk) or []
    assert draft.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nMe.<|im_end|>\n")
    assert [draft.text[slice(*span)] for span in draft.spans] == ["Me.<|im_end|>"]


def test_thinking_is_learned_while_it_is_on_and_left_out_when_it_is_off() -> None:
    for talk in (
        [user("Who?"), answer("Me.", reasoning_content="Hm.")],
        [user("Who?"), answer("<think>\nHm.\n</think>\n\nMe.")],
    ):
        (draft,) = learned(template("qwen3"), talk) or []
        assert [draft.text[slice(*span)] for span in draft.spans] == ["<think>\nHm.\n</think>\n\nMe.<|im_end|>"]
        (draft,) = learned(template("qwen3", False), talk) or []
        assert [draft.text[slice(*span)] for span in draft.spans] == ["Me.<|im_end|>"]
        assert "Hm." not in draft.text


def test_history_without_its_thoughts_makes_each_answer_a_text_of_its_own() -> None:
    made = learned(template("qwen3"), EVERY["two thoughts"]) or []
    assert [[draft.text[slice(*span)] for span in draft.spans] for draft in made] == [
        ["<think>\n设兔x只。\n</think>\n\n鸡5只，兔3只。<|im_end|>"],
        ["<think>\n10 + 12\n</think>\n\n5·2 + 3·4 = 22.<|im_end|>"],
    ]
    assert "设兔x只" not in made[1].text and "鸡5只" in made[1].text


def test_thoughts_between_calls_stay_in_one_text() -> None:
    (draft,) = learned(template("qwen3"), EVERY["thoughts between calls"]) or []
    assert [draft.text[slice(*span)] for span in draft.spans] == [
        "<think>\nI need the clock.\n</think>\n\n"
        '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><|im_end|>',
        "<think>\n12:30 it says.\n</think>\n\nHalf past twelve.<|im_end|>",
    ]


def test_mistrals_earlier_answers_are_texts_of_their_own_where_a_system_message_moves() -> None:
    by = template("mistral")
    talk = [system("Brief."), user("a"), answer("b"), user("c"), answer("d")]
    first, second = learned(by, talk) or []
    assert first.text == "<s>[INST] Brief.\n\na[/INST] b</s>"
    assert second.text == "<s>[INST] a[/INST] b</s>[INST] Brief.\n\nc[/INST] d</s>"
    (whole,) = learned(by, talk[1:]) or []
    assert [whole.text[slice(*span)] for span in whole.spans] == [" b</s>", " d</s>"]
