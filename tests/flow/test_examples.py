"""Every file in examples/ runs as it stands, on a tiny model and a few of the rows that it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.yaml") if path.stem != "export")
# Those that stand for the others; all of them run with the slow tests.
QUICK = ("sft_lora", "dpo_lora")
# What stands in for the model, its rows and its length; the rest is the file's own.
TINY = {
    "model_name_or_path": "models/tiny-chat", "output_dir": "", "max_samples": 12, "cutoff_len": 2048, "max_steps": 2,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "logging_steps": 1, "save_steps": 2,
    "use_cpu": "true", "bf16": "false", "preprocessing_num_workers": 1,
}  # fmt: skip
# Arguments that a file has besides, and what stands in for them where the file names them.
INSTEAD = {
    "eval_steps": "2", "val_size": "4", "freeze_trainable_layers": "1", "max_new_tokens": "4", "lora_rank": "4",
    "warmup_steps": "1", "adapter_name_or_path": "saves/sft_lora", "reward_model": "saves/rm_lora",
}  # fmt: skip
# A file that needs the run of another.
AFTER = {"sft_new_adapter": "sft_lora", "ppo_lora": "rm_lora"}


@pytest.fixture(scope="module")
def prepared(place: Workspace) -> Workspace:
    """A workspace with the examples, the registry and the datasets that they name, and the tiny models."""
    shutil.copytree(ROOT / "examples", place.root / "examples")
    shutil.copy(ROOT / "dataset_info.json", place.root)
    shutil.rmtree(place.data)
    shutil.copytree(ROOT / "data", place.data)
    return place


@pytest.fixture(scope="module")
def example(prepared: Workspace, command: Any) -> Any:
    """Run an example once, and what it needs before; gives its folder."""
    done: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in done:
            if name in AFTER:
                run(AFTER[name])
            file = f"examples/{name}.yaml"
            lines = (prepared.root / file).read_text(encoding="utf-8").splitlines()
            named = {line.partition(":")[0] for line in lines}
            words = {**TINY, **{key: value for key, value in INSTEAD.items() if key in named}}
            words["output_dir"] = f"saves/{name}"
            # More than the tiny model's 4,096 positions.
            words |= {"cutoff_len": 8192} if "rope_scaling" in named else {}
            ended = command(prepared, "train", file, *(f"{key}={value}" for key, value in words.items()))
            assert ended.code == 0, ended.err
            done[name] = prepared.path(f"saves/{name}")
        return done[name]

    return run


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EXAMPLES])
def test_an_example_runs(example: Any, name: str):
    record = json.loads((example(name) / "run.json").read_text(encoding="utf-8"))
    assert record["finished"]
    assert record["results"]["steps"] == 2


@pytest.mark.slow
def test_the_export_example_merges_what_the_training_example_made(example: Any, prepared: Workspace, command: Any):
    run = example("sft_lora")
    words = [f"model_name_or_path={prepared.shown(run)}", "export_dir=models/example"]
    done = command(prepared, "export", "examples/export.yaml", *words)
    assert done.code == 0, done.err
    assert json.loads((prepared.path("models/example") / "config.json").read_text())["dtype"] == "float32"
