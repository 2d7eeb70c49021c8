"""Extensions by pieces and lists that are odd, and of models whose files do not quite fit each other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.errors import ArgumentError
from studio.model.tokenizer import open_tokenizer
from studio.workspace import Workspace

Do = Callable[..., dict[str, Any]]
ZH = {"dataset": "zh", "num_new_tokens": 400, "output_dir": "models/more"}


def table_of(folder: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")["model.embed_tokens.weight"]


def test_so_many_pieces_are_new_tokens_as_were_asked_for(
    do: Do, place: Workspace, sentencepiece_model: Path, chinese: list[str]
) -> None:
    shutil.copyfile(sentencepiece_model, place.root / "zh.model")
    pieces = {"sentencepiece_model": "zh.model", "num_new_tokens": 40}
    do("tokenizer-extend", model_name_or_path="models/tiny", output_dir="models/more", **pieces)
    again = do("tokenizer-extend", model_name_or_path="models/more", output_dir="models/again", **pieces)
    # Those that are there already take nobody's place; steps on the way come on top.
    counts = again["counts"]
    assert counts["made"] + len(again["left_out"].get("cannot be joined", [])) == 40
    assert again["tokens"]["added"] == counts["made"] + counts["between"]
    assert counts["already"] >= 40


def test_a_list_that_is_no_file_is_told_at_once(do: Do, place: Workspace) -> None:
    os.mkfifo(place.root / "pipe.txt")
    for name, says in {"pipe.txt": "must be a file", "none.txt": "must be a file", ".": "must be a file"}.items():
        with pytest.raises(ArgumentError, match=says):
            do("tokenizer-extend", model_name_or_path="models/tiny", add_tokens_file=name, output_dir="models/more")


def test_a_tokenizer_with_more_tokens_than_rows_gets_rows_for_all(do: Do, place: Workspace) -> None:
    folder = place.models / "short"
    shutil.copytree(place.models / "tiny", folder)
    raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    rows = table_of(folder)
    last = {"id": len(rows) + 2, "content": "<|late|>", "special": True, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False}  # fmt: skip
    for number in range(open_tokenizer(folder, place.cache).size, len(rows) + 3):
        raw["added_tokens"].append(last | {"id": number, "content": f"<|late{number}|>"})
    (folder / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    found = do("tokenizer-extend", model_name_or_path="models/short", **ZH)
    new = table_of(place.models / "more")
    assert any("3 tokens without a row" in note for note in found["notes"])
    assert new[: len(rows)].equal(rows)
    np.testing.assert_allclose(new[len(rows) : len(rows) + 3], rows.mean(0).expand(3, -1), rtol=1e-4, atol=1e-6)
    assert new.isfinite().all()
    record = json.loads((place.models / "more" / "vocabulary.json").read_text(encoding="utf-8"))
    assert record["added"] == [[len(rows), found["tokens"]["after"]]]


def test_the_old_end_still_ends_an_answer_where_only_config_json_named_it(do: Do, place: Workspace) -> None:
    folder = place.models / "plain"
    shutil.copytree(place.models / "tiny", folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    old = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    (place.root / "map.json").write_text('{"eos_token": "<|fin|>"}')
    found = do("tokenizer-extend", model_name_or_path="models/plain", special_tokens_map="map.json",
               output_dir="models/more")  # fmt: skip
    told = json.loads((place.models / "more" / "generation_config.json").read_text(encoding="utf-8"))
    assert told["eos_token_id"] == [found["tokens"]["before"], *(old if isinstance(old, list) else [old])]
