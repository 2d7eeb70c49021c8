"""What the machine or the model cannot do is refused before the start, with what to use instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.errors import ModelError
from studio.material import check_sizes
from studio.model.hardware import Hardware, precision_complaint
from studio.workspace import Workspace


def test_bfloat16_is_used_on_the_processor_when_asked(place: Workspace, train: Any, look: Any):
    done = train(place, "saves/bf16", bf16="True", finetuning_type="full")
    assert done.code == 0, done.err
    assert "precision: bf16 (asked for)" in done.err
    exact = train(place, "saves/fp32", bf16="False", finetuning_type="full")
    assert exact.code == 0
    run, plain = look(place.path("saves/bf16")), look(place.path("saves/fp32"))
    losses = [[loss for _, loss in each.curve] for each in (run, plain)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)
    saved = load_file(run.folder / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}


def test_a_bfloat16_base_stays_so_and_its_adapter_learns_in_float32(place: Workspace, train: Any):
    done = train(place, "saves/bf16_lora", bf16="True")
    assert done.code == 0, done.err
    saved = load_file(place.path("saves/bf16_lora/adapter_model.safetensors"))
    assert {weight.dtype for weight in saved.values()} == {torch.float32}


def test_float16_on_the_processor_is_refused_with_what_to_use(place: Workspace, train: Any):
    for flags in ((), ("--plan",)):
        done = train(place, "saves/fp16", *flags, fp16="True")
        assert done.code == 10
        assert "--fp16 True: float16 needs a GPU" in done.err and "Use --bf16 True" in done.err


def test_bfloat16_on_a_gpu_without_it_is_refused_with_what_to_use(place: Workspace):
    from studio.command import read_recipe

    words = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o", "--bf16", "True"]
    recipe, _ = read_recipe(words)
    old = Hardware("cuda", "an old GPU", 1, False, 8 << 30, 8 << 30, 8)
    complaint = precision_complaint(recipe.training, old)
    assert complaint is not None and "has no bfloat16. Use --fp16 True" in complaint


def test_fsdp_on_the_processor_is_refused(place: Workspace, train: Any):
    done = train(place, "saves/fsdp", fsdp="full_shard")
    assert done.code == 10 and "--fsdp full_shard" in done.err and "Traceback" not in done.err


def test_two_precisions_at_once_are_refused(place: Workspace, train: Any):
    done = train(place, "saves/both", bf16="True", fp16="True")
    assert done.code == 10 and "exclude each other" in done.err


@pytest.fixture(scope="module")
def larger(place: Workspace) -> Path:
    """A tokenizer with more tokens than the model has embeddings."""
    folder = place.path("models/larger")
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(place.path("models/tiny-chat") / name, folder / name)
    plain = json.loads((folder / "tokenizer.json").read_text())
    first = max(token["id"] for token in plain["added_tokens"]) + 1
    for number in range(64):
        plain["added_tokens"].append({**plain["added_tokens"][-1], "id": first + number, "content": f"<|x{number}|>"})
    (folder / "tokenizer.json").write_text(json.dumps(plain))
    return folder


def test_a_tokenizer_too_large_for_the_embeddings_is_refused(place: Workspace, train: Any, larger: Path):
    done = train(place, "saves/larger", tokenizer_name_or_path="models/larger")
    assert done.code == 10, done.err
    assert "has embeddings for" in done.err and "Traceback" not in done.err
    assert not list(place.path("saves/larger").glob("checkpoint-*"))


def test_a_tokenizer_of_another_folder_is_used_and_saved(place: Workspace, train: Any):
    shutil.copytree(place.path("models/tiny-chat"), place.path("models/apart"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        place.path(
            "models/apart",
        ).joinpath(name).unlink()
    done = train(place, "saves/apart", model_name_or_path="models/apart", tokenizer_name_or_path="models/tiny-chat")
    assert done.code == 0, done.err
    assert place.path("saves/apart/chat_template.jinja").exists()


def test_the_sizes_are_those_of_the_text_part_of_a_model(tmp_path: Path):
    class Small:
        size, folder = 100, tmp_path

    check_sizes(Small(), {"text_config": {"vocab_size": 100}}, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="has 100 tokens"):
        check_sizes(Small(), {"text_config": {"vocab_size": 99}}, tmp_path)  # type: ignore[arg-type]


def test_a_tokenizer_whose_ids_mean_other_tokens_is_warned_of(place: Workspace, train: Any):
    other = place.path("models/reordered")
    shutil.copytree(place.path("models/tiny-chat"), other)
    facts = json.loads((other / "tokenizer.json").read_text())
    vocabulary = facts["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(facts))
    told = train(place, "saves/reordered", "--plan", tokenizer_name_or_path="models/reordered")
    assert "2 of the" in told.err and "have another id" in told.err
    same = train(place, "saves/same", "--plan", tokenizer_name_or_path="models/tiny-chat")
    assert "have another id" not in same.err


def test_a_dataset_that_stands_twice_is_told(place: Workspace, train: Any):
    told = train(place, "saves/twice", "--plan", dataset="tiny_sft,tiny_sft")
    assert "stands 2 times" in told.err
