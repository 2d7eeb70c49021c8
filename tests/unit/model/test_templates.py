"""Which chat template is used, and what the user is told about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.errors import ModelError, RowError
from studio.model.templates import choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": " Me."},
    {"role": "user", "content": "Why?"},
]


@pytest.fixture
def chat(tiny_chat_model: Path, tmp_path: Path) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path / "cache")


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> LightTokenizer:
    return open_tokenizer(tiny_model, tmp_path / "cache")


@pytest.mark.parametrize("asked", ["", "auto"])
def test_auto_takes_the_models_own_and_names_it(asked: str, chat: LightTokenizer, tmp_path: Path) -> None:
    template, notes = choose_template(asked, chat, Workspace(tmp_path))
    assert template.jinja == chat.chat_template
    assert not template.marked
    assert notes == ["template: the model's own (tiny-chat)"]


def test_a_model_without_one_falls_to_default_aloud(base: LightTokenizer, tmp_path: Path) -> None:
    template, notes = choose_template("", base, Workspace(tmp_path))
    assert template.name == "default"
    assert notes == ["template: default, because tiny has no chat template of its own"]


def test_default_is_byte_for_byte_the_known_one(base: LightTokenizer, tmp_path: Path) -> None:
    template, notes = choose_template("default", base, Workspace(tmp_path))
    eos = base.eos_token
    expected = f"System: Be brief.{eos}\nHuman: Who?{eos}\nAssistant: Me.{eos}\nHuman: Why?{eos}\nAssistant:"
    assert template.render(TALK, special=base.special) == expected
    assert template.render(TALK, special=base.special, add_generation_prompt=True) == expected
    assert notes == ["template: default"]


def test_default_on_a_model_with_its_own_is_a_warning(chat: LightTokenizer, tmp_path: Path) -> None:
    _, notes = choose_template("default", chat, Workspace(tmp_path))
    assert notes[1].startswith("warning: tiny-chat has a chat template of its own")


def test_default_refuses_a_role_it_does_not_know(base: LightTokenizer, tmp_path: Path) -> None:
    template, _ = choose_template("default", base, Workspace(tmp_path))
    with pytest.raises(RowError, match="system, user and assistant; got 'tool'"):
        template.render([{"role": "tool", "content": "1"}], special=base.special)


def test_a_path_is_the_users_own_file(base: LightTokenizer, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}{{ eos_token }}", encoding="utf-8")
    template, notes = choose_template("mine.jinja", base, Workspace(tmp_path))
    assert template.render(TALK, special=base.special) == "Be brief." + base.eos_token
    assert (template.name, template.origin) == ("mine", "the file mine.jinja")
    assert notes[0] == "template: the file mine.jinja"


def test_a_template_without_an_end_token_is_a_warning(base: LightTokenizer, tmp_path: Path) -> None:
    (tmp_path / "endless.jinja").write_text("{{ messages[-1].content }}\n", encoding="utf-8")
    _, notes = choose_template("./endless.jinja", base, Workspace(tmp_path))
    assert "does not learn where an answer stops" in notes[-1]


def test_marks_that_leave_out_the_end_token_are_a_warning(base: LightTokenizer, tmp_path: Path) -> None:
    source = "{% generation %}{{ messages[-1].content }}{% endgeneration %}{{ eos_token }}"
    (tmp_path / "short.jinja").write_text(source, encoding="utf-8")
    template, notes = choose_template("short.jinja", base, Workspace(tmp_path))
    assert template.marked
    assert "does not learn where an answer stops" in notes[-1]


def test_marks_that_do_not_begin_behind_the_prompt_are_a_warning(base: LightTokenizer, tmp_path: Path) -> None:
    source = (
        "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    (tmp_path / "off.jinja").write_text(source, encoding="utf-8")
    _, notes = choose_template("off.jinja", base, Workspace(tmp_path))
    assert "no mark of the template off begins where its prompt ends ('user:question' with" in notes[-1]
    (tmp_path / "on.jinja").write_text(source + "{% if add_generation_prompt %}assistant:{% endif %}", encoding="utf-8")
    assert choose_template("on.jinja", base, Workspace(tmp_path))[1] == ["template: the file on.jinja"]


def test_an_end_that_is_no_token_of_the_model_is_a_warning(base: LightTokenizer, tmp_path: Path) -> None:
    template, notes = choose_template("llama3", base, Workspace(tmp_path))
    assert template.end(base.special) == "<|eot_id|>"
    assert "ends an answer with <|eot_id|>, which is no special token of tiny" in notes[-1]


@pytest.mark.parametrize(
    ("source", "end"),
    [
        ("{{ messages[-1].content }}<|im_end|>\n", "<|im_end|>"),
        ("{{ messages[-1].content }} </s>", "</s>"),
        ("{{ messages[-1].content }}<|end|>\n<|endoftext|>", "<|end|>"),
        ("{% generation %}{{ messages[-1].content }}\n<|end|>{% endgeneration %}<|endoftext|>", "<|end|>"),
        ("{% generation %}{{ messages[-1].content }}{% endgeneration %}<|endoftext|>", ""),
        ("{{ messages[-1].content }}\n", ""),
        ("{{ raise_exception('never') }}", ""),
    ],
)
def test_the_end_is_what_closes_an_answer(source: str, end: str, base: LightTokenizer, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(source, encoding="utf-8")
    template, _ = choose_template("own.jinja", base, Workspace(tmp_path))
    assert template.end(base.special) == end


def test_a_syntax_error_names_the_line(base: LightTokenizer, tmp_path: Path) -> None:
    (tmp_path / "bad.jinja").write_text("{% for m in messages %}\nok\n{% endfo %}\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"the file bad\.jinja \(bad\) is not, at line 3: .*endfo"):
        choose_template("bad.jinja", base, Workspace(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("gone.jinja", None, "there is no such file"),
        ("gbk.jinja", "你好".encode("gb18030"), "byte 0 is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    name: str, content: bytes | None, why: str, base: LightTokenizer, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=why):
        choose_template(name, base, Workspace(tmp_path))


def test_an_unknown_name_gets_a_suggestion(base: LightTokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"got 'ChatML'\. Did you mean chatml\?"):
        choose_template("ChatML", base, Workspace(tmp_path))
    with pytest.raises(ModelError, match=r"got 'defualt'. Did you mean default.*the model's own"):
        choose_template("defualt", base, Workspace(tmp_path))


def test_a_row_that_the_template_cannot_show_is_told_with_the_templates_words(
    base: LightTokenizer, tmp_path: Path
) -> None:
    source = "{% if messages | length > 3 %}{{ raise_exception('too long a talk') }}{% endif %}{{ 1 + 'a' }}"
    (tmp_path / "picky.jinja").write_text(source, encoding="utf-8")
    template, _ = choose_template("picky.jinja", base, Workspace(tmp_path))
    with pytest.raises(RowError, match=r"template 'picky' must be able .* refuses it: too long a talk"):
        template.render(TALK, special={})
    with pytest.raises(RowError, match="fails on it with TypeError"):
        template.render(TALK[:1], special={})


def test_a_template_that_asks_for_too_much_memory_refuses_the_row(chat: LightTokenizer, tmp_path: Path) -> None:
    (tmp_path / "big.jinja").write_text("{{ 'x' * 99999999999999 }}{{ messages }}")
    template, _ = choose_template("big.jinja", chat, Workspace(tmp_path))
    with pytest.raises(RowError, match="MemoryError"):
        template.render(TALK, special=chat.special)
