import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from studio.arguments.export import ExportArguments
from studio.model.export import export
from tests.unit.model.tiny import adapter, exported

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "There."},
    {"role": "user", "content": "When?"},
]


@pytest.fixture
def trained(tiny_chat_model: Path, tmp_path: Path) -> Path:
    """A run's folder: the adapter, the tokenizer it was trained with, and its record."""
    folder = adapter(tiny_chat_model, tmp_path / "run")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tiny_chat_model / name, folder / name)
    record = {"recipe": {"model": {"model_name_or_path": "x"}, "method": {"lora_rank": 4}, "dataset": ["a", "b"]}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_an_export_loads_in_plain_transformers_and_renders_the_same_chat(
    tiny_chat_model: Path, trained: Path, tmp_path: Path
) -> None:
    exported(tiny_chat_model, [trained], tmp_path / "out")
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "out", trained))
    render: dict[str, Any] = {"add_generation_prompt": True, "return_dict": False}
    assert ours.apply_chat_template(TALK, **render) == theirs.apply_chat_template(TALK, **render)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.generation_config.eos_token_id == ours.eos_token_id


def test_a_template_that_was_asked_for_is_the_one_in_effect(
    tiny_chat_model: Path, trained: Path, tmp_path: Path
) -> None:
    settings = json.loads((trained / "tokenizer_config.json").read_text())
    (trained / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "old"}))
    asked = "{% for m in messages %}{{ m['content'] }};{% endfor %}"
    export(
        tiny_chat_model,
        [trained],
        tmp_path / "out",
        ExportArguments(),
        chat_template=asked,
        say=lambda sentence: None,
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template(TALK, tokenize=False) == "Be brief.;Where?;There.;When?;"


def test_the_records_tell_what_was_done(tiny_chat_model: Path, trained: Path, tmp_path: Path) -> None:
    report = exported(tiny_chat_model, [trained], tmp_path / "out", infer_dtype="bfloat16")
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (record["moved"], record["changed"]) == (report.moved, report.changed)
    assert [change["name"] for change in record["touched"]] == [
        f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)
    ]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'base_model: "tiny-chat"' in card
    assert "| lora_rank | 4 |" in card
    assert "| dataset | a, b |" in card
    listed = {entry["name"] for entry in json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]}
    assert {"model.safetensors", "tokenizer.json", "README.md", "export.json", "Modelfile"} <= listed


def test_a_base_without_tokenizer_is_exported_and_it_is_said(tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(tiny_model / name, base / name)
    report = exported(base, [], tmp_path / "out")
    assert "has no tokenizer" in report.notes[0]
    assert not (tmp_path / "out" / "Modelfile").exists()
