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
