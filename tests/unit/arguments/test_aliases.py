"""Other names are read as ours, with a note, however they are written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from studio.arguments.aliases import aliases
from studio.arguments.refused import is_secret, refusals
from studio.command import read_recipe, read_set
from studio.recipe import ELSEWHERE, ArgumentSet, arguments_of, arguments_of_all, make_recipe
from studio.verbs.chat import ChatSet
from tests.unit.arguments.commands import BASE, command, read

OTHER_NAMES = {name: alias for name, alias in aliases().items() if name != alias.ours}
OURS = arguments_of_all().keys() | ELSEWHERE.keys()

# Our name and a value of it, and every other way to write just that.
SAID = """
    model_name_or_path=x: model=x model_id=x model_path=x base_model=x pretrained_model=x base_model_name_or_path=x
        pretrained_model_name_or_path=x
    adapter_name_or_path=a: adapter_path=a peft_path=a peft_model_path=a peft_model=a lora_path=a lora_weights=a
    adapter_name_or_path=a,b: lora_model=a,b
    tokenizer_name_or_path=x: tokenizer_path=x tokenizer_name=x tokenizer=x
    flash_attn=fa2: attn_implementation=flash_attention_2 use_flash_attn=True use_flash_attention_2=true
    flash_attn=fa3: attn_implementation=flash_attention_3
    flash_attn=disabled: attn_implementation=eager
    flash_attn=sdpa: attn_implementation=sdpa
    quantization_bit=4: bits=4 load_in_4bit=1 use_qlora=true q_lora=True
    quantization_bit=8: load_in_bits=8 load_in_8bit=True
    quantization_type=fp4: quant_type=fp4 bnb_4bit_quant_type=fp4
    double_quantization=False: double_quant=False use_nested_quant=no use_bnb_nested_quant=0
        bnb_4bit_use_double_quant=false
    finetuning_type=full: use_lora=False use_peft=False
    lora_rank=64: r=64 lora_r=64
    lora_target=q_proj,v_proj: target_modules=q_proj,v_proj lora_target_modules=q_proj,v_proj
        lora_trainable=q_proj,v_proj trainable=q_proj,v_proj
    lora_target=all: lora_target_linear=True
    additional_target=embed_tokens,lm_head: modules_to_save=embed_tokens,lm_head
        lora_modules_to_save=embed_tokens,lm_head
    train_file=a.csv,b.csv: train_files=a.csv,b.csv train_path=a.csv,b.csv train_data_file=a.csv,b.csv
        data_path=a.csv,b.csv
    validation_file=c.csv: validation_files=c.csv valid_file=c.csv eval_file=c.csv eval_files=c.csv
        eval_data_file=c.csv eval_data_path=c.csv dev_path=c.csv
    cutoff_len=1024: block_size=1024 max_seq_length=1024 max_seq_len=1024 model_max_length=1024 sequence_len=1024
    max_samples=10: max_train_samples=10
    val_size=0.1: val_set_size=0.1
    packing=True: sample_packing=True
    preprocessing_num_workers=4: dataset_num_proc=4 preprocessing_num_proc=4 tokenize_num_workers=4
    template=qwen: template_name=qwen template_type=qwen prompt_template_name=qwen
    train_on_prompt=True: train_on_inputs=True
    stage=pt: task_type=pretrain
    stage=sft: task_type=sft
    output_dir=x: work_dir=x
    learning_rate=2e-4: lr=0.0002
    lr_scheduler_type=cosine: lr_scheduler=cosine
    num_train_epochs=2: num_epochs=2 epochs=2.0
    per_device_train_batch_size=2: per_gpu_train_batch_size=2 micro_batch_size=2
    per_device_eval_batch_size=2: per_gpu_eval_batch_size=2
    gradient_accumulation_steps=16: accumulative_counts=16
    warmup_steps=0.1: warmup_ratio=0.1
    optim=adamw_bnb_8bit: optimizer=adamw_bnb_8bit
    optim=adamw_torch: optimizer=adamw_hf
    gradient_checkpointing=True: activation_checkpointing=True
    gradient_checkpointing_kwargs={"use_reentrant":true}: activation_checkpointing_kwargs={"use_reentrant":true}
    eval_strategy=steps: evaluation_strategy=steps
    early_stopping_steps=3: early_stopping_patience=3
    use_cpu=True: no_cuda=True
    use_liger_kernel=True: enable_liger_kernel=true
    deepspeed=ds.json: deepspeed_config=ds.json deepspeed_config_file=ds.json ds_config=ds.json
    max_new_tokens=100: max_tokens=100 max_completion_length=100
"""
WAYS = [
    (other.split("=", 1), ours.split("=", 1))
    for line in re.sub(r"\n {8}", " ", SAID).strip().splitlines()
    for ours, _, others in [line.strip().partition(": ")]
    for other in others.split()
]
# What ours needs beside it to be a whole command.
BESIDE = {
    "eval_strategy": {"val_size": "0.1"},
    "early_stopping_steps": {"val_size": "0.1", "eval_strategy": "steps", "load_best_model_at_end": "True"},
    "quantization_type": {"quantization_bit": "4"},
    "double_quantization": {"quantization_bit": "4"},
}


# -- the table


def test_every_other_name_is_tried_here() -> None:
    assert {name for (name, _), _ in WAYS} == set(OTHER_NAMES)


def test_every_other_name_leads_to_an_argument() -> None:
    assert [name for name, alias in aliases().items() if alias.ours not in OURS] == []


def test_no_other_name_is_an_argument_or_refused_or_a_secret() -> None:
    assert OTHER_NAMES.keys() & OURS == set()
    assert aliases().keys() & refusals().keys() == set()
    assert [name for name in aliases() if is_secret(name)] == []


@pytest.mark.parametrize("name", aliases())
def test_the_values_it_names_are_values_of_ours(name: str) -> None:
    alias = aliases()[name]
    for ours in filter(None, alias.words.values()):
        asked = {alias.ours: ours, **({"quantization_bit": "4"} if alias.ours.startswith("quant") else {})}
        assert read(**(asked | {alias.ours: ours})).flat()[alias.ours] is not None


# -- each of them


@pytest.mark.parametrize(("other", "own"), WAYS, ids=lambda pair: "=".join(pair))
def test_an_other_name_is_read_as_ours_with_a_note(other: list[str], own: list[str]) -> None:
    (name, text), (ours, value) = other, own

    def asked(**said: str) -> tuple[ArgumentSet, list[str]]:
        if ours not in arguments_of("sft"):
            return read_set(ChatSet, command(said))
        return read_recipe(command(BESIDE.get(ours, {}) | said))

    given, notes = asked(**{name: text})
    assert given == asked(**{ours: value})[0]
    (note,) = [note for note in notes if note.startswith(f"--{name} ")]
    assert f" is read as --{ours} " in note


@pytest.mark.parametrize(
    ("words", "ours", "value"),
    [
        (["--train_files", "a.csv", "b.csv"], "train_file", ("a.csv", "b.csv")),
        (["--train-files", "a.csv", "b.csv", "--no-cuda"], "train_file", ("a.csv", "b.csv")),
        (["--load_in_4bit"], "quantization_bit", 4),
        (["--load_in_8bit", "--no_cuda"], "quantization_bit", 8),
        (["--no_cuda"], "use_cpu", True),
        (["--max_seq_length=1024"], "cutoff_len", 1024),
        (["--lr", "1e-3"], "learning_rate", 1e-3),
        (["lr=1e-3"], "learning_rate", 1e-3),
        (["load_in_4bit=true", "r=64"], "quantization_bit", 4),
    ],
    ids=str,
)
def test_an_other_name_may_be_written_as_any_flag(words: list[str], ours: str, value: Any) -> None:
    base = [f"--{name}={text}" for name, text in BASE.items()]
    assert read_recipe([*words, *base])[0].flat()[ours] == value


FILE = {"train_files": ["a.csv", "b.csv"], "load_in_4bit": True, "load_in_8bit": False, "warmup_ratio": 0.03, "r": 16,
        "max_seq_length": 512, "target_modules": ["q_proj"], "no_cuda": True, "eval_file": "", "block_size": None,
        "activation_checkpointing_kwargs": {"use_reentrant": True}}  # fmt: skip
YAML = """train_files: [a.csv, b.csv]
load_in_4bit: true
load_in_8bit: false
warmup_ratio: 3e-2
r: 16
max_seq_length: 512
target_modules:
- q_proj
no_cuda: true
eval_file: ""
block_size: null
activation_checkpointing_kwargs:
  use_reentrant: true
"""


@pytest.mark.parametrize(("name", "text"), [("run.json", json.dumps(FILE)), ("run.yaml", YAML)])
def test_other_names_stand_in_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    recipe, notes = read_recipe([str(tmp_path / name), *command({})])
    wanted = {
        "train_file": ("a.csv", "b.csv"), "quantization_bit": 4, "warmup_steps": 0.03, "lora_rank": 16,
        "cutoff_len": 512, "lora_target": ("q_proj",), "use_cpu": True, "validation_file": (),
        "gradient_checkpointing_kwargs": {"use_reentrant": True},
    }  # fmt: skip
    assert {ours: recipe.flat()[ours] for ours in wanted} == wanted
    assert len(notes) == 10
    assert read_recipe([str(tmp_path / name), *command({}), "--lora_rank", "16"])[0] == recipe


def test_other_names_may_be_typed_values() -> None:
    recipe, _ = make_recipe({**BASE, "load_in_4bit": True, "r": 16, "train_files": ["a", "b"]})
    assert (recipe.model.quantization_bit, recipe.method.lora_rank, recipe.data.train_file) == (4, 16, ("a", "b"))
