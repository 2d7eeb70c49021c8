"""DeepSpeed divides the work of two processes, and nothing else changes: losses, weights, stopping, going on.

Needs the package deepspeed (`pip install 'studio[deepspeed]'`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from studio.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="the package deepspeed is not installed"),
]
TWO = {"NPROC_PER_NODE": "2"}
KINDS = {
    "full": {"finetuning_type": "full", "gradient_accumulation_steps": 2},
    "lora": {"lora_rank": 4},
}
COMMON = {
    "per_device_train_batch_size": 2, "logging_steps": 1, "train_sampling_strategy": "sequential",
    "val_size": 5, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True,
}  # fmt: skip


def zero(place: Workspace, stage: int, **more: Any) -> str:
    """A DeepSpeed file of this stage; its name."""
    # Small weights would otherwise not be divided at stage 3.
    own = {"stage3_param_persistence_threshold": 0} if stage == 3 else {"round_robin_gradients": True}
    values = {
        "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto", "zero_allow_untested_optimizer": True,
        "fp16": {"enabled": "auto", "loss_scale": 0}, "bf16": {"enabled": "auto"},
        "zero_optimization": {"stage": stage, "overlap_comm": False, "contiguous_gradients": True, **own}, **more,
    }  # fmt: skip
    (place.root / f"z{stage}.json").write_text(json.dumps(values))
    return f"z{stage}.json"


def final(folder: Path) -> dict[str, Any]:
    """The final weights of a run."""
    (file,) = [*folder.glob("model.safetensors"), *folder.glob("adapter_model.safetensors")]
    return load_file(file)


@pytest.fixture(scope="module")
def whole(place: Workspace, train: Any, look: Any) -> Callable[[str], Any]:
    """The run of two processes that each hold everything, once for each kind."""
    done: dict[str, Any] = {}

    def run(kind: str) -> Any:
        if kind not in done:
            ended = train(place, f"saves/whole_{kind}", environment=TWO, **COMMON, **KINDS[kind])
            assert ended.code == 0, ended.err
            done[kind] = look(place.path(f"saves/whole_{kind}"))
        return done[kind]

    return run


@pytest.mark.parametrize(("stage", "kind"), [(1, "lora"), (2, "full"), (3, "full"), (3, "lora")])
def test_divided_work_learns_what_whole_work_does(
    place: Workspace, train: Any, look: Any, whole: Any, stage: int, kind: str
):
    done = train(place, f"saves/{kind}_{stage}", deepspeed=zero(place, stage), environment=TWO, **COMMON, **KINDS[kind])
    assert done.code == 0, done.err
    left, right = look(place.path(f"saves/{kind}_{stage}")), whole(kind)
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=1e-5)
    ours, theirs = final(left.folder), final(right.folder)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype == theirs[name].dtype for name in ours)
    assert all(float((ours[name] - theirs[name]).abs().max()) <= 1e-5 for name in ours)
    assert left.checkpoints == right.checkpoints
    scores = [run.json("run.json")["results"]["eval_loss"] for run in (left, right)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    assert not [path.name for path in left.folder.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".pkl")]


def test_bf16_is_that_of_deepspeed_and_the_final_weights_are_float32(place: Workspace, train: Any, look: Any):
    values = {**COMMON, **KINDS["full"], "bf16": "True"}
    for name, more in {"bf16_whole": {}, "bf16_2": {"deepspeed": zero(place, 2)}}.items():
        done = train(place, f"saves/{name}", environment=TWO, **values, **more)
        assert done.code == 0, done.err
    left, right = (look(place.path(f"saves/{name}")) for name in ("bf16_2", "bf16_whole"))
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=0.02)
    ours, theirs = final(left.folder), final(right.folder)
    assert all(ours[name].dtype == theirs[name].dtype for name in theirs)
    # a step of AdamW moves a weight by at most the rate, 1e-3; some near zero go the other way
    assert all(float((ours[name] - theirs[name]).abs().max()) <= 6e-3 for name in theirs)
    assert left.json("config.json") == right.json("config.json")


@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_stop_and_go_on_to_the_same_bytes(
    place: Workspace, train: Any, look: Any, small: Any, stage: int
):
    values = {
        "finetuning_type": "full", "max_steps": 150, "save_steps": 1000, "logging_steps": 5,
        "lr_scheduler_type": "cosine", "deepspeed": zero(place, stage),
    }  # fmt: skip
    if stage == 3:
        values |= {"finetuning_type": "lora", "lora_dropout": 0.1, "bf16": "True"}
    name = f"saves/stopped_{stage}"
    words = [f"--{key}={value}" for key, value in {**small, **values, "output_dir": name}.items()]
    environment = {**os.environ, **TWO, "PYTHONPATH": str(Path(__file__).parents[2])}
    folder, curve = place.path(name), place.path(f"{name}/progress.jsonl")
    with subprocess.Popen(
        [sys.executable, "-m", "studio", "train", *words],
        cwd=place.root, env=environment, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        while run.poll() is None and not (curve.exists() and curve.stat().st_size):
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=120)
    assert run.returncode == 14, err
    (checkpoint,) = look(folder).checkpoints
    parts = {path.name for path in (folder / checkpoint).glob("optimizer*")}
    assert parts == {"optimizer-0-of-2.pt", "optimizer-1-of-2.pt"}
    alone = train(place, name, environment={"NPROC_PER_NODE": "1"}, **values)
    assert alone.code == 15 and "Start as many processes as before" in alone.err
    for each in (name, f"saves/unbroken_{stage}"):
        done = train(place, each, environment=TWO, **values)
        assert done.code == 0, done.err
    assert look(folder).json("run.json")["attempts"][-1]["resumed_from"] == checkpoint
    assert look(folder).weights() == look(place.path(f"saves/unbroken_{stage}")).weights()


def test_one_process_is_started_the_same_way_and_its_code_is_kept(place: Workspace, train: Any):
    done = train(place, "saves/one", deepspeed=zero(place, 2), max_steps=2)
    assert done.code == 0, done.err
    assert "deepspeed: optimizer and gradients divided among 1 processes (stage 2 in z2.json)" in done.err
    contrary = train(
        place, "saves/contrary", deepspeed=zero(place, 2, gradient_clipping=0.5, train_batch_size=7), environment=TWO
    )
    assert contrary.code == 10 and "Traceback" not in contrary.err
    assert "z2.json: gradient_clipping is 0.5, but --max_grad_norm is 1.0." in contrary.err
    assert "z2.json: train_batch_size is 7, but the batch of a step on 2 processes is 8." in contrary.err


def test_a_divided_model_loads_in_plain_transformers(place: Workspace, whole: Any):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(place.path("saves/full_3"))
    theirs = AutoModelForCausalLM.from_pretrained(whole("full").folder)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_stream_goes_on_where_it_was_and_gives_what_it_gives_without_deepspeed(
    place: Workspace, train: Any, look: Any
):
    values = {
        "finetuning_type": "full", "streaming": "True", "buffer_size": 16, "packing": "True", "cutoff_len": 96,
        "per_device_train_batch_size": 1, "max_steps": 8, "save_steps": 4, "logging_steps": 1,
    }  # fmt: skip
    for name, more in {"stream_whole": {}, "stream_2": {"deepspeed": zero(place, 2)}}.items():
        done = train(place, f"saves/{name}", environment=TWO, **values, **more)
        assert done.code == 0, done.err
    left, right = (look(place.path(f"saves/{name}")) for name in ("stream_2", "stream_whole"))
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=1e-5)
    begun = {"resume_from_checkpoint": "saves/stream_2/checkpoint-4", "deepspeed": zero(place, 2)}
    done = train(place, "saves/stream_again", environment=TWO, **values, **begun)
    assert done.code == 0, done.err
    assert look(place.path("saves/stream_again")).weights() == left.weights()
