"""Tokens and mask of a row: what is learned is what the model writes at inference, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio.data.example import Example
from studio.data.render import Rendered, View, render
from studio.errors import RowError
from studio.model.templates import GENERATION, Template, choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

DEFAULT_SYSTEM = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# History loses what stands before </think>; the last turn keeps it.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last or m.role == 'user' %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}"
    "{% if m.role == 'user' %}{{ m.content }}<|im_end|>"
    "{% elif loop.last %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content.split('</think>')[-1] }}<|im_end|>{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The prompt at inference opens a thought that the rendered answer does not have.
STUB = DEFAULT_SYSTEM.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")
# No end token: white space ends the turn.
PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def chat(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def own(chat: LightTokenizer) -> Template:
    return choose_template("", chat, Workspace(Path.cwd()))[0]


@pytest.fixture(scope="module")
def default(chat: LightTokenizer) -> Template:
    return choose_template("default", chat, Workspace(Path.cwd()))[0]


def template(source: str) -> Template:
    return Template("probe", source, "a test", bool(GENERATION.search(source)))


def talk(*contents: str, system: str = "") -> Example:
    roles = ("user", "assistant")
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages += [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]
    return Example(messages=tuple(messages))


def rows(example: Example, tokenizer: LightTokenizer, by: Template | None, **view: Any) -> list[Rendered]:
    (item,) = render([example], tokenizer, by, View(**view))
    assert not isinstance(item, RowError), item
    return item


def refusal(example: Example, tokenizer: LightTokenizer, by: Template | None, **view: Any) -> str:
    (item,) = render([example], tokenizer, by, View(**view))
    assert isinstance(item, RowError), item
    return str(item)


def learned(row: Rendered, tokenizer: LightTokenizer) -> str:
    kept = [id for id, bears in zip(row.input_ids, row.loss_mask, strict=True) if bears]
    return tokenizer.fast.decode(kept, skip_special_tokens=False)


def test_only_the_answer_and_its_end_token_are_learned(chat: LightTokenizer, own: Template) -> None:
    (row,) = rows(talk("Who?", "It is me.", system="Be brief."), chat, own)
    assert row.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
        "<|im_start|>assistant\nIt is me.<|im_end|>\n"
    )
    assert learned(row, chat) == "It is me.<|im_end|>"
    assert [row.text[start:end] for start, end in row.spans] == ["It is me.<|im_end|>"]
    assert row.input_ids == chat.fast.encode(row.text, add_special_tokens=False).ids
    assert not row.loss_mask[-1], "the line break behind the end token is never generated"


def test_default_learns_answer_and_end_token(chat: LightTokenizer, default: Template) -> None:
    (row,) = rows(talk("Who?", "Me.", "Why?", "So."), chat, default)
    assert row.text.startswith("Human: Who?<|im_end|>\nAssistant:Me.<|im_end|>\nHuman: ")
    assert learned(row, chat) == "Me.<|im_end|>So.<|im_end|>"


def test_marks_and_prefixes_agree(chat: LightTokenizer) -> None:
    body = "{{ m.content }}<|im_end|>"
    marked = DEFAULT_SYSTEM.replace(
        body,
        "{% if m.role == 'assistant' %}{% generation %}"
        + body
        + "{% endgeneration %}{% else %}"
        + body
        + "{% endif %}",
    ).replace("{% endif %}\n{% endfor %}", "{% endif %}{{ '\n' }}{% endfor %}")
    example = talk("Who?", " Me.", "Why?", "So.\n")
    assert rows(example, chat, template(marked)) == rows(example, chat, template(DEFAULT_SYSTEM))


@pytest.mark.parametrize("source", [DEFAULT_SYSTEM, TRIMMING])
def test_injected_system_prompts_and_trimming_bear_no_loss(source: str, chat: LightTokenizer) -> None:
    (row,) = rows(talk("Who? ", "Me.", "Why?", "So."), chat, template(source))
    assert learned(row, chat) == "Me.<|im_end|>So.<|im_end|>"


def test_the_end_token_is_learned_even_when_it_is_the_padding(tiny_model: Path, tmp_path: Path, own: Template) -> None:
    base = open_tokenizer(tiny_model, tmp_path)
    assert base.pad_id == base.eos_id
    by_default, _ = choose_template("default", base, Workspace(tmp_path))
    (row,) = rows(talk("Who?", "Me."), base, by_default)
    assert learned(row, base) == "Me.<|endoftext|>"


def test_without_an_end_token_the_white_space_is_learned(chat: LightTokenizer) -> None:
    (row,) = rows(talk("Who?", "Me."), chat, template(PLAIN))
    assert row.text[slice(*row.spans[0])] == "Me.\n\n"


def test_mask_history_learns_only_the_last_answer(chat: LightTokenizer, own: Template, default: Template) -> None:
    for by in (own, default):
        (row,) = rows(talk("Who?", "Me.", "Why?", "So."), chat, by, mask_history=True)
        assert learned(row, chat) == "So.<|im_end|>"
        assert "Me." in row.text


def test_train_on_prompt_learns_everything(chat: LightTokenizer, own: Template) -> None:
    (row,) = rows(talk("Who?", "Me."), chat, own, train_on_prompt=True)
    assert all(row.loss_mask[1:]) and not row.loss_mask[0], "nothing predicts the first token"
    assert len(row.loss_mask) == len(row.input_ids)


@pytest.mark.parametrize("source", [THINKING, MARKED_LAST])
def test_answers_that_history_shows_differently_become_rows_of_their_own(source: str, chat: LightTokenizer) -> None:
    by = template(source)
    example = talk("Who?", "<think>hm</think>Me.", "Why?", "<think>oh</think>So.")
    first, second = rows(example, chat, by)
    assert learned(first, chat) == "<think>hm</think>Me.<|im_end|>"
    assert learned(second, chat) == "<think>oh</think>So.<|im_end|>"
    assert "Why?" not in first.text
    assert "hm" not in second.text, "the history is as at inference: without the thought"
    (last,) = rows(example, chat, by, mask_history=True)
    assert last == second
    assert len(rows(talk("Who?", "Me.", "Why?", "So."), chat, template(THINKING))) == 1


def test_a_prompt_that_differs_from_inference_is_refused_with_the_place(chat: LightTokenizer) -> None:
    why = refusal(talk("Who?", "Me."), chat, template(STUB))
    assert "the prompt for message 2 as at inference" in why
    assert "inference has '<think>' and the whole conversation 'Me.<|im_end|>" in why


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (Example(), "this one is empty"),
        (Example(text="plain"), "Use stage pt"),
        (talk("only a question"), "no message of the assistant"),
        (Example(messages=({"role": "assistant", "content": "hi"},)), "begins with the assistant"),
        (Example(messages=talk("a", "b").messages, tools="[{}]"), "column 'tools': the chat template"),
        (talk("half \ud83d", "b"), "half of a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_learned_is_refused(
    example: Example, why: str, chat: LightTokenizer, own: Template
) -> None:
    assert why in refusal(example, chat, own)


def test_one_refused_row_does_not_touch_its_neighbours(chat: LightTokenizer, own: Template) -> None:
    good = talk("Who?", "Me.")
    items = render([good, talk("\udc00", "b"), talk("alone"), good], chat, own, View())
    assert [type(item) for item in items] == [list, RowError, RowError, list]
    assert items[0] == items[3] == rows(good, chat, own)


def test_tools_reach_a_template_that_shows_them(chat: LightTokenizer) -> None:
    by = template("{% if tools %}{{ tools | tojson }}{% endif %}" + TRIMMING)
    example = Example(messages=talk("a", "b").messages, tools='[{"name": "find"}]')
    (row,) = rows(example, chat, by)
    assert row.text.startswith('[{"name": "find"}]<|im_start|>user')
    assert "tools must be JSON" in refusal(Example(messages=example.messages, tools="[{"), chat, by)
    assert "JSON list of objects" in refusal(Example(messages=example.messages, tools="{}"), chat, by)


def test_a_conversation_without_a_template_is_refused(chat: LightTokenizer) -> None:
    assert "needs a chat template" in refusal(talk("a", "b"), chat, None, wants="documents")


def test_a_long_row_is_cut_at_the_end_and_flagged(chat: LightTokenizer, own: Template) -> None:
    example = talk("Who?", "It is me, as everybody knows.")
    (whole,) = rows(example, chat, own)
    size = len(whole.input_ids)
    assert not rows(example, chat, own, cutoff_len=size)[0].truncated
    (cut,) = rows(example, chat, own, cutoff_len=size - 4)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[: size - 4]
    assert cut.loss_mask == whole.loss_mask[: size - 4]
    (none,) = rows(example, chat, own, cutoff_len=3)
    assert none.truncated
    assert none.loss_mask == [False] * 3


def test_a_document_ends_with_the_end_token_once(chat: LightTokenizer) -> None:
    for text in ("The river.", "The river.<|im_end|>"):
        (row,) = rows(Example(text=text), chat, None, wants="documents")
        assert row.input_ids == chat.fast.encode("The river.<|im_end|>").ids
        assert row.loss_mask[0] is False and all(row.loss_mask[1:])


def test_a_document_begins_with_what_the_tokenizer_puts_there(tiny_model: Path, tmp_path: Path) -> None:
    from tokenizers import processors

    base = open_tokenizer(tiny_model, tmp_path)
    start = base.fast.token_to_id("<|im_start|>")
    base.fast.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
    )
    by_default, _ = choose_template("", base, Workspace(tmp_path))
    example = Example(text="The river runs.")
    pieces = rows(example, base, None, wants="documents", cutoff_len=4)
    assert pieces[0].input_ids[0] == start
    assert "".join(piece.text for piece in pieces) == "The river runs."
    (conversation,) = rows(talk("a", "b"), base, by_default)
    assert conversation.input_ids[0] != start


@pytest.mark.parametrize("cutoff_len", [2, 3, 4, 7, 50])
def test_pieces_of_a_document_lose_nothing(cutoff_len: int, chat: LightTokenizer) -> None:
    for count in range(1, 30):
        text = "东京 a😀" * count
        pieces = rows(Example(text=text), chat, None, wants="documents", cutoff_len=cutoff_len)
        ids = [id for piece in pieces for id in piece.input_ids]
        assert ids == [*chat.fast.encode(text).ids, chat.eos_id]
        assert "".join(piece.text for piece in pieces) == text
        assert all(len(piece.input_ids) <= cutoff_len for piece in pieces)
        assert cutoff_len == 2 or all(len(piece.input_ids) > 1 for piece in pieces)
        assert not any(piece.truncated for piece in pieces)


def test_a_conversation_as_a_document_is_rendered_and_learned_whole(chat: LightTokenizer, own: Template) -> None:
    example = talk("Who?", "Me.")
    pieces = rows(example, chat, own, wants="documents", cutoff_len=5)
    (whole,) = rows(example, chat, own)
    assert [id for piece in pieces for id in piece.input_ids] == whole.input_ids
    assert all(all(piece.loss_mask[1:]) and not piece.loss_mask[0] for piece in pieces)
