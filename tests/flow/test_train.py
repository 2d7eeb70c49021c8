"""A training command does what its words say, and leaves what was promised."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.workspace import Workspace

TUTORIAL = (
    "studio train --stage sft --do_train True "
    "--model_name_or_path saves/Qwen2-0.5B/full/Qwen2_pretrain_output_demo1 --preprocessing_num_workers 16 "
    "--finetuning_type full --template default --flash_attn auto --dataset_dir data "
    "--dataset custom_sft_train_data --cutoff_len 1024 --learning_rate 5e-05 --num_train_epochs 3.0 "
    "--max_samples 100000 --per_device_train_batch_size 2 --gradient_accumulation_steps 8 "
    "--lr_scheduler_type cosine --max_grad_norm 1.0 --logging_steps 5 --save_steps 100 --warmup_steps 0 "
    "--optim adamw_torch --packing False --report_to none "
    "--output_dir saves/Qwen2-0.5B/full/Qwen2_sft_output_demo1 --bf16 True --plot_loss True "
    "--ddp_timeout 180000000 --include_num_input_tokens_seen True"
)
DEFAULT_TEXT = "System: Be brief.<|endoftext|>\nHuman: Hello<|endoftext|>\nAssistant:Hi.<|endoftext|>\n"


@pytest.fixture(scope="module")
def tutorial(place: Workspace, command: Any, look: Any) -> Any:
    """The tutorial's run of twenty rows, from a copy of the tiny base model."""
    shutil.copytree(place.path("models/tiny"), place.path("saves/Qwen2-0.5B/full/Qwen2_pretrain_output_demo1"))
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    entry = {"custom_sft_train_data": {"file_name": "custom/sft/train.json", "columns": columns}}
    place.path("data/dataset_info.json").write_text(json.dumps(entry))
    rows = json.loads(place.path("data/tiny_sft.json").read_text())[:20]
    place.path("data/custom/sft").mkdir(parents=True)
    place.path("data/custom/sft/train.json").write_text(json.dumps(rows))
    done = command(place, *shlex.split(TUTORIAL)[1:])
    assert done.code == 0, done.err
    return done, look(place.path("saves/Qwen2-0.5B/full/Qwen2_sft_output_demo1"))


def test_the_command_of_a_tutorial_leaves_every_file_of_a_run(tutorial: Any):
    _, run = tutorial
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "run.json", "progress.jsonl", "log.txt", "training_loss.png", "README.md", "first_batch.json",
        "manifest.json", "checkpoint-6",
    }  # fmt: skip
    assert not [name for name in names if name.startswith((".tmp", ".trash"))]
    assert (run.folder / "training_loss.png").read_bytes().startswith(b"\x89PNG")


def test_its_first_and_last_steps_are_points_of_the_curve(tutorial: Any):
    _, run = tutorial
    assert [step for step, _ in run.curve] == [1, 5, 6]
    assert all(math.isfinite(loss) for _, loss in run.curve)
    assert all(point["total_steps"] == 6 for point in run.points)


def test_workers_above_the_cores_are_lowered_with_a_note(tutorial: Any):
    done, run = tutorial
    assert "--preprocessing_num_workers 16 was lowered to" in done.err
    assert "--preprocessing_num_workers 16 was lowered to" in run.log


def test_its_record_tells_what_was_asked_and_what_was_decided(tutorial: Any):
    _, run = tutorial
    record = run.json("run.json")
    assert record["recipe"]["dataset"] == "custom_sft_train_data"
    assert record["finished"] and record["attempts"][-1]["outcome"] == "finished"
    assert "data/custom/sft/train.json" in record["data"]["hashes"]
    assert {"precision", "attention", "threads"} <= {choice["name"] for choice in record["decisions"]}
    assert record["parents"] == ["saves/Qwen2-0.5B/full/Qwen2_pretrain_output_demo1"]
    assert record["results"]["steps"] == 6


@pytest.mark.parametrize("part", ["", "checkpoint-6"])
def test_plain_transformers_renders_the_chat_that_was_trained(tutorial: Any, part: str):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, run = tutorial
    tokenizer = AutoTokenizer.from_pretrained(run.folder / part)
    talk = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi.")]
    messages = [{"role": role, "content": content} for role, content in talk]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == DEFAULT_TEXT
    model, told = AutoModelForCausalLM.from_pretrained(run.folder / part, output_loading_info=True)
    assert not any(told.values())
    assert model.dtype == torch.float32, "all weights learn in float32, and nothing is rounded at the end"


def test_a_lora_run_ends_with_an_adapter_that_peft_loads(place: Workspace, train: Any, look: Any):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    done = train(place, "saves/lora", lora_rank=4, lora_dropout=0.1)
    assert done.code == 0, done.err
    run = look(place.path("saves/lora"))
    assert not (run.folder / "model.safetensors").exists()
    settings = run.json("adapter_config.json")
    assert (settings["r"], settings["lora_alpha"], settings["lora_dropout"]) == (4, 8, 0.1)
    parts = {"q", "k", "v", "o", "gate", "up", "down"}
    assert set(settings["target_modules"]) == {f"{part}_proj" for part in parts}
    base = AutoModelForCausalLM.from_pretrained(place.path("models/tiny-chat"))
    PeftModel.from_pretrained(base, run.folder)
    saved = load_file(run.folder / "adapter_model.safetensors")
    assert any(bool(weight.abs().sum() > 0) for name, weight in saved.items() if "lora_B" in name)


def test_freeze_changes_the_last_layer_and_nothing_else(place: Workspace, train: Any):
    done = train(place, "saves/freeze", finetuning_type="freeze", freeze_trainable_layers=1)
    assert done.code == 0, done.err
    before = load_file(place.path("models/tiny-chat/model.safetensors"))
    after = load_file(place.path("saves/freeze/model.safetensors"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".layers.1." in name for name in changed)


def test_pretraining_on_a_text_file_packs_its_rows(place: Workspace, train: Any, look: Any):
    lines = [json.loads(line)["text"] for line in place.path("data/tiny_pt.jsonl").read_text().splitlines()]
    place.path("data/plain.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    info = place.path("dataset_info.json")
    entry = {"plain": {"file_name": "plain.txt", "columns": {"prompt": "text"}}}
    info.write_text(json.dumps({**json.loads(info.read_text()), **entry}))
    done = train(
        place, "saves/pt", stage="pt", dataset="plain", model_name_or_path="models/tiny", cutoff_len=128,
        finetuning_type="full", per_device_train_batch_size=1,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "60 rows in" in done.err and "unused" in done.err
    rows = look(place.path("saves/pt")).json("first_batch.json")["rows"]
    assert len(rows) > 1 and sum(len(row["input_ids"]) for row in rows) <= 128


def test_a_plan_tells_the_costs_and_starts_nothing(place: Workspace, train: Any):
    done = train(place, "saves/planned", "--plan")
    assert done.code == 0, done.err
    for word in ("rows:", "steps: 6", "tokens:", "trainable weights:", "memory:", "disk:", "time:"):
        assert word in done.out
    done = train(place, "saves/planned", "--plan", "--json", val_size=0.25, eval_strategy="steps")
    figures = json.loads(done.out)
    assert figures["ok"] and figures["data"]["rows"] == 40 and figures["data"]["held_out_rows"] == 10
    assert (figures["rows"]["value"], figures["steps"]["value"]) == (30, 6)
    assert {"value", "text", "basis"} <= figures["memory"].keys()
    assert not place.path("saves/planned").exists()


def test_a_plan_that_cannot_be_ends_with_10_and_all_reasons(place: Workspace, train: Any):
    done = train(place, "saves/planned", "--plan", "--json", fp16="True", report_to="wandb")
    assert done.code == 10
    told = json.loads(done.out)
    assert not told["ok"] and len(told["complaints"]) == 2
    assert "--fp16 True" in done.err and "--report_to wandb" in done.err
    assert not place.path("saves/planned").exists()


def test_a_plan_names_a_folder_that_a_start_would_refuse(place: Workspace, train: Any):
    done = train(place, "data", "--plan")
    assert done.code == 10 and "must be a run of the studio or empty" in done.err


def test_the_shell_line_of_the_log_says_the_recipe_again(place: Workspace, tutorial: Any):
    from studio.command import read_recipe

    _, run = tutorial
    line = run.json("run.json")["command"]
    asked, _ = read_recipe(shlex.split(TUTORIAL)[2:])
    again, _ = read_recipe(shlex.split(line)[2:])
    assert again == asked


def test_the_installed_command_ends_with_the_sentence_and_the_code(studio: Callable[..., Any], workspace: Workspace):
    done = studio("train", "--dataset", "tiny_sft", "--output_dir", "saves/x", "--model_name_or_path", "models/tny")
    assert done.returncode == 10
    assert "no model folder 'models/tny'" in done.stderr and "Traceback" not in done.stderr


def test_a_file_of_arguments_in_json_is_trained(place: Workspace, command: Any, look: Any, small: dict[str, str]):
    asked = {**small, "dataset": ["tiny_sft"], "max_steps": 2, "bf16": False, "output_dir": "saves/from_a_file"}
    place.path("config.json").write_text(json.dumps(asked))
    done = command(place, "train", "config.json")
    assert done.code == 0, done.err
    assert look(place.path("saves/from_a_file")).json("run.json")["finished"]
