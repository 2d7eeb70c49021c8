"""Whole commands and files as people bring them from other programs: taken with notes, or refused with all reasons."""

import json
import shlex
from pathlib import Path

import pytest

from studio.command import read_recipe, read_set
from studio.errors import ArgumentError
from studio.recipe import ExportSet, Recipe
from studio.verbs.chat import ChatSet
from tests.unit.arguments.brought import (
    CHAT,
    FIREFLY,
    FULL_SFT,
    LORA_PRETRAIN,
    LORA_SFT,
    MERGE,
    OLD_QLORA_SFT,
    PRETRAIN_CLM,
    QLORA_SFT,
    SFT_WITH_PEFT,
)


def read(folder: Path, text: str, *words: str) -> tuple[Recipe, list[str]]:
    path = folder / ("run.json" if text.startswith("{") else "run.yaml")
    path.write_text(text, encoding="utf-8")
    return read_recipe([str(path), *words])


def first_words(notes: list[str]) -> list[str]:
    return [note.split()[0].removeprefix("--") for note in notes]


# -- LLaMA-Factory's examples


@pytest.mark.parametrize(
    ("text", "stage", "noted", "bits"),
    [
        (LORA_SFT, "sft", ["template", "warmup_ratio"], None),
        (LORA_PRETRAIN, "pt", ["warmup_ratio"], None),
        (QLORA_SFT, "sft", ["template", "warmup_ratio"], 4),
        (OLD_QLORA_SFT, "sft", ["quantization_method", "warmup_ratio"], 4),
        (FULL_SFT, "sft", ["template", "warmup_ratio"], None),
    ],
    ids=["lora sft", "lora pretrain", "qlora", "qlora, as it was written", "full"],
)
def test_an_example_of_the_incumbent_is_taken_whole(
    tmp_path: Path, text: str, stage: str, noted: list[str], bits: int | None
) -> None:
    recipe, notes = read(tmp_path, text)
    assert recipe.stage == stage
    assert first_words(notes) == noted
    assert recipe.training.warmup_steps == 0.1
    assert recipe.model.quantization_bit == bits
    assert recipe.model.quantization_method == "bnb"
    assert recipe.data.max_samples == 1000


def test_its_merge_and_chat_are_taken_whole(tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text(MERGE, encoding="utf-8")
    merge, notes = read_set(ExportSet, [str(tmp_path / "merge.yaml")])
    assert (merge.export.export_dir, merge.export.export_size) == ("saves/qwen3_sft_merged", 5)
    assert first_words(notes) == ["template", "export_device", "export_legacy_format"]
    (tmp_path / "chat.yaml").write_text(CHAT, encoding="utf-8")
    chat, notes = read_set(ChatSet, [str(tmp_path / "chat.yaml")])
    assert chat.model.adapter_name_or_path == ("saves/qwen3-4b/lora/sft",)
    assert first_words(notes) == ["template"]
    assert chat.template.template == "chatml"


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    more = "use_badam: true\nuse_galore: true\nhub_token: hf_x\nshift_attn: true\nbits: 8\nblock_size: abc\n"
    with pytest.raises(ArgumentError) as caught:
        read(tmp_path, QLORA_SFT + more)
    assert sorted(first_words(caught.value.complaints)) == [
        "cutoff_len", "hub_token", "quantization_bit", "shift_attn", "use_badam", "use_galore"
    ]  # fmt: skip


# -- scripts of the ecosystem


def test_the_command_of_a_pretraining_script_is_taken() -> None:
    recipe, notes = read_recipe(shlex.split(PRETRAIN_CLM))
    assert recipe.training.deepspeed == "./ds_config_zero3.json"
    assert recipe.data.train_file == ("data/train_0.csv", "data/train_1.csv")
    assert recipe.data.validation_file == ("data/dev.csv",)
    assert (recipe.data.cutoff_len, recipe.data.max_eval_samples) == (4096, 500)
    assert (recipe.stage, recipe.method.finetuning_type, recipe.evaluates) == ("pt", "full", True)
    assert (recipe.training.bf16, recipe.training.gradient_checkpointing) == (True, True)
    assert (recipe.training.eval_strategy, recipe.training.warmup_steps) == ("steps", 10_000)
    values = recipe.flat()
    assert (values["ignore_data_skip"], values["ddp_timeout"], values["disable_tqdm"]) == (True, 18_000_000, False)
    assert first_words(notes) == [
        "train_files", "validation_files", "evaluation_strategy", "block_size",
        "use_fast_tokenizer", "logging_dir", "bf16_full_eval",
    ]  # fmt: skip


def test_a_command_that_trains_adapters_with_peft_is_told_what_to_write() -> None:
    with pytest.raises(ArgumentError) as caught:
        read_recipe(shlex.split(SFT_WITH_PEFT))
    assert first_words(caught.value.complaints) == ["validation_split_percentage", "torch_dtype"]
    rest = shlex.split(SFT_WITH_PEFT.replace("--torch_dtype float16", ""))
    place = rest.index("--validation_split_percentage")
    recipe, notes = read_recipe([*rest[:place], *rest[place + 2 :]])
    assert recipe.method.lora_target[:2] == ("q_proj", "v_proj")
    assert recipe.method.additional_target == ("embed_tokens", "lm_head")
    assert recipe.model.adapter_name_or_path == ("path/to/peft",)
    assert (recipe.training.warmup_steps, recipe.data.cutoff_len) == (0.03, 1024)
    assert "--trainable q_proj,v_proj,k_proj,o_proj is read as --lora_target q_proj,v_proj,k_proj,o_proj." in notes


def test_the_json_of_a_chat_trainer_is_taken(tmp_path: Path) -> None:
    recipe, notes = read(tmp_path, json.dumps(FIREFLY))
    assert recipe.data.train_file == ("./data/dummy_data.jsonl",)
    assert (recipe.data.cutoff_len, recipe.model.quantization_bit) == (1024, 4)
    assert (recipe.method.lora_rank, recipe.method.lora_alpha, recipe.method.lora_dropout) == (64, 16, 0.05)
    assert (recipe.training.optim, recipe.training.lr_scheduler_type) == ("paged_adamw_32bit", "constant_with_warmup")
    assert (recipe.training.max_grad_norm, recipe.training.do_eval) == (0.3, False)
    assert recipe.training.report_to == ("tensorboard",)
    assert first_words(notes) == ["max_seq_length", "bits", "remove_unused_columns"]
