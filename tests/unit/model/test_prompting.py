from dataclasses import replace
from pathlib import Path

import pytest

from studio.errors import RowError
from studio.model.prompting import Prompter
from studio.model.templates import choose_template
from studio.model.tokenizer import open_tokenizer
from studio.workspace import Workspace


def test_halves_of_characters_are_refused_wherever_they_came_from(tiny_chat_model: Path, workspace: Workspace) -> None:
    tokenizer = open_tokenizer(tiny_chat_model, workspace.cache)
    template, _ = choose_template("qwen", tokenizer, workspace)
    prompter = Prompter(tokenizer, template, 0)
    assert prompter.encode("京 done", plain=True)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"x\ud800": 1}}}
    text = prompter.prompt([{"role": "user", "content": "hi"}], [tool])
    with pytest.raises(RowError, match="halves of characters") as error:
        prompter.encode(text, plain=False)
    assert str(error.value).isascii()


@pytest.mark.parametrize("text", ["京 done", "<|im_end|>", ""])
def test_a_plain_prompt_begins_a_document_and_does_not_end_it(
    text: str, tiny_chat_model: Path, workspace: Workspace
) -> None:
    from tokenizers.processors import TemplateProcessing

    opened = open_tokenizer(tiny_chat_model, workspace.cache)
    tokenizer = replace(opened, special={**opened.special, "bos_token": "<|im_start|>"})
    fast, begin, end = tokenizer.fast, tokenizer.bos_token, tokenizer.eos_token
    first, last = fast.token_to_id(begin), fast.token_to_id(end)
    written = fast.encode(text, add_special_tokens=False).ids
    fast.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single=f"{begin} $A {end}", special_tokens=[(begin, first), (end, last)]
    )
    assert fast.encode(text).ids == [first, *written, last]
    assert Prompter(tokenizer, None, 0).encode(text, plain=True) == [first, *written]
