"""Several processes are one run: the same numbers, one voice, one exit code, one end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from studio.workspace import Workspace

TERM = int(signal.SIGTERM)
PLAIN = {"finetuning_type": "full", "logging_steps": 1, "train_sampling_strategy": "sequential"}


def test_two_processes_learn_what_one_does_with_a_batch_twice_as_large(place: Workspace, train: Any, look: Any):
    two = train(
        place, "saves/two_processes", per_device_train_batch_size=2, val_size=5, eval_strategy="steps", eval_steps=3,
        environment={"NPROC_PER_NODE": "2"}, **PLAIN,
    )  # fmt: skip
    assert two.code == 0, two.err
    one = train(place, "saves/one_process", val_size=5, eval_strategy="steps", eval_steps=3, **PLAIN)
    assert one.code == 0, one.err
    left, right = look(place.path("saves/two_processes")), look(place.path("saves/one_process"))
    assert [step for step, _ in left.curve] == [step for step, _ in right.curve]
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=1e-5)
    weights = [load_file(run.folder / "model.safetensors") for run in (left, right)]
    assert all(float((weights[0][name] - weights[1][name]).abs().max()) <= 1e-5 for name in weights[0])
    assert left.checkpoints == right.checkpoints
    scores = [run.json("run.json")["results"] for run in (left, right)]
    for name in ("eval_loss", "eval_accuracy", "eval_perplexity"):
        assert scores[0][name] == pytest.approx(scores[1][name], rel=1e-5)


@pytest.mark.slow
def test_a_process_without_held_out_rows_takes_part_in_the_measures(place: Workspace, train: Any, look: Any):
    done = train(place, "saves/one_row", val_size=1, max_steps=1, environment={"NPROC_PER_NODE": "2"}, **PLAIN)
    assert done.code == 0, done.err
    assert {"eval_loss", "eval_accuracy", "eval_perplexity"} <= look(place.path("saves/one_row")).points[-1].keys()


def test_several_processes_end_with_the_code_of_the_one_that_failed(place: Workspace, train: Any):
    done = train(place, "saves/failing", dataset="tiny_sft,absent", environment={"NPROC_PER_NODE": "2"})
    assert done.code == 10
    assert "absent" in done.err and "Traceback" not in done.err and done.err.count("'absent'") == 1


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step_and_go_on_to_the_same_bytes(
    place: Workspace, train: Any, look: Any, small: Any
):
    values = {"lora_dropout": 0.1, "max_steps": 600, "save_steps": 1000, "logging_steps": 20}
    two = {"NPROC_PER_NODE": "2"}
    words = [f"--{name}={value}" for name, value in {**small, **values, "output_dir": "saves/stopped_two"}.items()]
    environment = {**os.environ, **two, "PYTHONPATH": str(Path(__file__).parents[2])}
    folder, curve = place.path("saves/stopped_two"), place.path("saves/stopped_two/progress.jsonl")
    with subprocess.Popen(
        [sys.executable, "-m", "studio", "train", *words],
        cwd=place.root, env=environment, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        while run.poll() is None and not (curve.exists() and curve.stat().st_size):
            time.sleep(0.05)
        run.send_signal(TERM)
        _, err = run.communicate(timeout=120)
    assert run.returncode == 14, err
    assert "The same command goes on from there." in err
    for name in ("stopped_two", "unbroken_two"):
        done = train(place, f"saves/{name}", environment=two, **values)
        assert done.code == 0, done.err
    assert look(folder).json("run.json")["attempts"][-1]["resumed_from"].startswith("checkpoint-")
    assert look(folder).weights() == look(place.path("saves/unbroken_two")).weights()
