"""A recipe and its command say the same, whichever way it is written; and what cannot be read is told."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.__main__ import main
from studio.command import read_recipe, said, to_argv, to_shell, to_text, to_yaml
from studio.errors import ArgumentError, StudioError, UsageError
from studio.recipe import Recipe
from tests.unit.recipes import recipes, texts

BASE = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o"]
many = settings(max_examples=1000, suppress_health_check=list(HealthCheck))


def read(*words: str) -> Recipe:
    return read_recipe([*BASE, *words])[0]


def complaints(*words: str) -> list[str]:
    with pytest.raises(ArgumentError) as caught:
        read_recipe(words)
    return caught.value.complaints


def every_way(recipe: Recipe, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The recipe as the words of a command, in each way it can be written."""
    spelled = {name: to_text(value) for name, value in said(recipe).items()}
    yield "arguments", to_argv(recipe)
    line = shlex.split(to_shell(recipe))
    assert line[:2] == ["studio", "train"]
    yield "shell line", line[2:]
    yield "hanging", [f"--{name}={text}" for name, text in spelled.items()]
    (folder / "empty.yaml").write_text("", encoding="utf-8")
    yield "pairs", [str(folder / "empty.yaml"), *(f"{name}={text}" for name, text in spelled.items())]
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    yield "YAML file", [str(folder / "recipe.yaml")]
    for name, values in (("typed", said(recipe)), ("texts", spelled)):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        yield f"JSON file of {name}", [str(path)]


@many
@given(recipes())
def test_a_recipe_comes_back_from_every_way_to_write_it(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe
) -> None:
    for way, words in every_way(recipe, tmp_path_factory.getbasetemp()):
        assert read_recipe(words)[0] == recipe, way


@pytest.mark.slow
@settings(many, max_examples=10_000)
@given(recipes())
def test_ten_thousand_recipes_come_back(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    for way, words in every_way(recipe, tmp_path_factory.getbasetemp()):
        assert read_recipe(words)[0] == recipe, way


@many
@given(st.lists(texts | st.sampled_from(["--lora_rank", "--dataset", "--x=1", "bf16=1", "--hub_token"]), max_size=6))
def test_whatever_stands_on_the_line_is_read_or_told(words: list[str]) -> None:
    try:
        recipe, _ = read_recipe([word for word in words if not word.endswith((".yaml", ".json"))])
        assert read_recipe(to_argv(recipe))[0] == recipe
    except StudioError as error:
        assert str(error).strip()


# -- spellings


@pytest.mark.parametrize(
    "words",
    [
        ["--bf16"],
        ["--bf16", "True"],
        ["--bf16", "true"],
        ["--bf16", "1"],
        ["--bf16=True"],
        ["--bf16", "--lora_rank", "8"],
        ["--bf16", "yes"],
    ],
    ids=" ".join,
)
def test_true_may_be_written_in_many_ways(words: list[str]) -> None:
    assert read(*words).training.bf16 is True


@pytest.mark.parametrize("word", ["False", "false", "0", "no"])
def test_false_may_be_written_in_many_ways(word: str) -> None:
    assert read("--bf16", word).training.bf16 is False


@pytest.mark.parametrize("word", ["None", "null", ""])
def test_an_optional_value_may_be_unset(word: str) -> None:
    assert read("--max_samples", word).data.max_samples is None
    assert read(f"--bf16={word}").training.bf16 is None


@pytest.mark.parametrize(
    "words", [["a,b"], ["a", "b"], ["a,", "b"], ["a, b"], ["a ,b"]], ids=lambda words: " ".join(words)
)
def test_a_list_may_have_commas_or_blanks(words: list[str]) -> None:
    assert read("--lora_target", *words).method.lora_target == ("a", "b")


@pytest.mark.parametrize("words", [["-1"], ["-1"], ["=-1"]])
def test_a_negative_number_is_a_value(words: list[str]) -> None:
    text = words[0]
    given = [f"--max_steps{text}"] if text.startswith("=") else ["--max_steps", text]
    assert read(*given).training.max_steps == -1


def test_a_value_that_begins_with_a_dash_is_a_value_after_its_flag() -> None:
    assert read("--run_name", "-x y").upstream.model_dump()["run_name"] == "-x y"
    (told,) = complaints(*BASE, "--learning_rate", "-1e-5")
    assert told.startswith("--learning_rate -1e-5: must be a number, above 0")


def test_dashes_in_a_flag_are_read_as_underscores() -> None:
    assert read("--learning-rate", "0.5", "--num-train-epochs=2").training.learning_rate == 0.5


def test_what_the_line_says_wins_over_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("lora_rank: 4\nlora_dropout: 0.5\nmax_samples: 3\n", encoding="utf-8")
    recipe, _ = read_recipe([str(path), "lora_rank=16", *BASE, "--lora_dropout", "0.25"])
    assert (recipe.method.lora_rank, recipe.method.lora_dropout, recipe.data.max_samples) == (16, 0.25, 3)


def test_pairs_may_stand_without_a_file() -> None:
    assert read_recipe(["lora_rank=16", *BASE])[0].method.lora_rank == 16


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001", ".0001"])
def test_a_small_number_in_yaml_is_a_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"learning_rate: {text}\n", encoding="utf-8")
    assert read_recipe([str(path), *BASE])[0].training.learning_rate == 0.0001


@pytest.mark.parametrize("text", ["no", "010", "12:30", "1_000", "2024-01-01", "1e3", "true", "~x", "0x10", "on"])
def test_text_in_yaml_stays_the_text_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"run_name: {text}\ndataset: [{text}, b]\n", encoding="utf-8")
    recipe = read_recipe([str(path), "--model_name_or_path", "m", "--output_dir", "o"])[0]
    assert recipe.upstream.model_dump()["run_name"] == text
    assert recipe.data.dataset == (text, "b")


def test_null_in_a_file_is_unset(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "lora_target: null\nlora_rank:\nrun_name: ~\nmax_samples: null\nhub_token: null\n", encoding="utf-8"
    )
    assert read_recipe([str(path), *BASE])[0] == read()
    (tmp_path / "run.json").write_text('{"lora_target": null, "max_samples": null}', encoding="utf-8")
    assert read_recipe([str(tmp_path / "run.json"), *BASE])[0] == read()


def test_an_object_may_be_nested_in_yaml_or_be_json_text(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs:\n  min_lr: 1e-6\n  x: [1, no, '2']\n",
        encoding="utf-8",
    )
    wanted = {"min_lr": 1e-6, "x": [1, "no", "2"]}
    told = read_recipe([str(path), *BASE])[0]
    assert told.upstream.model_dump()["lr_scheduler_kwargs"] == wanted
    assert (
        read("--lr_scheduler_type", "cosine_with_min_lr", "--lr_scheduler_kwargs", json.dumps(wanted)).upstream
        == told.upstream
    )


# -- what cannot be read


@pytest.mark.parametrize(
    "words",
    [["x"], ["--bf16", "True", "--", "x"], ["-x", "1"], ["a.yml.txt"], ["--dataset", "a", "-b", "c"]],
    ids=" ".join,
)
def test_words_that_are_no_flags_and_values_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError, match="stands where a flag must stand") as caught:
        read_recipe(words)
    assert caught.value.exit_code == 2


def test_a_flag_without_its_value_says_what_is_allowed() -> None:
    assert complaints(*BASE, "--lora_rank") == [
        "--lora_rank: needs a value, a whole number, at least 1 and at most 4,096."
    ]


def test_several_values_for_one_flag_are_told() -> None:
    (told,) = complaints(*BASE, "--learning_rate", "1", "2")
    assert told.startswith("--learning_rate 1 2: takes one value")


@pytest.mark.parametrize(
    "words",
    [
        ["--lora_rank", "8", "--lora_rank", "16"],
        ["--lora_rank=8", "--lora-rank", "16"],
        ["--lora_rank=8", "--lora_rank=8"],
        ["--max_steps", "-1", "--max_steps", "-1"],
    ],
    ids=" ".join,
)
def test_a_flag_that_stands_twice_is_told(words: list[str]) -> None:
    (told,) = complaints(*BASE, *words)
    assert told.endswith("stands more than once. Keep one.")


def test_a_pair_and_a_flag_of_one_name_are_told() -> None:
    assert complaints("lora_rank=4", *BASE, "--lora_rank", "8") == ["--lora_rank: stands more than once. Keep one."]
    assert complaints("lora_rank=4", "lora_rank=4", *BASE) == ["--lora_rank: stands more than once. Keep one."]


@pytest.mark.parametrize("text", ["abc", "[1]", "1", "{", '{"a": NaN}', "{'a': 1}", "[" * 9000, '"x"'])
def test_text_that_is_no_object_is_told(text: str) -> None:
    (told,) = complaints(*BASE, "--lr_scheduler_kwargs", text)
    assert told.startswith("--lr_scheduler_kwargs ")
    assert "must be a JSON object" in told


def test_the_stage_may_be_given_in_any_spelling(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("stage: pt\n", encoding="utf-8")
    for words in (["--stage", "pt"], ["--stage=pt"]):
        assert read(*words).stage == "pt"
    assert read_recipe([str(path), *BASE])[0].stage == "pt"
    assert read_recipe(["stage=pt", *BASE])[0].stage == "pt"
    assert read_recipe([str(path), *BASE, "--stage", "sft"])[0].stage == "sft"


@pytest.mark.parametrize("words", [["--stage"], ["--stage", "a", "b"], ["--stage=a", "--stage=b"], ["--stage", "sfd"]])
def test_a_stage_that_cannot_be_read_is_one_complaint(words: list[str]) -> None:
    (told,) = complaints(*BASE, *words)
    assert told.startswith("--stage")


# -- as people bring it

TUTORIAL = """--stage sft --do_train True
--model_name_or_path saves/Qwen2-0.5B/full/Qwen2_pretrain_output_demo1 --preprocessing_num_workers 16
--finetuning_type full --template default --flash_attn auto --dataset_dir data --dataset custom_sft_train_data
--cutoff_len 1024 --learning_rate 5e-05 --num_train_epochs 3.0 --max_samples 100000 --per_device_train_batch_size 2
--gradient_accumulation_steps 8 --lr_scheduler_type cosine --max_grad_norm 1.0 --logging_steps 5 --save_steps 100
--warmup_steps 0 --optim adamw_torch --packing False --report_to none
--output_dir saves/Qwen2-0.5B/full/Qwen2_sft_output_demo1 --bf16 True --plot_loss True --ddp_timeout 180000000
--include_num_input_tokens_seen True"""


def test_the_command_of_a_tutorial_is_read_as_it_stands() -> None:
    recipe, notes = read_recipe(TUTORIAL.split())
    assert notes == []
    assert recipe.training.bf16 is True
    assert recipe.training.include_num_input_tokens_seen == "all"
    assert recipe.packing is False
    assert recipe.flat()["ddp_timeout"] == 180_000_000
    assert (recipe.data.dataset, recipe.data.max_samples) == (("custom_sft_train_data",), 100_000)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["no.yaml"], 10),
        (["folder.yaml"], 10),
        (["bad.yaml"], 10),
        (["huge.json"], 10),
        (["--learning_rte", "1"], 10),
        (["--hub_token", "x"], 10),
        (["word"], 2),
        (["--bf16", "--", "x"], 2),
        (["--help", "zebra"], 2),
    ],
    ids=str,
)
def test_a_command_that_cannot_be_read_ends_with_its_code_and_a_sentence(
    words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bad.yaml").write_text("a: !!python/name:os.system x\n", encoding="utf-8")
    (tmp_path / "huge.json").write_bytes(b" " * 10_000_000)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip()
    assert "Traceback" not in shown.err


def test_a_settings_file_outside_the_allowed_roots_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.yaml").write_text("lora_rank: 4\n")
    monkeypatch.setenv("STUDIO_ROOTS", str(tmp_path / "inside"))
    with pytest.raises(StudioError, match="outside the folders"):
        read_recipe([str(tmp_path / "run.yaml"), *BASE])


def test_a_settings_file_is_looked_for_in_the_workspace_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, rank in (("workspace", 4), ("shell", 16)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.yaml").write_text(f"lora_rank: {rank}\n")
    (tmp_path / "shell" / "own.yaml").write_text("lora_rank: 32\n")
    monkeypatch.chdir(tmp_path / "shell")
    root = tmp_path / "workspace"
    assert read_recipe(["run.yaml", *BASE], root)[0].method.lora_rank == 4
    assert read_recipe(["own.yaml", *BASE], root)[0].method.lora_rank == 32
    assert read_recipe(["run.yaml", *BASE])[0].method.lora_rank == 16
