"""The argument sets of other programs do here what they say, with every other name told."""

from __future__ import annotations

import csv
import json
import shlex
from typing import Any

import pytest

from studio.workspace import Workspace
from tests.conftest import lines, sft_rows
from tests.unit.arguments.brought import FIREFLY, PRETRAIN_CLM

# One process needs no DeepSpeed, whose package is an extra; the rest of the command is as it stands.
COMMAND = PRETRAIN_CLM.replace("--deepspeed ./ds_config_zero3.json", "")


def write_csv(place: Workspace, name: str, texts: list[str]) -> None:
    with place.path(f"data/{name}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])


@pytest.fixture(scope="module")
def pretrained(place: Workspace, command: Any, look: Any) -> Any:
    """The run of a pretraining script's command: two CSV files of Chinese and English, one to evaluate on."""
    texts = lines()
    for name, rows in {"train_0": texts[:20], "train_1": texts[20:50], "dev": texts[50:]}.items():
        write_csv(place, name, rows)
    done = command(place, "train", *shlex.split(COMMAND), "--use_cpu")
    assert done.code == 0, done.err
    return done, look(place.path("saves/pretrained"))


def test_a_pretraining_command_runs_as_it_stands(pretrained: Any) -> None:
    _, run = pretrained
    record = run.json("run.json")
    assert record["finished"] and record["results"]["steps"] == 3
    assert set(record["data"]["hashes"]) == {"data/train_0.csv", "data/train_1.csv", "data/dev.csv"}
    assert any(point.get("eval_loss") for point in run.points)
    assert [step for step, _ in run.curve] == [1, 2, 3]
    assert list((run.folder / "tensorboard").rglob("events.*"))


def test_it_reads_every_text_of_its_files(pretrained: Any) -> None:
    done, _ = pretrained
    assert "packing: 50 rows in 1 sequence" in done.err


def test_it_tells_what_other_names_are_read_as(pretrained: Any) -> None:
    done, run = pretrained
    for sentence in (
        "--train_files data/train_0.csv,data/train_1.csv is read as --train_file data/train_0.csv,data/train_1.csv.",
        "--evaluation_strategy steps is read as --eval_strategy steps.",
        "--block_size 4096 is read as --cutoff_len 4096.",
        "--use_fast_tokenizer false asks for nothing here and is left out",
        "--bf16_full_eval True asks for nothing here and is left out",
        "--warmup_steps 10000 is as long as the whole run",
    ):
        assert sentence in done.err, done.err
        assert sentence in run.log


def test_rows_longer_than_the_model_reaches_are_told_before_the_start(place: Workspace, command: Any) -> None:
    config = place.path("models/tiny/config.json")
    settings = json.loads(config.read_text())
    short = place.path("models/short")
    short.mkdir()
    for file in place.path("models/tiny").iterdir():
        (short / file.name).write_bytes(file.read_bytes())
    (short / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 64}))
    write_csv(place, "long", [" ".join(lines())])
    line = COMMAND.replace("models/tiny", "models/short").replace("saves/pretrained", "saves/short")
    words = shlex.split(line.replace("data/train_1.csv", "data/long.csv"))
    done = command(place, "train", *words, "--use_cpu")
    assert done.code == 10
    assert "--block_size 4096 is read as --cutoff_len 4096." in done.err
    assert "--cutoff_len 4096: the longest row has " in done.err
    assert "but the model has positions for 64. Lower it to 64, or stretch" in done.err
    assert "step 1/" not in done.err


def test_the_json_of_a_chat_trainer_runs_whole(place: Workspace, command: Any, look: Any) -> None:
    rows = [
        {"conversation_id": number, "category": "city", "conversation": [{"human": row["instruction"],
                                                                          "assistant": row["output"]}]}
        for number, row in enumerate(row for row in sft_rows() if not row["input"])
    ]  # fmt: skip
    file = place.path("data/dummy_data.jsonl")
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    place.path("firefly.json").write_text(json.dumps(FIREFLY), encoding="utf-8")
    done = command(place, "train", "firefly.json", "--use_cpu")
    assert done.code == 0, done.err
    run = look(place.path("output/firefly"))
    assert run.json("run.json")["finished"]
    settings = run.json("adapter_config.json")
    assert (settings["r"], settings["lora_alpha"], settings["lora_dropout"]) == (64, 16, 0.05)
    for sentence in (
        "--max_seq_length 1024 is read as --cutoff_len 1024.",
        "--bits 4 is read as --quantization_bit 4.",
    ):
        assert sentence in done.err


def test_a_preview_knows_the_other_names(pretrained: Any, place: Workspace, command: Any) -> None:
    words = ["--base_model", "models/tiny", "--task_type", "pretrain", "--block_size", "64"]
    done = command(place, "data", "preview", "data/dev.csv", *words)
    assert done.code == 0, done.err
    assert lines()[50] in done.out
    assert "--block_size 64 is read as --cutoff_len 64." in done.err
