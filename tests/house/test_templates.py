"""The page about chat templates lists exactly the named ones, and what it says of each is so."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studio.errors import RowError
from studio.model.templates import Template, choose_template, named_templates
from studio.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
COLUMNS = ("name", "models", "end", "system", "tools", "thinking", "source")
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
QUESTION = [{"role": "user", "content": "question"}]


def listed() -> dict[str, dict[str, str]]:
    """The rows of the table of named templates, by name."""
    table = PAGE.partition("| " + " | ".join(COLUMNS) + " |\n")[2].partition("\n\n")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[1:]]
    cells = [[cell.strip().replace("\\|", "|") for cell in row] for row in rows]
    return {row[0].strip("`"): dict(zip(COLUMNS, row, strict=True)) for row in cells}


LISTED = listed()


@pytest.fixture(params=sorted(LISTED))
def template(request: pytest.FixtureRequest) -> Template:
    tokenizer: Any = SimpleNamespace(name="none", chat_template="", special=SPECIAL, end_strings=("</s>",))
    return choose_template(request.param, tokenizer, Workspace(Path()))[0]


def text_of(template: Template, *messages: dict[str, Any]) -> str | None:
    """The rendered text; None when the template refuses the conversation."""
    try:
        return template.render(messages, special=SPECIAL)
    except RowError:
        return None


def test_the_page_lists_exactly_the_named_templates() -> None:
    assert sorted(LISTED) == named_templates()


def test_every_template_on_the_page_has_its_models_and_its_source() -> None:
    assert all(row["models"] and row["source"] for row in LISTED.values())


def test_the_end_of_an_answer_is_that_on_the_page(template: Template) -> None:
    said = LISTED[template.name]["end"].split(";")[0].strip("`")
    assert template.end(SPECIAL) == {"eos": "</s>"}.get(said, said)


def test_the_system_message_is_handled_as_the_page_says(template: Template) -> None:
    told = text_of(template, {"role": "system", "content": "SYSTEM"}, *QUESTION)
    bare = text_of(template, *QUESTION)
    assert bare is not None
    # What a family writes by itself stands before the question, in words.
    words = re.findall(r"[A-Za-z]{4,}", re.sub(r"<[^>]*>", "", bare.partition("question")[0]))
    names = {"system", "user", "User", "Human", "USER", "INST", "Instruction", "start_header_id", "MASK", "gMASK"}
    kind = "refused" if told is None else "its own" if set(words) - names else "none"
    assert kind == LISTED[template.name]["system"]
    assert told is None or "SYSTEM" in told


def test_tools_are_shown_as_the_page_says(template: Template) -> None:
    assert {True: "yes", False: "no"}[template.shows_tools] == LISTED[template.name]["tools"]


def test_thinking_is_handled_as_the_page_says(template: Template) -> None:
    answer = {"role": "assistant", "content": "answer", "reasoning_content": "THOUGHT"}
    text = text_of(template, *QUESTION, answer)
    kind = "refused" if text is None else "shown" if "THOUGHT" in text else "left out"
    assert kind == LISTED[template.name]["thinking"]


def test_the_template_on_the_page_works_and_its_marks_are_exact(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(re.findall(r"```jinja\n(.*?)```", PAGE, re.DOTALL)[0], encoding="utf-8")
    tokenizer: Any = SimpleNamespace(name="none", chat_template="", special=SPECIAL, end_strings=("</s>",))
    template, notes = choose_template("mine.jinja", tokenizer, Workspace(tmp_path))
    messages = [*QUESTION, {"role": "assistant", "content": "answer"}]
    text, spans = template.render_marked(messages, special=SPECIAL)
    assert notes == ["template: the file mine.jinja"]
    assert text == "<s>Q: question\nA: answer</s>\n"
    assert [text[start:end] for start, end in spans] == [" answer</s>"]
    assert text[: spans[0][0]] == template.render(QUESTION, special=SPECIAL, add_generation_prompt=True)
