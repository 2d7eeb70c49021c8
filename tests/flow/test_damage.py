"""Damaged, hostile and diverged: what is not whole is never gone on from, and never replaces what is."""

from __future__ import annotations

import hashlib
import json
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)


@pytest.fixture
def damaged(place: Workspace, train: Any, kinds: Any) -> Callable[[str], Path]:
    """Runs that were killed after their second checkpoint."""

    def run(name: str) -> Path:
        assert train(place, f"saves/{name}", at=("backward", 6, KILL), **kinds["full"]).code == -KILL
        return place.path(f"saves/{name}")

    return run


def forget_state(folder: Path) -> None:
    (folder / "trainer_state.json").unlink()


def empty_optimizer(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"")


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def flip_a_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def break_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


DAMAGE = {
    "trainer_state.json is missing": forget_state,
    "optimizer.pt has 0 bytes": empty_optimizer,
    "model.safetensors is missing": lose_weights,
    "model.safetensors is not what was written": flip_a_bit,
    "it has no manifest": lose_manifest,
    "its manifest cannot be read": break_manifest,
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_damaged_checkpoint_is_moved_aside_and_the_one_before_is_used(
    place: Workspace, train: Any, kinds: Any, damaged: Any, look: Any, unbroken: Any, reason: str
):
    name = DAMAGE[reason].__name__
    folder = damaged(name)
    DAMAGE[reason](folder / "checkpoint-4")
    done = train(place, f"saves/{name}", **kinds["full"])
    assert done.code == 0, done.err
    assert f"checkpoint-4 cannot be used: {reason}" in done.err
    assert "It was moved aside to .bad-checkpoint-4-" in done.err
    assert "going on from checkpoint-2" in done.err
    assert len(list(folder.glob(".bad-checkpoint-4-*"))) == 1
    look(folder).must_end_as(unbroken("full"))


def test_without_any_good_checkpoint_it_never_starts_over_by_itself(
    place: Workspace, train: Any, kinds: Any, damaged: Any
):
    folder = damaged("all_bad")
    forget_state(folder / "checkpoint-4")
    empty_optimizer(folder / "checkpoint-2")
    for _ in range(2):
        done = train(place, "saves/all_bad", **kinds["full"])
        assert done.code == 15
        assert "checkpoint-4 cannot be used: trainer_state.json is missing" in done.err
        assert "checkpoint-2 cannot be used: optimizer.pt has 0 bytes" in done.err
        assert "--overwrite_output_dir True" in done.err


def test_a_checkpoint_without_the_optimizer_is_not_gone_on_from(place: Workspace, train: Any, kinds: Any):
    values = {**kinds["full"], "save_only_model": "True"}
    assert train(place, "saves/only_model", at=("backward", 6, KILL), **values).code == -KILL
    done = train(place, "saves/only_model", **values)
    assert done.code == 15 and "without the optimizer's state" in done.err
    done = train(place, "saves/from_it", resume_from_checkpoint="saves/only_model/checkpoint-4", **values)
    assert done.code == 15 and "it has no optimizer state to go on with" in done.err


class Hostile:
    """A pickle that writes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "code was run")


# Each file once, each way at least once; the other pairs are slow.
PICKLES = [
    ("torch", "optimizer.pt"), ("pickle", "scheduler.pt"), ("torch", "rng_state.pth"),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in (
        ("pickle", "optimizer.pt"), ("torch", "scheduler.pt"), ("pickle", "rng_state.pth"))),
]  # fmt: skip


@pytest.mark.parametrize(("way", "name"), PICKLES)
def test_a_pickle_in_a_checkpoint_runs_no_code(
    place: Workspace, train: Any, kinds: Any, damaged: Any, tmp_path: Path, name: str, way: str
):
    stem = f"hostile_{name.partition('.')[0]}_{way}"
    folder, mark = damaged(stem) / "checkpoint-4", tmp_path / "mark"
    if way == "torch":
        torch.save(Hostile(mark), folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(Hostile(mark)))
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["name"] == name:
            content = (folder / name).read_bytes()
            entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = train(place, f"saves/{stem}", **kinds["full"])
    assert not mark.exists()
    assert done.code == 15, done.err
    assert name in done.err and "Traceback" not in done.err


# -- divergence


def test_a_loss_that_is_not_finite_ends_with_13_and_leaves_the_last_checkpoint(place: Workspace, train: Any, look: Any):
    from safetensors.torch import load_file, save_file

    from studio.model.checkpoint import verify

    folder = place.path("models/broken")
    folder.mkdir()
    for path in place.path("models/tiny-chat").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    done = train(place, "saves/nan", model_name_or_path="models/broken")
    assert done.code == 13
    assert "training diverged at step 1: loss=nan, lr=0.001, no checkpoint was written yet" in done.err
    assert "Traceback" not in done.err
    values = {"finetuning_type": "full", "learning_rate": 10, "max_grad_norm": 0, "optim": "sgd", "max_steps": 60}
    values |= {"weight_decay": 100, "save_total_limit": 1}
    done = train(place, "saves/diverged", save_steps=1, lr_scheduler_type="constant", **values)
    assert done.code == 13, done.err[-400:]
    run = look(place.path("saves/diverged"))
    assert not (run.folder / "model.safetensors").exists()
    assert len(run.checkpoints) == 1
    for name in run.checkpoints:
        assert verify(run.folder / name) == ""
        kept = load_file(run.folder / name / "model.safetensors")
        assert all(bool(torch.isfinite(weight).all()) for weight in kept.values()), name
    assert f"last good {run.checkpoints[0]}. Lower" in done.err
    assert run.json("run.json")["attempts"][-1]["outcome"] == "DivergedError"
