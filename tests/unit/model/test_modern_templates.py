"""The named templates write what their families publish, byte for byte.

trl carries many of the published templates: both are rendered through transformers and compared; what
differs is listed with the reason. The families that it does not carry have goldens of their own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest

from studio.errors import RowError
from studio.model.templates import GENERATION, NAMED, Template, named_templates
from tests.unit.model.talks import (
    CALLS,
    CALLS_IN_A_CHAIN,
    CALLS_SIDE_BY_SIDE,
    EVERY,
    PLAIN,
    QUESTION,
    THOUGHTS,
    TOOLS,
    WITH_SYSTEM,
    Talk,
    answer,
    user,
)

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
Change = Callable[[str], str]


def template(name: str) -> Template:
    source = (NAMED / f"{name}.jinja").read_text(encoding="utf-8")
    return Template(name, source, "a test", bool(GENERATION.search(source)))


def published(name: str) -> str:
    """The text of a template that trl carries, without importing trl."""
    found = importlib.util.find_spec("trl")
    assert found is not None and found.origin is not None
    return (Path(found.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def theirs(tiny_chat_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_chat_model, **SPECIAL)


def unchanged(text: str) -> str:
    return text


def without_last_token(text: str) -> str:
    return text.removesuffix("</s>")


def without_open_thought(text: str) -> str:
    return text.removesuffix("<think>\n")


NO_TOOLS = PLAIN | WITH_SYSTEM | QUESTION
ONE_CALL = NO_TOOLS | CALLS | CALLS_IN_A_CHAIN
# Ours, the one trl carries, the conversations that both know, what to change in theirs, and what else both are told.
PAIRS: list[tuple[str, str, dict[str, Talk], Change, dict[str, Any]]] = [
    ("chatml", "qwen3_instruct_2507", ONE_CALL | CALLS_SIDE_BY_SIDE, unchanged, {}),
    ("qwen", "qwen2_5", ONE_CALL | CALLS_SIDE_BY_SIDE, unchanged, {}),
    ("qwen3", "qwen3", EVERY, unchanged, {}),
    ("qwen3", "qwen3", EVERY, unchanged, {"enable_thinking": True}),
    # A row's own thinking is left out by ours when thinking is off: theirs shows it behind an empty block's prompt.
    ("qwen3", "qwen3", ONE_CALL | CALLS_SIDE_BY_SIDE, unchanged, {"enable_thinking": False}),
    # Two calls at once or text beside a call: theirs refuses the first and drops the text in silence.
    ("llama3", "llama3_1", ONE_CALL, unchanged, {}),
    # Theirs writes today's date unless it is told another.
    ("llama3", "llama3_2", ONE_CALL, unchanged, {"date_string": "26 Jul 2024"}),
    # A system message: both refuse.
    ("gemma", "gemma", PLAIN | QUESTION, unchanged, {}),
    ("gemma3", "gemma3", NO_TOOLS, unchanged, {}),
    # Theirs puts eos_token behind a conversation that is over; the model has stopped at <|end|>.
    ("phi3", "phi3", NO_TOOLS, without_last_token, {}),
    ("phi3", "phi3_5", NO_TOOLS, without_last_token, {}),
    # The one with tojson: arguments are objects here. Theirs is R1's, whose prompt opens a thought; the results of
    # two tools and a second call look as in the revision 0324, which has line breaks and ends the results.
    ("deepseek3", "deepseekv3_training", NO_TOOLS | CALLS, without_open_thought, {}),
]


@pytest.mark.parametrize(("name", "other", "talks", "change", "told"), PAIRS, ids=lambda value: str(value)[:20])
def test_the_text_is_the_published_one(
    name: str, other: str, talks: dict[str, Talk], change: Change, told: dict[str, Any], theirs: Any
) -> None:
    for title, talk in talks.items():
        # DeepSeek publishes no list of tools, so it has none to compare.
        offered = [None, TOOLS] if title in CALLS | CALLS_IN_A_CHAIN and name != "deepseek3" else [None]
        for tools in offered:
            ask = {"tools": tools, "tokenize": False, "add_generation_prompt": title in QUESTION, **told}
            ours = theirs.apply_chat_template(talk, chat_template=template(name).jinja, **ask)
            expected = theirs.apply_chat_template(talk, chat_template=published(other), **ask)
            assert ours == change(expected), title


@pytest.mark.parametrize("name", named_templates())
def test_transformers_renders_what_the_studio_renders(name: str, theirs: Any) -> None:
    by = template(name)
    for title, talk in EVERY.items():
        ask = {"tools": TOOLS if by.shows_tools else None, "add_generation_prompt": title in QUESTION}
        try:
            ours = by.render(talk, special=theirs.special_tokens_map, **ask)
        except RowError:
            with pytest.raises((jinja2.TemplateError, TypeError)):
                theirs.apply_chat_template(talk, chat_template=by.jinja, tokenize=False, **ask)
            continue
        assert theirs.apply_chat_template(talk, chat_template=by.jinja, tokenize=False, **ask) == ours, title


@pytest.mark.parametrize(
    ("name", "other"),
    [("qwen", "qwen2_5_training"), ("gemma", "gemma_training"), ("gemma3", "gemma3_training")],
)
def test_the_marks_are_those_of_the_published_training_template(name: str, other: str) -> None:
    """But for the line breaks around an answer, which the model neither begins with nor comes to write."""
    source = published(other)
    for talk in PLAIN.values():
        text, spans = template(name).render_marked(talk, special=SPECIAL)
        their_text, their_spans = Template(other, source, "trl", True).render_marked(talk, special=SPECIAL)
        assert [text[slice(*span)].strip() for span in spans] == [
            their_text[slice(*span)].strip() for span in their_spans
        ]


def test_what_both_refuse() -> None:
    told = WITH_SYSTEM["system"]
    for by in (template("gemma"), Template("trl", published("gemma"), "trl", False)):
        with pytest.raises(RowError):
            by.render(told, special=SPECIAL)
    for by in (template("llama3"), Template("trl", published("llama3_1"), "trl", False)):
        with pytest.raises(RowError):
            by.render(CALLS_SIDE_BY_SIDE["two calls"], special=SPECIAL, tools=TOOLS)


def test_no_named_template_reads_the_clock() -> None:
    for name in named_templates():
        assert "strftime_now" not in template(name).jinja, f"{name}: the same rows must be the same tokens tomorrow"


@pytest.mark.parametrize("name", ["gemma", "gemma3", "phi3", "phi4"])
def test_a_family_without_tools_says_what_to_do_with_calls_and_results(name: str) -> None:
    by = template(name)
    assert not by.shows_tools
    for talk in (CALLS["a call later"], [*CALLS["a call later"][:4], answer("x")], THOUGHTS["thoughts between calls"]):
        with pytest.raises(
            RowError, match=r"no tools and no calls.*ake such rows out, or choose a template that shows"
        ):
            by.render(talk, special=SPECIAL)


@pytest.mark.parametrize("name", ["chatml", "qwen", "qwen3", "llama3", "glm4", "smollm", "deepseek3", "mistral"])
def test_a_role_that_is_not_known_is_named(name: str) -> None:
    with pytest.raises(RowError, match="got 'critic'"):
        template(name).render([user("a"), {"role": "critic", "content": "b"}], special=SPECIAL)
