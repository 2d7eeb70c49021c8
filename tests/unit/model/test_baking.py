"""What is asked of a template travels in its source, and reads as if it had been said each time."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from studio.errors import ModelError
from studio.model.baking import bake, baked_thinking
from studio.model.sandbox import compiled, names_read
from studio.model.templates import NAMED, choose_template, named_templates
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TALK = [{"role": "user", "content": "Who?"}]
ANSWERED = [*TALK, {"role": "assistant", "content": "Me."}]
SYSTEM = [{"role": "system", "content": "Be kind."}]


def published() -> list[Path]:
    found = importlib.util.find_spec("trl")
    assert found is not None and found.origin is not None
    return sorted((Path(found.origin).parent / "chat_templates").glob("*.jinja"))


ALL = [*published(), *sorted(NAMED.glob("*.jinja"))]


def render(source: str, messages: list[dict[str, Any]], **told: Any) -> str:
    """The text, or what the template says when it refuses."""
    try:
        return compiled(source, marks=False).render(messages=messages, tools=None, **SPECIAL, **told)
    except (jinja2.TemplateError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
@pytest.mark.parametrize("thinking", [True, False])
def test_baked_thinking_is_said_thinking(path: Path, thinking: bool) -> None:
    source = path.read_text(encoding="utf-8")
    baked = bake(source, thinking, "")
    for messages, prompt in ((TALK, True), (ANSWERED, False)):
        said = render(source, messages, enable_thinking=thinking, add_generation_prompt=prompt)
        assert render(baked, messages, add_generation_prompt=prompt) == said
        other = render(source, messages, enable_thinking=not thinking, add_generation_prompt=prompt)
        assert render(baked, messages, enable_thinking=not thinking, add_generation_prompt=prompt) == other
    assert "enable_thinking" in names_read(baked), "a caller may still say otherwise"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_baked_system_message_is_a_message_where_there_is_none(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    baked = bake(source, None, "Be kind.")
    for prompt in (True, False):
        said = render(source, SYSTEM + TALK, add_generation_prompt=prompt)
        assert render(baked, TALK, add_generation_prompt=prompt) == said
        own = [{"role": "system", "content": "Be strict."}, *TALK]
        assert render(baked, own, add_generation_prompt=prompt) == render(source, own, add_generation_prompt=prompt)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example('"quotes" \\n \\u4f60 {{ braces }} {% endif %} {# #} \r\n\t你好😀\x00')
def test_any_text_may_be_the_system_message(text: str) -> None:
    source = "{{ messages[0].content }}"
    assert render(bake(source, None, text), TALK) == text


@pytest.mark.parametrize("source", ["\n\nabc", "  {{ 1 }}", "{%- set a = 1 -%}\nabc", "abc", "{# note #}\n x"])
def test_what_stands_in_front_changes_nothing_else(source: str) -> None:
    assert render(bake(source, True, "Be kind."), TALK) == render(source, TALK)


def test_the_newest_wish_wins() -> None:
    source = "{{ enable_thinking }} {{ messages[0].content }}"
    once = bake(source, False, "old")
    assert baked_thinking(once) is False and baked_thinking(source) is None
    twice = bake(once, True, "new")
    assert render(twice, TALK) == "True new" and baked_thinking(twice) is True
    assert baked_thinking(bake(once, None, "new")) is False
    assert bake(source, None, "") == source


@pytest.fixture
def chat(tiny_chat_model: Path, tmp_path: Path) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path / "cache")


def test_what_was_trained_is_what_the_exported_template_writes(
    chat: LightTokenizer, tiny_chat_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    place = Workspace(tmp_path)
    trained, notes = choose_template("qwen3", chat, place, enable_thinking=False, default_system="Be kind.")
    assert trained.enable_thinking is False
    assert any("answers are learned without thinking" in note for note in notes)
    expected = (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert trained.render(TALK, special=chat.special, add_generation_prompt=True) == expected
    exported = tmp_path / "exported"
    shutil.copytree(tiny_chat_model, exported)
    (exported / "chat_template.jinja").write_text(trained.jinja, encoding="utf-8")
    again, _ = choose_template("", open_tokenizer(exported, tmp_path / "cache"), place)
    assert again.jinja == trained.jinja and again.enable_thinking is False and again.marked
    theirs = AutoTokenizer.from_pretrained(exported)
    assert theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True) == expected
    asked: Any = theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert asked.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("thinking", [True, False])
def test_thinking_asked_of_a_template_that_does_not_read_it_is_refused(
    thinking: bool, chat: LightTokenizer, tmp_path: Path
) -> None:
    for asked in ("", "chatml"):
        with pytest.raises(ModelError, match=r"enable_thinking must go with .* set template to one that does: .*qwen3"):
            choose_template(asked, chat, Workspace(tmp_path), enable_thinking=thinking)


def test_a_system_message_for_a_template_without_one_is_refused(chat: LightTokenizer, tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    with pytest.raises(ModelError, match=r"default_system must go with .* gemma does not: .*its form has no system"):
        choose_template("gemma", chat, place, default_system="Be kind.")
    (tmp_path / "deaf.jinja").write_text("{{ messages[-1].content }}<|im_end|>", encoding="utf-8")
    with pytest.raises(ModelError, match="it leaves the message out"):
        choose_template("deaf.jinja", chat, place, default_system="Be kind.")


def test_the_models_own_template_takes_a_system_message(chat: LightTokenizer, tmp_path: Path) -> None:
    own, _ = choose_template("", chat, Workspace(tmp_path), default_system='说"你好"\n')
    assert own.render(TALK, special=chat.special).startswith('<|im_start|>system\n说"你好"\n<|im_end|>\n')


def test_every_named_template_that_shows_system_messages_takes_a_default(chat: LightTokenizer, tmp_path: Path) -> None:
    refused = set()
    for name in named_templates():
        try:
            by, _ = choose_template(name, chat, Workspace(tmp_path), default_system="Be kind.")
        except ModelError:
            refused.add(name)
            continue
        text, spans = by.render_marked(ANSWERED, special=chat.special)
        assert "Be kind." in text and not any("kind" in text[start:end] for start, end in spans)
    assert "gemma" in refused and not refused & {"chatml", "default", "gemma3", "mistral", "qwen3"}
