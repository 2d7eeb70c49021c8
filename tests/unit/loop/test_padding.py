"""The padding token of a reward model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studio.errors import ModelError
from studio.loop.padding import padding_of
from studio.model.tokenizer import open_tokenizer


def found(folder: Path, *ends: int) -> Any:
    """The padding for rows that end with these ids."""
    material: Any = SimpleNamespace(tokenizer=open_tokenizer(folder, folder))
    rows: Any = [{"input_ids": [1, 2, end]} for end in ends]
    return padding_of(material, rows), material.tokenizer


def test_the_tokenizers_own_token_is_kept_where_no_row_ends_with_it(tiny_chat_model: Path):
    padding, tokenizer = found(tiny_chat_model, 5, 6)
    assert padding.id == tokenizer.pad_id and padding.told == ""


def test_another_one_is_named_where_rows_end_with_it(tiny_chat_model: Path, tmp_path: Path):
    _, tokenizer = found(tiny_chat_model, 5)
    padding, _ = found(tiny_chat_model, 5, tokenizer.pad_id)
    assert padding.id not in (tokenizer.pad_id, 5) and "the padding token is <|im_start|> from here on" in padding.told
    shutil.copytree(tiny_chat_model, tmp_path / "run")
    padding.write(tmp_path / "run")
    assert json.loads((tmp_path / "run/tokenizer_config.json").read_text())["pad_token"] == "<|im_start|>"
    assert open_tokenizer(tmp_path / "run", tmp_path).pad_id == padding.id


def test_without_any_token_left_it_is_refused(tiny_chat_model: Path):
    _, tokenizer = found(tiny_chat_model, 5)
    specials = [tokenizer.fast.token_to_id(token) for token in tokenizer.end_strings]
    with pytest.raises(ModelError, match="a padding token that no row ends with"):
        found(tiny_chat_model, *specials)
