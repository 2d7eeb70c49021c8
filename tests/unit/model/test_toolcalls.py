"""The calls that a template writes are found again in the text that the model writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.errors import RowError
from studio.model.templates import GENERATION, NAMED, Template, named_templates
from studio.model.toolcalls import parse_tool_calls, safe_length
from tests.unit.model.talks import TOOLS, user

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def template(name: str) -> Template:
    source = (NAMED / f"{name}.jinja").read_text(encoding="utf-8")
    return Template(name, source, "a test", bool(GENERATION.search(source)))


SHOWING = [name for name in named_templates() if template(name).shows_tools]


def calls_of(*pairs: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": arguments} for name, arguments in pairs]


def written(name: str, content: str, calls: list[dict[str, Any]]) -> str | None:
    """What the model writes for an answer with calls, without its end; None when the template refuses that."""
    by = template(name)
    message = {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"type": "function", "function": call} for call in calls],
    }
    try:
        text, spans = by.render_marked([user("Go."), message], special=SPECIAL)
    except RowError:
        return None
    return text[slice(*spans[-1])].removesuffix(by.end(SPECIAL)).removeprefix("<think>\n\n</think>\n\n")


# All but the noncharacters that no message may hold.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufdd0\ufdd1"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.text("abc_网", min_size=1, max_size=6), values, max_size=4)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True)
some_calls = st.lists(st.builds(lambda n, a: {"name": n, "arguments": a}, names, arguments), min_size=1, max_size=3)


def test_many_templates_show_tools() -> None:
    assert {"chatml", "qwen", "qwen3", "llama3", "mistral", "glm4", "deepseek3", "smollm"} <= set(SHOWING)


@pytest.mark.parametrize("name", SHOWING)
@settings(max_examples=25)
@given(calls=some_calls)
def test_calls_that_a_template_writes_are_read_back(name: str, calls: list[dict[str, Any]]) -> None:
    text = written(name, "", calls) or written(name, "", calls[:1])
    assert text is not None
    left, found = parse_tool_calls(text)
    assert left == "" and found in (calls, calls[:1])


@pytest.mark.parametrize("name", SHOWING)
def test_the_text_beside_calls_stays(name: str) -> None:
    calls = calls_of(("get_weather", {"city": "上海"}), ("clock", {}))
    text = written(name, "Let me see: 看看。", calls)
    if text is not None:
        assert parse_tool_calls(text, TOOLS) == (text[: text.index("看看。") + 3], calls)


@pytest.mark.parametrize("name", SHOWING)
def test_what_is_shown_while_an_answer_grows_is_the_beginning_of_what_is_left(name: str) -> None:
    texts = [
        written(name, content, calls_of(*pairs))
        for content in ("", "Let me see: <b> 看看。\n\n")
        for pairs in ([("clock", {})], [("get_weather", {"city": 'Oslo "x"'}), ("clock", {})])
    ]
    for text in [*filter(None, texts), "Paris <tool is no tool_call> [TOOL]", '{"a": 1}', "Sure\n{x}", "\n\nHi"]:
        for tools in (None, TOOLS):
            left, _ = parse_tool_calls(text, tools)
            lengths = [safe_length(text[:size], tools) for size in range(len(text) + 1)]
            assert lengths == sorted(lengths)
            assert all(left.startswith(text[:length]) for length in lengths)


def test_a_plain_answer_flows_on_at_once() -> None:
    assert safe_length("Paris, on the Seine") == len("Paris, on the Seine")
    assert safe_length("Paris", TOOLS) == len("Paris"), "no tool has a name that begins so"
    assert safe_length("get_wea", TOOLS) == 0
    assert safe_length("It is <tool") == len("It is")
    assert safe_length("a < b and") == len("a < b and")


OTHERS = [
    # Qwen3-Coder and Qwen3.5, as trl's qwen3_5_nothink.jinja writes them.
    (
        "I look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\n上海\n浦东\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
        "I look.",
        calls_of(("get_weather", {"city": "上海\n浦东", "days": 2})),
    ),
    # GLM-4.5, as trl's glm4moe.jinja writes them.
    (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>clock\n</tool_call>",
        "",
        calls_of(("get_weather", {"city": "12", "days": 3}), ("clock", {})),
    ),
    # Llama 3 with several calls and its tag for them; arguments under either name.
    (
        '<|python_tag|>{"name": "clock", "parameters": {}}; {"name": "get_weather", "arguments": {"city": "x"}}',
        "",
        calls_of(("clock", {}), ("get_weather", {"city": "x"})),
    ),
    # Newer Mistral models.
    ('[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}', "", calls_of(("get_weather", {"city": "Oslo"}))),
    # DeepSeek-V3.1 leaves the word function and the fence away.
    (
        "Well.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>clock<｜tool▁sep｜>"
        '{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "Well.",
        calls_of(("clock", {"a": 1})),
    ),
    # An answer cut off behind its call, arguments written as text, and words between two calls.
    ('<tool_call>{"name": "clock", "arguments": "{\\"a\\": 1}"}', "", calls_of(("clock", {"a": 1}))),
    (
        'a <tool_call>{"name": "f"}</tool_call> b <tool_call>[{"name": "g", "arguments": {}}]</tool_call>\n',
        "a b",
        calls_of(("f", {}), ("g", {})),
    ),
]


@pytest.mark.parametrize(("text", "left", "calls"), OTHERS)
def test_forms_of_other_models_are_read(text: str, left: str, calls: list[dict[str, Any]]) -> None:
    assert parse_tool_calls(text, TOOLS) == (left, calls)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        '<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>',
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {}} and more</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>',
        "<tool_call>[]</tool_call>",
        "<tool_call>what is this</tool_call>",
        "[TOOL_CALLS] [1, 2",
        "<｜tool▁calls▁begin｜>nothing",
        "<|python_tag|>print(1)",
        "<|action_start|><|plugin|>{}",
        '{"name": "f"}',
        '{"name": "Ada", "parameters": {}} is a row.',
        "title\n{not json}",
        "<tool_call>" + "[" * 100_000,
        "<tool_call>" * 500,
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert parse_tool_calls(text) == (text, [])


def test_a_form_without_marks_is_a_call_only_of_a_tool_that_was_offered() -> None:
    for text in ('{"name": "Ada", "parameters": {"age": 36}}', 'Ada\n{"age": 36}'):
        assert parse_tool_calls(text)[1] == calls_of(("Ada", {"age": 36}))
        assert parse_tool_calls(text, TOOLS) == (text, [])


PIECES = [
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<|assistant|>", "<arg_key>a</arg_key>"),
    *("<function=f>", "</function>", "<｜tool▁calls▁begin｜>", "<|action_start|><|plugin|>", "<|action_end|>"),
    *("<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    *("{", "}", "[", "]", '"name": "f"', '"arguments": {}', ",", "\n", " ", "f"),
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_nothing_raises_and_nothing_is_shown_too_early(text: str) -> None:
    left, calls = parse_tool_calls(text)
    assert json.dumps(calls) and (calls or left == text)
    assert left.startswith(text[: safe_length(text)])
