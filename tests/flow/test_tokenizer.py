"""Vocabularies from the command line: train one, extend one, look at them, and learn with what comes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

ROWS = Path(__file__).parents[2] / "data" / "medical_zh_demo.jsonl"


@pytest.fixture(scope="module")
def chinese(place: Workspace) -> Workspace:
    """The workspace with two hundred Chinese texts as `zh`, and fifty more as `zh_held`."""
    registry = json.loads(place.dataset_info.read_text(encoding="utf-8"))
    with ROWS.open(encoding="utf-8") as file:
        texts = [json.dumps({"text": json.loads(line)["output"]}) for _, line in zip(range(250), file, strict=False)]
    for name, several in {"zh": texts[:200], "zh_held": texts[200:]}.items():
        registry[name] = {"file_name": f"{name}.jsonl", "columns": {"prompt": "text"}}
        (place.data / f"{name}.jsonl").write_text("\n".join(several), encoding="utf-8")
    place.dataset_info.write_text(json.dumps(registry), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def extended(chinese: Workspace, command: Any) -> dict[str, Any]:
    """The chat model with four hundred more tokens, and a special one, as `models/more`."""
    words = ["--model_name_or_path", "models/tiny-chat", "--dataset", "zh", "--num_new_tokens", "400"]
    done = command(chinese, "tokenizer", "extend", *words, "--add_special_tokens", "<|tool|>", "--output_dir",
                   "models/more", "--json")  # fmt: skip
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.mark.slow
def test_an_extended_model_learns_is_exported_and_writes(
    chinese: Workspace, extended: dict[str, Any], train: Any, look: Any, command: Any
) -> None:
    ended = train(chinese, "saves/more", stage="pt", dataset="zh", model_name_or_path="models/more",
                  finetuning_type="full", max_steps=12, learning_rate="3e-3", validation_file="data/zh_held.jsonl",
                  eval_strategy="steps", eval_steps=6, cutoff_len=128)  # fmt: skip
    assert ended.code == 0, ended.err
    losses = [loss for _, loss in look(chinese.path("saves/more")).curve]
    assert losses[-1] < losses[0] - 0.3
    done = command(chinese, "export", "--model_name_or_path", "saves/more", "--export_dir", "models/exported")
    assert done.code == 0, done.err
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(chinese.models / "exported")
    assert model.config.vocab_size == extended["rows"]["after"]
    assert len(AutoTokenizer.from_pretrained(chinese.models / "exported")) == extended["tokens"]["after"]
    said = command(
        chinese, "chat", "--model_name_or_path", "models/exported", "--prompt", "你好", "--max_new_tokens", "4"
    )
    assert said.code == 0, said.err


@pytest.mark.slow
def test_a_run_from_nothing_brings_the_loss_on_held_out_text_down(
    chinese: Workspace, train: Any, look: Any, command: Any
) -> None:
    steps = [
        ["train", "--dataset", "zh,tiny_pt", "--vocab_size", "600", "--output_dir", "models/tok"],
        ["new-model", "--tokenizer_name_or_path", "models/tok", "--hidden_size", "32", "--num_hidden_layers", "2",
         "--num_attention_heads", "4", "--model_shape", "qwen2", "--output_dir", "models/new"],
    ]  # fmt: skip
    for words in steps:
        done = command(chinese, "tokenizer", *words)
        assert done.code == 0, done.err
    assert "parameters" in done.out
    ended = train(chinese, "saves/new", stage="pt", dataset="zh", model_name_or_path="models/new",
                  finetuning_type="full", max_steps=40, learning_rate="1e-2", eval_dataset="zh_held", cutoff_len=128,
                  eval_strategy="steps", eval_steps=20, save_steps=40, per_device_train_batch_size=8)  # fmt: skip
    assert ended.code == 0, ended.err
    held = [point["eval_loss"] for point in look(chinese.path("saves/new")).points if point.get("eval_loss")]
    assert held[-1] < held[0]
    assert held[-1] < 6.4 - 0.5, "600 tokens at random cost 6.4 nats"


def test_a_look_through_a_pipe_shows_the_tokens_without_colours(
    chinese: Workspace, extended: dict[str, Any], command: Any
) -> None:
    done = command(chinese, "tokenizer", "inspect", "--model_name_or_path", "models/more", "--dataset", "zh,tiny_sft")
    assert done.code == 0, done.err
    assert "0 have another" in done.out
    assert "han:" in done.out
    assert "→" in done.out
    assert "\033" not in done.out
    assert "(3)|" in done.out, "a character in three tokens before"


def test_a_command_that_cannot_be_says_why_and_exits_with_10(chinese: Workspace, command: Any) -> None:
    done = command(chinese, "tokenizer", "extend", "--model_name_or_path", "models/tiny", "--dataset", "zh",
                   "--output_dir", "models/tiny-chat")  # fmt: skip
    assert done.code == 10
    assert "must be a new folder; it exists already" in done.err
    assert "Traceback" not in done.err
    done = command(chinese, "tokenizer", "train")
    assert done.code == 10
    assert "--dataset" in done.err
    assert "--output_dir" in done.err


@pytest.mark.parametrize("word", ["train", "extend", "inspect", "new-model"])
def test_each_has_a_help_with_every_argument(word: str, chinese: Workspace, command: Any) -> None:
    done = command(chinese, "tokenizer", word, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: studio tokenizer {word}")
