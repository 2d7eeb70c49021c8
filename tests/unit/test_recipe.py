"""A recipe is checked whole: every complaint is told, each with the flag, the value and what is allowed."""

import pytest

from studio.arguments.check import fill
from studio.command import read_recipe, read_set
from studio.errors import ArgumentError
from studio.recipe import ArgumentSet, ExportSet, Recipe, broken_rules, make_recipe, recipe_groups
from studio.verbs.chat import ChatSet

BASE = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o"]
HELD_OUT = ["--val_size", "0.1"]


def complaints(*words: str) -> list[str]:
    with pytest.raises(ArgumentError) as caught:
        read_recipe([*BASE, *words])
    assert caught.value.exit_code == 10
    return caught.value.complaints


def read(*words: str) -> Recipe:
    return read_recipe([*BASE, *words])[0]


def test_a_verb_with_few_arguments_hears_the_rules_between_them() -> None:
    groups = fill(recipe_groups("sft"), {"train_on_prompt": "True", "mask_history": "True", "fp16": "True"}).groups
    recipe = Recipe(**groups)  # type: ignore[arg-type]  # the groups are Recipe's own fields
    (told,) = broken_rules(recipe, among={"train_on_prompt", "mask_history", "stage"})
    assert told.startswith("--train_on_prompt True and --mask_history True contradict each other")


def test_all_complaints_are_told_at_once() -> None:
    told = complaints(
        "--stage", "sft", "--learning_rte", "1", "--lora_rank", "0", "--finetuning_type", "loar", "--fp16", "--bf16",
        "--hub_token", "x", "--use_unsloth", "--bf16=perhaps", "--dataset_dir", "a", "b",
        "--metric_for_best_model", "x",
    )  # fmt: skip
    assert told == [
        "--learning_rte: there is no such argument. Did you mean learning_rate?",
        told[1],
        told[2],
        "--dataset_dir a b: takes one value, text. Quote text with blanks.",
        "--finetuning_type loar: must be one of lora, full, freeze. Did you mean lora?",
        "--lora_rank 0: must be a whole number, at least 1 and at most 4,096.",
        "--bf16: stands more than once. Keep one.",
        "--metric_for_best_model x: must be one of loss, accuracy, perplexity, bits_per_character, bits_per_byte.",
    ]
    assert told[1].startswith("--hub_token is a secret")
    assert told[2].startswith("--use_unsloth True: not supported: ")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", "-1", "a number, above 0 and at most 10"),
        ("learning_rate", "0", "a number, above 0 and at most 10"),
        ("learning_rate", "1e9", "a number, above 0 and at most 10"),
        ("learning_rate", "nan", "a number, above 0 and at most 10"),
        ("learning_rate", "inf", "a number, above 0 and at most 10"),
        ("learning_rate", "fast", "a number, above 0 and at most 10"),
        ("learning_rate", "True", "a number, above 0 and at most 10"),
        ("num_train_epochs", "0", "a number, above 0 and at most 100,000"),
        ("per_device_train_batch_size", "0", "a whole number, at least 1 and at most 65,536"),
        ("per_device_train_batch_size", str(2**63), "a whole number, at least 1 and at most 65,536"),
        ("per_device_train_batch_size", "1.5", "a whole number, at least 1 and at most 65,536"),
        ("lora_rank", "1000000", "a whole number, at least 1 and at most 4,096"),
        ("cutoff_len", "1000000000", "a whole number, at least 4 and at most 16,777,216"),
        ("bf16", "maybe", "true or false"),
        ("bf16", "2", "true or false"),
        ("flash_attn", "fa4", "one of auto, disabled, sdpa, fa2, fa3"),
        ("adam_beta1", "1", "a number, at least 0 and below 1"),
        ("dataloader_num_workers", "-1", "a whole number, at least 0 and at most 4,096"),
        ("seed", "4294967296", "a whole number, at least 0 and at most 4,294,967,295"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    (told,) = complaints(f"--{name}={value}")
    assert told.startswith(f"--{name} {value}: must be {allowed}.")


def test_a_control_character_is_told_and_not_printed() -> None:
    (told,) = complaints("--template", "a\x1b[31m")
    assert told == (
        "--template a\\x1b[31m: must be text (holds the control character '\\x1b'; text must be printable)."
    )


def test_a_long_value_is_cut_in_its_complaint() -> None:
    (told,) = complaints("--bf16", "x" * 10_000)
    assert len(told) < 150


def test_typed_values_are_checked_as_text_is() -> None:
    base = {"model_name_or_path": "m", "dataset": ["d"], "output_dir": "o"}
    assert make_recipe(base)[0] == read()
    with pytest.raises(ArgumentError, match="--lora_rank True: must be a whole number"):
        make_recipe(base | {"lora_rank": True})
    with pytest.raises(ArgumentError, match=r"--dataset .*: must be names with commas between"):
        make_recipe(base | {"dataset": ["a,b"]})


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--fp16", "--bf16"], ["bf16", "fp16"]),
        (["--val_size", "0.1", "--eval_dataset", "e"], ["val_size", "eval_dataset"]),
        (["--val_size", "0.1", "--validation_file", "e.csv"], ["val_size", "validation_file"]),
        (["--eval_strategy", "steps"], ["eval_strategy", "val_size", "eval_dataset", "validation_file"]),
        (["--max_eval_samples", "5"], ["max_eval_samples", "val_size", "eval_dataset", "validation_file"]),
        (["--quantization_bit", "5"], ["quantization_bit"]),
        (["--quantization_bit", "4", "--finetuning_type", "full"], ["quantization_bit", "finetuning_type"]),
        (["--quantization_type", "fp4"], ["quantization_type", "quantization_bit"]),
        (["--double_quantization", "False", "--quantization_bit", "8"], ["double_quantization", "quantization_bit"]),
        (["--do_train", "False"], ["do_train"]),
        (["--save_strategy", "best"], ["save_strategy"]),
        (["--early_stopping_steps", "3", *HELD_OUT], ["early_stopping_steps", "load_best_model_at_end"]),
        (["--metric_for_best_model", "bleu"], ["metric_for_best_model"]),
        (["--packing", "False", "--neat_packing"], ["packing", "neat_packing"]),
        (["--finetuning_type", "full", "--lora_rank", "16"], ["lora_rank", "finetuning_type"]),
        (["--freeze_trainable_layers", "1"], ["freeze_trainable_layers"]),
        (["--finetuning_type", "full", "--adapter_name_or_path", "a"], ["adapter_name_or_path"]),
        (["--train_on_prompt", "--mask_history"], ["train_on_prompt", "mask_history"]),
        (["--stage", "pt", "--train_on_prompt"], ["train_on_prompt"]),
        (["--lr_scheduler_type", "cosin"], ["lr_scheduler_type"]),
        (["--optim", "adamw"], ["optim"]),
        (["--max_steps", "0"], ["max_steps"]),
        (["--logging_steps", "1.5"], ["logging_steps"]),
        (["--save_steps", "2.5"], ["save_steps"]),
        (["--load_best_model_at_end", *HELD_OUT], ["load_best_model_at_end", "eval_strategy"]),
        (["--load_best_model_at_end", "--eval_strategy", "epoch", *HELD_OUT], ["save_strategy"]),
        (["--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "3", "--save_steps", "10", *HELD_OUT],
         ["save_steps", "eval_steps"]),
        (["--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "0.1", *HELD_OUT], ["eval_steps"]),
        (["--save_strategy", "best", *HELD_OUT], ["save_strategy", "eval_strategy"]),
        (["--lr_scheduler_type", "greedy", *HELD_OUT], ["lr_scheduler_type", "eval_strategy"]),
        (["--optim_args", "a=1"], ["optim_args", "adam_beta1"]),
        (["--optim_target_modules", "q_proj"], ["optim_target_modules"]),
        (["--train_sampling_strategy", "group_by_length"], ["train_sampling_strategy"]),
        (["--train_sampling_strategy", "sequential", "--packing"], ["train_sampling_strategy", "packing"]),
        (["--dataloader_prefetch_factor", "2"], ["dataloader_prefetch_factor", "dataloader_num_workers"]),
        (["--dataloader_multiprocessing_context", "spawn"], ["dataloader_num_workers"]),
    ],
    ids=lambda value: " ".join(value),
)  # fmt: skip
def test_a_broken_rule_names_what_is_involved(words: list[str], names: list[str]) -> None:
    (told,) = complaints(*words)
    assert [name for name in names if f"--{name}" not in told] == []


@pytest.mark.parametrize(
    "words",
    [
        ["--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "5", "--save_steps", "10", *HELD_OUT],
        ["--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "0.1",
         "--save_steps", "0.2", *HELD_OUT],
        ["--load_best_model_at_end", "--eval_strategy", "epoch", "--save_strategy", "epoch", *HELD_OUT],
        ["--save_strategy", "best", "--eval_strategy", "epoch", "--early_stopping_steps", "2",
         "--load_best_model_at_end", *HELD_OUT],
        ["--do_train", "False", *HELD_OUT],
        ["--validation_file", "a.csv", "b.csv", "--eval_dataset", "e", "--eval_strategy", "steps"],
        ["--max_eval_samples", "5", "--validation_file", "a.csv"],
        ["--quantization_bit", "4", "--quantization_type", "fp4", "--double_quantization", "False"],
        ["--quantization_bit", "8"],
        ["--train_sampling_strategy", "sequential"],
        ["--finetuning_type", "full", "--lora_rank", "8"],
        ["--save_steps", "0.0000001"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_fits_together_is_taken(words: list[str]) -> None:
    assert read(*words)


def test_rows_may_be_named_by_a_file_alone() -> None:
    recipe, notes = read_recipe(["--model_name_or_path", "m", "--train_file", "a.csv", "--output_dir", "o"])
    assert (recipe.data.train_file, recipe.data.dataset, recipe.evaluates, notes) == (("a.csv",), (), False, [])
    assert read("--validation_file", "b.csv").evaluates


def test_names_that_must_be_given_are_told_together() -> None:
    with pytest.raises(ArgumentError) as caught:
        read_recipe([])
    assert [told.split()[0] for told in caught.value.complaints] == [
        "--model_name_or_path",
        "--dataset",
        "--output_dir",
    ]


def test_a_rule_about_a_value_that_is_wrong_by_itself_is_not_told() -> None:
    (told,) = complaints("--fp16", "--bf16", "maybe")
    assert told.startswith("--bf16 maybe")


@pytest.mark.parametrize(("words", "packs"), [([], False), (["--stage", "pt"], True), (["--packing"], True),
    (["--neat_packing"], True), (["--stage", "pt", "--packing", "False"], False)], ids=str)  # fmt: skip
def test_packing_is_on_for_texts_and_off_for_answers_unless_asked(words: list[str], packs: bool) -> None:
    assert read(*words).packing is packs


@pytest.mark.parametrize("kind", [ExportSet, ChatSet])
def test_other_verbs_take_the_arguments_of_a_training_file_with_a_note(kind: type[ArgumentSet]) -> None:
    asked, notes = read_set(
        kind, ["--model_name_or_path", "m", "--learning_rate", "1e-5", "--do_sample", "--count", "3"]
    )
    assert asked.flat()["model_name_or_path"] == "m"
    assert "--learning_rate is an argument of studio train and asks for nothing here." in notes
    assert "--count is an argument of studio data preview and asks for nothing here." in notes
    assert ("--do_sample" in " ".join(notes)) == (kind is ExportSet)


@pytest.mark.parametrize("kind", [ExportSet, ChatSet])
def test_other_verbs_refuse_secrets_and_unknown_names(kind: type[ArgumentSet]) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_set(kind, ["--hub_token", "hf_x", "--modl_name_or_path", "m"])
    assert "hf_x" not in str(caught.value)
    assert "Did you mean model_name_or_path?" in str(caught.value)
