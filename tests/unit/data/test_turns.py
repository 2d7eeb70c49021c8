"""Rows with tools and thinking: what the assistant writes is learned, what a tool gives back never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from studio.data.example import Example
from studio.data.render import Rendered, View, render
from studio.errors import RowError
from studio.model.templates import GENERATION, Template, choose_template, named_templates
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

U, A = {"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "Two."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1}}}
ASKS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
GIVES = {"role": "tool", "content": "sum 2"}
TOOLS = json.dumps([{"type": "function", "function": {"name": "add"}}])

HEAD = "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role + '\n' }}"
FOOT = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CALLS = "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}"
THOUGHT = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
OPEN, CLOSE = "{% generation %}", "{% endgeneration %}"
# Everything that an assistant writes in one mark, in two marks, and without any.
ONE_MARK = (
    HEAD + "{% if m.role == 'assistant' %}" + OPEN + THOUGHT + "{{ m.content }}" + CALLS + "<|im_end|>" + CLOSE
    + "{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}" + FOOT
)  # fmt: skip
TWO_MARKS = ONE_MARK.replace("{{ m.content }}" + CALLS, "{{ m.content }}" + CLOSE + OPEN + CALLS)
NO_MARKS = ONE_MARK.replace(OPEN, "").replace(CLOSE, "")
# Templates that leave something out.
NO_CALLS = ONE_MARK.replace(CALLS, "")
CALLS_UNMARKED = ONE_MARK.replace(CALLS, CLOSE + CALLS + OPEN)
NO_THOUGHT = ONE_MARK.replace(THOUGHT, "")
NO_RESULTS = ONE_MARK.replace("{% else %}{{ m.content }}", "{% elif m.role == 'tool' %}{% else %}{{ m.content }}")
# History drops thinking.
FORGETS = ONE_MARK.replace(THOUGHT, "{% if loop.last %}" + THOUGHT + "{% endif %}")


@pytest.fixture(scope="module")
def chat(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path_factory.mktemp("cache"))


def template(source: str) -> Template:
    return Template("probe", source, "a test", bool(GENERATION.search(source)))


def rendered(example: Example, tokenizer: LightTokenizer, by: Template, **view: Any) -> list[Rendered] | RowError:
    (item,) = render([example], tokenizer, by, View(**view))
    return item


def learned(example: Example, tokenizer: LightTokenizer, by: Template, **view: Any) -> list[str]:
    """What bears loss, one text a row, told from the ids."""
    item = rendered(example, tokenizer, by, **view)
    assert isinstance(item, list), item
    kept = [[id for id, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears] for row in item]
    return [tokenizer.fast.decode(ids, skip_special_tokens=False) for ids in kept]


WHOLE = Example((U, ASKS, GIVES, A), tools=TOOLS)


@pytest.mark.parametrize("view", [{"wants": "documents"}, {"train_on_prompt": True}])
def test_rows_say_where_the_template_drops_past_thinking_though_all_is_learned(
    view: dict[str, Any], chat: LightTokenizer
) -> None:
    first, thinks = ({**A, "reasoning_content": thought} for thought in ("Hm.", "Oh."))
    for messages, source, forgets in (
        ((U, first, U, thinks), FORGETS, True),
        ((U, first, U, thinks), ONE_MARK, False),
        ((U, thinks), FORGETS, False),
        ((U, A, U, thinks), FORGETS, False),
    ):
        item = rendered(Example(messages), chat, template(source), **view)
        assert not isinstance(item, RowError) and [row.forgets for row in item] == [forgets], (messages, source)


@pytest.mark.parametrize("source", [ONE_MARK, TWO_MARKS, NO_MARKS])
def test_calls_and_answers_are_learned_and_results_are_not(source: str, chat: LightTokenizer) -> None:
    call = '[add {"a": 1, "b": 1}]<|im_end|>'
    assert learned(WHOLE, chat, template(source)) == [call + "Two.<|im_end|>"]
    assert learned(WHOLE, chat, template(source), mask_history=True) == ["Two.<|im_end|>"]
    assert learned(Example((U, ASKS)), chat, template(source)) == [call]


def test_a_named_template_learns_its_familys_calls(chat: LightTokenizer) -> None:
    by, _ = choose_template("qwen", chat, Workspace(Path.cwd()))
    (text,) = learned(WHOLE, chat, by)
    assert text == '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 1}}\n</tool_call><|im_end|>Two.<|im_end|>'


@pytest.mark.parametrize("source", [NO_CALLS, CALLS_UNMARKED, NO_CALLS.replace(OPEN, "").replace(CLOSE, "")])
def test_a_template_that_does_not_show_calls_refuses_the_row(source: str, chat: LightTokenizer) -> None:
    said = str(rendered(WHOLE, chat, template(source)))
    assert "must show the tool calls of message 2, the answer; it leaves that out" in said


def test_a_template_that_leaves_results_out_refuses_the_row(chat: LightTokenizer) -> None:
    said = str(rendered(WHOLE, chat, template(NO_RESULTS)))
    assert "must show the content of message 3, the result of the tool" in said


def test_results_that_a_template_writes_as_json_are_shown(chat: LightTokenizer) -> None:
    source = ONE_MARK.replace("{% else %}{{ m.content }}", "{% else %}{{ m.content | tojson }}")
    quoted = Example((U, ASKS, {"role": "tool", "content": 'say "two"'}, A))
    assert learned(quoted, chat, template(source))


THINKS = {**A, "reasoning_content": "I add."}


@pytest.mark.parametrize("source", [ONE_MARK, NO_MARKS])
def test_thinking_is_learned_with_its_answer(source: str, chat: LightTokenizer) -> None:
    assert learned(Example((U, THINKS)), chat, template(source)) == ["<think>I add.</think>Two.<|im_end|>"]


@pytest.mark.parametrize("source", [FORGETS, FORGETS.replace(OPEN, "").replace(CLOSE, "")])
def test_answers_whose_thinking_is_forgotten_become_rows_of_their_own(source: str, chat: LightTokenizer) -> None:
    example = Example((U, THINKS, U, {**THINKS, "reasoning_content": "Again."}))
    assert learned(example, chat, template(source)) == [
        "<think>I add.</think>Two.<|im_end|>",
        "<think>Again.</think>Two.<|im_end|>",
    ]
    (document,) = learned(example, chat, template(source), wants="documents")
    assert "I add." not in document and "Again." in document


def test_a_template_that_does_not_show_thinking_refuses_the_row(chat: LightTokenizer) -> None:
    said = str(rendered(Example((U, THINKS)), chat, template(NO_THOUGHT)))
    assert "must show the thinking (reasoning_content) of message 2" in said
    off = Template("probe", NO_THOUGHT, "a test", True, enable_thinking=False)
    assert learned(Example((U, THINKS)), chat, off) == ["Two.<|im_end|>"]


@pytest.mark.parametrize("name", ["", *named_templates()])
def test_thinking_is_learned_or_the_row_is_refused(name: str, chat: LightTokenizer) -> None:
    by, _ = choose_template(name, chat, Workspace(Path.cwd()))
    for talk in ((U, THINKS), (U, A, U, THINKS), (U, THINKS, U, A)):
        item = rendered(Example(talk), chat, by)
        if name == "qwen3":
            assert "I add." in "".join(learned(Example(talk), chat, by))
        else:
            assert isinstance(item, RowError) and "thinking" in str(item)


@pytest.mark.parametrize("name", ["", "default", "chatml", "qwen3"])
def test_past_thinking_may_go_where_only_the_last_answer_is_learned(name: str, chat: LightTokenizer) -> None:
    by, _ = choose_template(name, chat, Workspace(Path.cwd()))
    (only,) = learned(Example((U, THINKS, U, A)), chat, by, mask_history=True)
    assert "I add." not in only and "Two." in only


@pytest.mark.parametrize("source", [ONE_MARK, TWO_MARKS, NO_MARKS])
def test_an_answer_of_weight_0_is_shown_and_not_learned(source: str, chat: LightTokenizer) -> None:
    by = template(source)
    example = Example((U, {"role": "assistant", "content": "No.", "weight": 0}, U, A))
    assert learned(example, chat, by) == ["Two.<|im_end|>"]
    item = rendered(example, chat, by)
    assert isinstance(item, list) and "No." in item[0].text
    silent = Example((U, {**A, "weight": 0}))
    assert "here each has weight 0" in str(rendered(silent, chat, by))
    assert "here each has weight 0" in str(rendered(Example((U, A, *silent.messages)), chat, by, mask_history=True))


def test_a_conversation_with_calls_is_a_document_too(chat: LightTokenizer) -> None:
    (text,) = learned(WHOLE, chat, template(ONE_MARK), wants="documents")
    assert "sum 2" in text and "[add" in text
    assert isinstance(rendered(WHOLE, chat, template(NO_CALLS), wants="documents"), RowError)


ATOM = "<s>Human: a</s><s>Assistant: b</s>"
WRITTEN = Example(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), text=ATOM)


def with_marks(folder: Path, cache: Path, *, ends: bool) -> LightTokenizer:
    """The tokenizer of a folder with <s> and </s>, which it puts around a document."""
    for name, change in {
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>"},
        "generation_config.json": {},
    }.items():
        known = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps({**known, **change}))
    light = open_tokenizer(folder, cache)
    ids = [(mark, light.fast.token_to_id(mark)) for mark in ("<s>", "</s>")]
    single = "<s> $A </s>" if ends else "<s> $A"
    light.fast.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return light


@pytest.fixture
def marked(tmp_path: Path, tiny_model: Path, request: pytest.FixtureRequest) -> LightTokenizer:
    folder = tmp_path / "marked"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    return with_marks(folder, tmp_path / "cache", ends=request.param)


def tokens(fast: Tokenizer, item: list[Rendered] | RowError) -> list[str]:
    assert isinstance(item, list), item
    return [fast.id_to_token(id) for row in item for id in row.input_ids]


@pytest.mark.parametrize("marked", [True, False], indirect=True)
@pytest.mark.parametrize("text", ["a river", "<s>a river", "a river</s>", "<s>a river</s>", "<s>a river</s>\n"])
def test_a_document_is_not_given_the_marks_that_it_has(text: str, marked: LightTokenizer) -> None:
    (item,) = render([Example(text=text)], marked, None, View(wants="documents"))
    found = tokens(marked.fast, item)
    assert found[0] == "<s>" and (found.count("<s>"), found.count("</s>")) == (1, 1)
    assert found[-1] == "</s>" or text.endswith("\n")


@pytest.mark.parametrize("marked", [True, False], indirect=True)
def test_a_written_out_conversation_keeps_its_marks_as_a_document(marked: LightTokenizer) -> None:
    (item,) = render([WRITTEN], marked, None, View(wants="documents"))
    found = tokens(marked.fast, item)
    assert [token for token in found if token in ("<s>", "</s>")] == ["<s>", "</s>"] * 2
    assert isinstance(item, list) and "".join(row.text for row in item) == ATOM


def test_its_marks_are_those_of_the_tokenizer(chat: LightTokenizer, tmp_path: Path) -> None:
    (item,) = render([WRITTEN], chat, None, View(wants="documents"))
    assert isinstance(item, list)
    assert item[0].text == "Human: a<|im_end|>Assistant: b<|im_end|>"
    assert tokens(chat.fast, item).count("<|im_end|>") == 2


def test_a_written_out_conversation_is_rendered_where_answers_are_learned(chat: LightTokenizer) -> None:
    by, _ = choose_template("", chat, Workspace(Path.cwd()))
    assert learned(WRITTEN, chat, by) == ["b<|im_end|>"]


TALK = Example((U, A, {"role": "user", "content": "Why so?"}, {"role": "assistant", "content": "So."}))
ALL_MARKED = HEAD + OPEN + "{{ m.content }}<|im_end|>" + CLOSE + "{{ '\n' }}" + FOOT
QUESTIONS_MARKED = ONE_MARK.replace("m.role == 'assistant'", "m.role == 'user'")


def test_questions_that_a_template_marks_are_not_learned(chat: LightTokenizer) -> None:
    assert learned(TALK, chat, template(ALL_MARKED)) == ["Two.<|im_end|>So.<|im_end|>"]


def test_a_template_that_marks_questions_alone_refuses_the_row(chat: LightTokenizer) -> None:
    said = rendered(TALK, chat, template(QUESTIONS_MARKED))
    assert isinstance(said, RowError) and "must mark the answer in message 2 as generated" in str(said)


SILENT = HEAD + "{{ m.content if m.role != 'assistant' }}<|im_end|>{{ '\n' }}" + FOOT
SILENT_MARKED = (
    HEAD + "{% if m.role == 'assistant' %}" + OPEN + "a Two<|im_end|>" + CLOSE + "{% endif %}{{ '\n' }}" + FOOT
)


@pytest.mark.parametrize("source", [SILENT, SILENT_MARKED])
@pytest.mark.parametrize("view", [{}, {"train_on_prompt": True}, {"mask_history": True}])
def test_a_template_that_never_shows_an_answer_refuses_the_row(
    source: str, view: dict[str, Any], chat: LightTokenizer
) -> None:
    talk = (U, {"role": "assistant", "content": "A cat is a mammal."})
    said = str(rendered(Example(talk), chat, template(source), **view))
    assert "must show the text of message 2, the answer" in said


def test_a_template_may_change_an_answer_a_little(chat: LightTokenizer) -> None:
    squeezed = ONE_MARK.replace("{{ m.content }}" + CALLS, "{{ m.content | replace('  ', ' ') | trim }}" + CALLS)
    for content in (" Two  and two. ", "!!", "", "你好  世界"):
        talk = (U, {"role": "assistant", "content": content})
        assert isinstance(rendered(Example(talk), chat, template(squeezed)), list), content
