"""Code that a folder brings is told with its files and settings, and left alone where it is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.errors import ModelError
from studio.model.code import check_code, own_code

MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}


def put(folder: Path, file: str, **settings: Any) -> Path:
    """A setting more in one of the files of a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / file
    there = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(there | settings))
    return folder


def test_a_model_that_transformers_knows_needs_no_code_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "config.json", model_type="qwen2", auto_map=MAP)
    put(tmp_path, "tokenizer_config.json", tokenizer_class="LlamaTokenizer", auto_map={"AutoTokenizer": ["a.B", None]})
    check_code(tmp_path, trust=False)
    assert own_code(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "setting", "said"),
    [
        ("config.json", {"_attn_implementation_internal": "evil/kernel"}, "holds _attn_implementation_internal, which"),
        ("config.json", {"text": {"_experts_implementation_internal": "x"}}, "text._experts_implementation_internal"),
        ("config.json", {"attn_implementation": "evil/kernel"}, "would fetch and run code from a hub"),
        ("config.json", {"a": [{"_attn_implementation": "evil/kernel"}]}, r"a\[0\]._attn_implementation"),
        ("config.json", {"vision": {"trust_remote_code": True}}, "vision.trust_remote_code: True, but only a person"),
        ("generation_config.json", {"trust_remote_code": "yes"}, "only a person can say that"),
        ("config.json", {"model_type": "own", "auto_map": MAP}, "configuration_own.py is not in the folder"),
        ("config.json", {"auto_map": {"AutoConfig": "evil/repo--m.C"}}, "from another place"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_settings_that_would_run_code_are_refused_by_their_place(
    tmp_path: Path, file: str, setting: dict[str, Any], said: str, trust: bool
) -> None:
    put(tmp_path, file, **setting)
    if trust and "person" in said:
        check_code(tmp_path, trust=True)
        return
    with pytest.raises(ModelError, match=said):
        check_code(tmp_path, trust=trust)


def test_a_config_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a":' * 500 + "1" + "}" * 500)
    with pytest.raises(ModelError, match="is nested 40 deep"):
        check_code(tmp_path, trust=False)


def test_ordinary_settings_pass(tmp_path: Path) -> None:
    put(tmp_path, "config.json", model_type="qwen2", _attn_implementation="sdpa", attn_implementation="eager",
        _attn_implementation_autoset=True, trust_remote_code=False, quantization_config={"bits": 4})  # fmt: skip
    check_code(tmp_path, trust=False)
