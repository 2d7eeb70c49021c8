"""Our text of a chat template is that of transformers, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest

from studio.errors import RowError
from studio.model.sandbox import END, START, compiled
from studio.model.templates import GENERATION, NAMED, Template

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {{ raise_exception('no system prompt here') }}
{%- endif -%}
{%- for m in messages -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('turns must alternate') }}
    {%- endif -%}
    <start>{{ 'model' if m.role == 'assistant' else m.role }}
    {{ m['content'] | trim }}<end>
{% endfor %}
{% if add_generation_prompt %}
<start>model
{% endif %}
"""
TOOLS = """\
{% if tools %}
    {% for tool in tools %}
{{ tool | tojson }} {{ tool | tojson(indent=2) }} {{ tool | tojson(sort_keys=true, separators=(',', ':')) }}
    {% endfor %}
{% endif %}
{% set ns = namespace(found=false, pairs=dict(a=1)) %}
{% for m in messages %}
    {% if ns.found %}{% break %}{% endif %}
    {% if m.role == 'system' %}{% continue %}{% endif %}
    {% if m.role == 'user' %}{% set ns.found = true %}{% endif %}
{{ m.role }}:{{ m.content.split()[-1] if m.content else '' }} {{ ns.pairs.items() | list }} {{ m.name is defined }}
{% endfor %}
{{ messages[1:] | length }} {{ messages[::-1][0].role }} {{ strftime_now('%Y-%m-%d') }} {{ missing }}
"""
THINKING = """\
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\n' }}
{%- if m.reasoning_content %}{{- '<think>' + m.reasoning_content + '</think>' }}{% endif %}
{{- m.content + '<|im_end|>\n' }}
{%- endfor %}
"""
MARKED = """\
{% set tail = '!' %}
{% for m in messages %}
    {% if m.role == 'assistant' %}
A:{% generation %}
{% set tail = '?' %}
  {{ m.content }}{{ loop.index }}{{ tail }}<|im_end|>
    {% endgeneration %}
{{ tail }}
    {% else %}
Q: {{- m.content }}
    {%- endif %}
{% endfor %}
"""
TEMPLATES = {
    **{"chatml": CHATML, "default system": DEFAULT_SYSTEM, "trimming": TRIMMING, "tools": TOOLS},
    **{"thinking": THINKING, "marked": MARKED},
    "named default": (NAMED / "default.jinja").read_text(encoding="utf-8"),
}
TALKS: dict[str, list[dict[str, Any]]] = {
    "one turn": [{"role": "user", "content": " 你好 <b>&\t"}, {"role": "assistant", "content": "hello \n\n"}],
    "two turns": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "thinking": "hm", "name": None},
        {"role": "user", "content": "'\"{{ c }}"},
        {"role": "assistant", "content": "😀\n"},
    ],
    "system": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": ""},
    ],
    "only a question": [{"role": "user", "content": "why?"}],
}


def template(source: str) -> Template:
    return Template("probe", source, "a test", bool(GENERATION.search(source)))


@pytest.fixture(scope="module")
def theirs(tiny_chat_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_chat_model, bos_token="<|im_start|>")


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_is_that_of_transformers(theirs: Any, name: str, talk: str, prompt: bool) -> None:
    ours = template(TEMPLATES[name])
    tools = [{"name": "f", "about": "<é & 你>", "args": {"z": 1, "a": [None, True]}}] if name == "tools" else None
    ask = {"tools": tools, "add_generation_prompt": prompt}
    try:
        expected = theirs.apply_chat_template(TALKS[talk], chat_template=TEMPLATES[name], tokenize=False, **ask)
    except jinja2.TemplateError as error:
        with pytest.raises(RowError, match=str(error)):
            ours.render(TALKS[talk], special=theirs.special_tokens_map, **ask)
        return
    assert ours.render(TALKS[talk], special=theirs.special_tokens_map, **ask) == expected
    if not prompt:
        assert ours.render_marked(TALKS[talk], special=theirs.special_tokens_map, tools=tools)[0] == expected


def test_marks_cover_what_transformers_says_is_generated(theirs: Any) -> None:
    talk = TALKS["two turns"]
    text, spans = template(TEMPLATES["named default"]).render_marked(talk, special=theirs.special_tokens_map)
    assert [text[start:end] for start, end in spans] == ["b<|im_end|>", "😀\n<|im_end|>"]
    encoded = theirs.apply_chat_template(
        talk, chat_template=TEMPLATES["named default"], return_dict=True, return_assistant_tokens_mask=True
    )
    learned = [id for id, bears in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if bears]
    assert theirs.decode(learned) == "b<|im_end|>😀\n<|im_end|>"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__ }}{{ raise_exception.__globals__['json'] }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns.__x__ = 1 %}",
        "{{ dict.__class__() }}",
        "{{ range(10 ** 9) | list }}",
    ],
)
def test_a_template_cannot_leave_the_sandbox(source: str) -> None:
    with pytest.raises(RowError):
        template(source).render(TALKS["one turn"], special={})


def test_a_generation_block_inside_another_is_refused() -> None:
    source = "{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}"
    with pytest.raises(jinja2.TemplateSyntaxError, match="inside another"):
        compiled(source, marks=True)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": f"a{START}b"},
        {"role": "user", "content": "a", "tool_calls": [{"name": END}]},
    ],
)
def test_content_that_holds_the_marks_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(RowError, match="message 2 must not hold the noncharacters"):
        template(MARKED).render_marked([{"role": "user", "content": ""}, message], special={})
