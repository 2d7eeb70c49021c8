"""What other names say together: what asks for nothing, what contradicts, what is wrong, and the help about them."""

import re

import pytest

from studio.arguments.base import Argument
from studio.command import help_text, read_recipe, read_set
from studio.errors import ArgumentError, UsageError
from studio.recipe import STAGES, ArgumentSet, ExportSet, arguments_of
from studio.verbs.chat import ChatSet
from tests.unit.arguments.commands import command, complaints, read

# -- what asks for nothing, what contradicts, what is wrong


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("load_in_4bit", "False"),
        ("load_in_8bit", "0"),
        ("use_flash_attn", "false"),
        ("lora_target_linear", "False"),
        ("bits", "16"),
        ("load_in_bits", "None"),
        ("block_size", "null"),
        ("eval_file", ""),
        ("task_type", "CAUSAL_LM"),
    ],
)
def test_a_value_that_asks_for_nothing_is_left_out_with_a_note(name: str, text: str) -> None:
    recipe, notes = read_recipe(command({name: text}))
    assert recipe == read()
    assert notes == [f"--{name} {text} asks for nothing here and is left out."]


@pytest.mark.parametrize(
    "asked",
    [
        {"cutoff_len": "1024", "block_size": "1024"},
        {"quantization_bit": "4", "load_in_4bit": "True", "bits": "4.0", "load_in_8bit": "False"},
        {"learning_rate": "1e-4", "lr": "0.0001"},
        {"eval_strategy": "steps", "evaluation_strategy": "steps", "val_size": "0.1"},
        {"train_file": "a,b", "train_files": "a,b"},
        {"quantization_bit": "None", "bits": "8"},
    ],
    ids=str,
)
def test_two_names_for_the_same_value_are_taken(asked: dict[str, str]) -> None:
    assert read(**asked)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"cutoff_len": "2048", "block_size": "1024"},
            "--cutoff_len 2048 and --block_size 1024 contradict each other: all of them say --cutoff_len. Keep one.",
        ),
        (
            {"load_in_4bit": "True", "load_in_8bit": "True"},
            "--load_in_4bit True and --load_in_8bit True contradict each other: all of them say --quantization_bit. "
            "Keep one.",
        ),
        (
            {"block_size": "5", "max_seq_length": "6", "max_seq_len": "5"},
            "--block_size 5 and --max_seq_length 6 and --max_seq_len 5 contradict each other: all of them say "
            "--cutoff_len. Keep one.",
        ),
        (
            {"warmup_steps": "100", "warmup_ratio": "0.1"},
            "--warmup_steps 100 and --warmup_ratio 0.1 contradict each other: all of them say --warmup_steps. "
            "Keep one.",
        ),
        (
            {"task_type": "pretrain", "stage": "sft"},
            "--task_type pretrain and --stage sft contradict each other: all of them say --stage. Keep one.",
        ),
        ({"load_in_4bit": "perhaps"}, "--load_in_4bit perhaps: must be true or false."),
        (
            {"warmup_ratio": "10"},
            "--warmup_ratio 10: must be a share below 1; a number of steps is written --warmup_steps.",
        ),
        (
            {"block_size": "abc"},
            "--cutoff_len abc: must be a whole number, at least 4 and at most 16,777,216. "
            "(--cutoff_len was written --block_size.)",
        ),
        ({"bits": "3"}, "--quantization_bit 3: must be 4 or 8, or away for full precision. "
                        "(--quantization_bit was written --bits.)"),
        (
            {"train_mode": "qlora", "bits": "4"},
            "--train_mode qlora: not supported: write --finetuning_type full or lora; what others call qlora is lora "
            "with --quantization_bit 4.",
        ),
        (
            {"val_set_size": "0.1", "eval_dataset": "e"},
            "--val_size and --eval_dataset exclude each other: hold rows out, or name those to evaluate on. "
            "(--val_size was written --val_set_size.)",
        ),
        (
            {"task_type": "distilled"},
            f"--stage distilled: must be one of {', '.join(STAGES)}. (--stage was written --task_type.)",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_contradicts_or_is_wrong_is_told_under_the_name_it_came_with(asked: dict[str, str], told: str) -> None:
    assert complaints(**asked) == [told]


def test_a_flag_of_an_other_name_needs_its_value() -> None:
    with pytest.raises(ArgumentError, match="--block_size: needs a value, a whole number"):
        read_recipe([*command({}), "--block_size"])


def test_a_share_of_warm_up_counts_beside_no_steps() -> None:
    assert read(warmup_ratio="0.1", warmup_steps="0").training.warmup_steps == 0.1
    assert read(warmup_ratio="0", warmup_steps="100").training.warmup_steps == 100


def test_a_word_of_another_program_is_read_as_ours() -> None:
    recipe, notes = read_recipe(command({"quantization_method": "bitsandbytes", "optim": "adamw_hf", "stage": "sft"}))
    assert (recipe.model.quantization_method, recipe.training.optim) == ("bnb", "adamw_torch")
    assert notes == ["--quantization_method bitsandbytes is read as bnb.", "--optim adamw_hf is read as adamw_torch."]
    assert read(stage="pretrain").stage == "pt"


# -- other verbs, suggestions, help


@pytest.mark.parametrize("kind", [ExportSet, ChatSet])
def test_other_verbs_know_them_too(kind: type[ArgumentSet]) -> None:
    asked, notes = read_set(kind, ["--base_model", "m", "--lora_weights", "a", "b", "--block_size", "1024"])
    assert asked.flat()["model_name_or_path"] == "m"
    assert asked.flat()["adapter_name_or_path"] == ("a", "b")
    assert "--block_size 1024 is read as --cutoff_len 1024." in notes
    assert "--cutoff_len is an argument of studio train and asks for nothing here." in notes


@pytest.mark.parametrize(
    ("name", "near"), [("warmup_ration", "warmup_ratio"), ("max_seq_lenght", "max_seq_length"), ("ckpts", "ckpt")]
)
def test_a_misspelt_other_name_is_suggested(name: str, near: str) -> None:
    assert complaints(**{name: "1"}) == [f"--{name}: there is no such argument. Did you mean {near}?"]
    with pytest.raises(UsageError, match=f"Did you mean {near}?"):
        help_text("train", arguments_of("sft").values(), name)


def sft() -> list[Argument]:
    return list(arguments_of("sft").values())


@pytest.mark.parametrize("word", ["warmup_ratio", "--warmup_ratio", "warmup-ratio"])
def test_help_about_an_other_name_shows_ours(word: str) -> None:
    page = help_text("train", sft(), word)
    assert page.lstrip().startswith(
        "--warmup_ratio is another name for --warmup_steps: 0 asks for nothing, below 1 it is a share of all steps.\n"
    )
    assert "--warmup_steps [0]" in page
    assert "--learning_rate" not in page


def test_help_tells_how_its_values_are_read() -> None:
    page = help_text("train", sft(), "load_in_4bit")
    assert page.lstrip().startswith(
        "--load_in_4bit is another name for --quantization_bit: true is 4, false asks for nothing.\n"
    )


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("ckpt", "--model_name_or_path .* --resume_from_checkpoint"),
        ("img_log_name", "--img_log_dir have the name of the run"),
        ("train_mode", "--finetuning_type full or lora; .* --quantization_bit 4"),
        ("dataset_name", "dataset_info.json, with hf_hub_url"),
        ("validation_split_percentage", "--val_size"),
        ("max_length", "--cutoff_len .* --max_new_tokens"),
    ],
)
def test_a_name_with_another_meaning_is_answered_with_ours(name: str, answer: str) -> None:
    (told,) = complaints(**{name: "x"})
    assert re.match(f"--{name} x: not supported: .*{answer}", told)
    with pytest.raises(UsageError, match=answer):
        help_text("train", sft(), name)


@pytest.mark.parametrize(
    "asked",
    ["logging_dir=x/logs", "use_fast_tokenizer=false", "bf16_full_eval=True", "remove_unused_columns=False",
     "save_safetensors=True", "fp16_opt_level=O1", "include_tokens_per_second=True",
     "overwrite_cache=False"],
)  # fmt: skip
def test_what_happens_in_any_case_or_not_at_all_may_be_said(asked: str) -> None:
    name, _, text = asked.partition("=")
    recipe, notes = read_recipe(command({name: text}))
    assert recipe == read()
    assert name == "overwrite_cache" or notes[0].startswith(f"--{name} {text} asks for nothing here and is left out: ")
