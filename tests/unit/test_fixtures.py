"""The tiny models are what transformers takes them for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

HARD = [
    "  12  34\t5",
    "e\u0301 \u00e9",
    "<|im_start|>user\nhi<|im_end|>\n\n",
    "abc's 东京的秘密代码。",
    "\r\n\u3000x",
    "😀",
]


@pytest.mark.parametrize("model", ["tiny_model", "tiny_chat_model"])
def test_the_tokenizer_keeps_its_ids_when_transformers_reloads_it(
    model: str, request: pytest.FixtureRequest, tmp_path: Path
):
    from transformers import AutoTokenizer

    folder: Path = request.getfixturevalue(model)
    saved = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reloaded = AutoTokenizer.from_pretrained(folder)
    reloaded.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in HARD:
        assert saved.encode(text).ids == reloaded(text)["input_ids"] == again(text)["input_ids"]


def test_the_weights_are_all_a_qwen2_needs(tiny_chat_model: Path):
    import torch
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(tiny_chat_model, output_loading_info=True)
    assert not any(told.values())
    assert model.dtype == torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_studio_fixture_runs_the_command(studio: Callable[..., subprocess.CompletedProcess[str]]):
    done = studio("--help")
    assert done.returncode == 0, done.stderr
