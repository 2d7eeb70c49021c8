"""A new language for a model: clean → shard → mix → extend → pretrain → evaluate. Run it with `make demo-language`.

A small English model, whose tokenizer writes a Chinese character with two tokens, gets tokens for Chinese and learns
it. Every step is a command that is shown before it runs. Four runs of equal steps are held against each other: the
model as it was and the one with the larger vocabulary, each with LoRA (and the new rows of the embeddings) and in full.
The exit code is 1 when the tokens per character did not fall by more than half, or the held-out bits per character of
the extended model are not below those of the unextended one. `--quick` makes a few steps and judges the tokens alone.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain import ROOT, Chain, write_lines

# What is learned: questions of patients with answers, and classics of medicine. Rows held out of each.
SOURCES = {"medical_qa_zh": 12, "tcm_classics_zh": 4}
# Rows that are spoiled before the cleaning, so that it has something to do: so many of each kind in each source.
SPOILED = 20
RUN: dict[str, Any] = {
    "stage": "pt",
    "cutoff_len": 256,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 4,
    "max_steps": 24,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "eval_strategy": "no",
    "eval_on_start": True,
    "save_strategy": "no",
    "logging_steps": 4,
    "overwrite_output_dir": True,
}
LORA = {"finetuning_type": "lora", "lora_rank": 16, "learning_rate": "1e-3"}
FULL = {"finetuning_type": "full", "learning_rate": "3e-4"}
# The runs: which model, and how it learns.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain_lora": ("plain", LORA),
    "extended_lora": ("extended", {**LORA, "trainable_token_indices": "new"}),
    "plain_full": ("plain", FULL),
    "extended_full": ("extended", FULL),
}
MEASURE = "eval_bits_per_character"


@dataclass(frozen=True)
class Size:
    """How much is done: rows of each source, new tokens, steps."""

    rows: int | None
    tokens: int
    steps: int


WHOLE, QUICK = Size(None, 6000, 24), Size(120, 1500, 2)


def main() -> int:
    """Go the whole way; the exit code is that of the first command that fails, or 1 when a measure is not met."""
    parser = argparse.ArgumentParser(description="clean → shard → mix → extend → pretrain → evaluate")
    parser.add_argument("--model", default="models/SmolLM2-135M-Instruct", help="the model that gets a language")
    parser.add_argument("--folder", type=Path, default=Path("saves/language"), help="where everything goes")
    parser.add_argument("--quick", action="store_true", help="a few steps, and only the tokens are judged")
    asked = parser.parse_args()
    if not (ROOT / asked.model).is_dir():
        subprocess.run([sys.executable, "-m", "studio.model.embedded"], cwd=ROOT, check=True)
    return go(Chain(ROOT / asked.folder, asked.model, quick=asked.quick))


def go(way: Chain) -> int:
    """The whole way, and what came of it; 1 when a measure is not met."""
    size = QUICK if way.quick else WHOLE
    write_rows(way.folder / "rows", size.rows)
    prepare(way)
    tokens = extend(way, size.tokens)
    for name in RUNS:
        pretrain(way, name, size.steps)
    evaluate(way)
    return told(way, tokens)


def write_rows(folder: Path, most: int | None) -> None:
    """Split each source into rows to learn from and rows held out, and spoil some of those to learn from.

    Copies that differ by a word, held-out rows that leaked, and running text in HTML are what a crawl brings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held_out: list[dict[str, Any]] = []
    for name, count in SOURCES.items():
        texts = [json.loads(line)["text"] for line in (ROOT / f"data/{name}.jsonl").read_text("utf-8").splitlines()]
        random.Random(0).shuffle(texts)
        held, learned = texts[:count], texts[count:][:most]
        long = [text for text in learned if len(text) > 150][:SPOILED]
        spoiled = [*(f"{text}（转载）" for text in long), *held[:3]]
        pages = [f"<div><p>{text}</p></div>" for text in learned[:SPOILED]]
        write_lines(folder / f"{name}.jsonl", rows_of([*pages, *learned[SPOILED:], *spoiled]))
        held_out += rows_of(held)
    write_lines(folder / "held_out.jsonl", held_out)


def rows_of(texts: Iterable[str]) -> list[dict[str, str]]:
    """Texts as rows."""
    return [{"text": text} for text in texts]


def prepare(way: Chain) -> None:
    """Clean and free of duplicates, pack into shards, and mix by size at a temperature."""
    raw = ",".join(way.path("rows", f"{name}.jsonl") for name in SOURCES)
    way.command(
        "clean", "data", "clean", "--train_file", raw, "--held_out", way.path("rows/held_out.jsonl"),
        "--output_dir", way.path("clean"), "--overwrite_output_dir",
    )  # fmt: skip
    for name in SOURCES:
        way.command(
            "shard", "data", "shard", "--train_file", way.path("clean", f"{name}.jsonl"),
            "--output_dir", way.path("shards", name), "--shard_rows", "200", "--overwrite_output_dir",
        )  # fmt: skip
    way.command(
        "mix", "data", "mix", "--train_file", shards(way), "--mix_strategy", "interleave_over",
        "--mix_temperature", "2", "--mix_file", way.path("mix.yaml"), "--overwrite_mix_file",
    )  # fmt: skip


def shards(way: Chain) -> str:
    """The folders of shards, as arguments name them."""
    return ",".join(way.path("shards", name) for name in SOURCES)


def extend(way: Chain, tokens: int) -> tuple[float, float]:
    """Tokens for the new language; tokens per character of the held-out rows before and after."""
    way.command(
        "extend", "tokenizer", "extend", "--model_name_or_path", way.model, "--train_file", shards(way),
        "--scripts", "han", "--num_new_tokens", str(tokens), "--output_dir", way.path("extended"),
        "--overwrite_output_dir",
    )  # fmt: skip
    found = json.loads(way.command(
        "extend", "tokenizer", "inspect", "--model_name_or_path", way.path("extended"),
        "--train_file", way.path("rows/held_out.jsonl"), "--json", shown=False,
    ))  # fmt: skip
    (row,) = found["measures"]["datasets"]
    return row["before"]["tokens_per_character"], row["after"]["tokens_per_character"]


def pretrain(way: Chain, name: str, steps: int) -> None:
    """One run on the mix, measured on the held-out rows before its first step and after its last."""
    model, method = RUNS[name]
    values = {
        "model_name_or_path": way.model if model == "plain" else way.path("extended"),
        "validation_file": way.path("rows/held_out.jsonl"),
        **RUN, **method, "max_steps": steps, "output_dir": way.path(name),
    }  # fmt: skip
    way.command(name, "train", way.path("mix.yaml"), *(f"--{key}={value}" for key, value in values.items()))


def evaluate(way: Chain) -> None:
    """The held-out rows under the better of the runs, beside the model that it began with."""
    way.command(
        "evaluate", "eval", "text", "--model_name_or_path", way.path("extended_lora"),
        "--text_file", way.path("rows/held_out.jsonl"), "--cutoff_len", "256",
    )  # fmt: skip


def told(way: Chain, tokens: tuple[float, float]) -> int:
    """The table of the whole way; 1 when a measure is not met."""
    before, after = tokens
    halved = after < before / 2
    print(f"\n{'tokens per character of held-out rows':<40}{before:>9.3f}{after:>9.3f}  {'halved' if halved else 'NO'}")
    print(f"\n{'bits per character, held out':<30}{'before':>9}{'after':>9}{'seconds':>9}{'of CPU':>8}")
    ends: dict[str, float] = {}
    for name in RUNS:
        start, ends[name] = way.measured(name, MEASURE)
        print(f"{name:<30}{start:>9.3f}{ends[name]:>9.3f}{way.took[name]:>9.0f}{way.used[name]:>8.0f}")
    for name in ("clean", "shard", "mix", "extend", "evaluate"):
        print(f"{name:<48}{way.took[name]:>9.0f}{way.used[name]:>8.0f}")
    print(f"{'all':<48}{sum(way.took.values()):>9.0f}{sum(way.used.values()):>8.0f}")
    print(f"\nEverything is in {way.path()}.")
    worse = [how for how in ("lora", "full") if ends[f"extended_{how}"] >= ends[f"plain_{how}"]]
    if not halved or (worse and not way.quick):
        print(f"not met: {'tokens per character' if not halved else 'bits per character with ' + ', '.join(worse)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
