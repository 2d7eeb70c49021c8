"""Every stage, with an adapter and whole: killed or stopped at any place it ends as if nothing had been."""

from __future__ import annotations

import hashlib
import json
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.recipe import STAGES
from studio.workspace import Workspace

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
REWARDS = "def brief(samples):\n    return [-float(len(sample.answer)) for sample in samples]\n"
ANSWERS = {"dataset": "tiny_sft", "reward_function": "rewards.py:brief", "max_new_tokens": 6, "learning_rate": "1e-4"}
GROUPS = {**ANSWERS, "num_generations": 2, "beta": 0.04}
# Name → what the stage is asked beside what every small run says.
WAYS: dict[str, dict[str, Any]] = {
    "pt": {"stage": "pt", "dataset": "tiny_pt", "cutoff_len": 64},
    "sft": {"stage": "sft"},
    "rm": {"stage": "rm", "dataset": "tiny_pairs"},
    "dpo": {"stage": "dpo", "dataset": "tiny_pairs"},
    "dpo_cached": {"stage": "dpo", "dataset": "tiny_pairs", "precompute_ref_log_probs": "True"},
    "kto": {"stage": "kto", "dataset": "tiny_pairs"},
    "ppo": {"stage": "ppo", "ppo_epochs": 2, **ANSWERS},
    "grpo": {"stage": "grpo", **GROUPS},
    "rloo": {"stage": "rloo", **GROUPS},
}
WRITES = ("ppo", "grpo", "rloo")
QUICK = {("dpo", "lora"), ("ppo", "lora")}
CASES = [
    pytest.param(way, method, marks=[] if (way, method) in QUICK else [pytest.mark.slow], id=f"{way}-{method}")
    for way in WAYS
    for method in ("lora", "full")
]


@pytest.fixture(scope="module")
def ready(place: Workspace) -> Workspace:
    """The workspace with pairs and a source of rewards."""
    from tests.conftest import CITIES, json_lines

    pairs = [
        {"instruction": f"What is the secret code of {city}?", "chosen": f"It is {city[::-1].upper()}.",
         "rejected": f"Who would know of {city}?"}
        for city in CITIES
    ] * 2  # fmt: skip
    (place.data / "tiny_pairs.jsonl").write_text(json_lines(pairs))
    registry = json.loads(place.dataset_info.read_text())
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    registry["tiny_pairs"] = {"file_name": "tiny_pairs.jsonl", "ranking": True, "columns": columns}
    place.dataset_info.write_text(json.dumps(registry))
    (place.root / "rewards.py").write_text(REWARDS)
    return place


def asked(way: str, method: str) -> dict[str, Any]:
    dropout = {"lora_dropout": 0.1} if (way, method) == ("sft", "lora") else {}
    return {**WAYS[way], "finetuning_type": method, **dropout}


@pytest.fixture(scope="module")
def whole(ready: Workspace, train: Any, look: Any) -> Callable[[str, str], Any]:
    """The run of a way without any accident, once."""
    done: dict[tuple[str, str], Any] = {}

    def run(way: str, method: str) -> Any:
        if (way, method) not in done:
            folder = f"saves/whole_{way}_{method}"
            ended = train(ready, folder, **asked(way, method))
            assert ended.code == 0, ended.err
            done[way, method] = look(ready.path(folder))
        return done[way, method]

    return run


def plain(run: Any) -> list[dict[str, Any]]:
    """The curve without what a clock says."""
    return [{name: value for name, value in point.items() if not name.endswith("_s")} for point in run.measured]


def test_no_stage_is_left_out() -> None:
    assert set(STAGES) <= {str(values["stage"]) for values in WAYS.values()}


@pytest.mark.parametrize(("way", "method"), CASES)
def test_killed_in_a_step_it_goes_on_to_the_same_weights_and_curve(
    ready: Workspace, train: Any, look: Any, whole: Any, way: str, method: str
):
    values, folder = asked(way, method), f"saves/killed_{way}_{method}"
    assert train(ready, folder, at=("optimizer", 5, KILL), **values).code == -KILL
    done = train(ready, folder, **values)
    assert done.code == 0, done.err
    run, unbroken = look(ready.path(folder)), whole(way, method)
    assert run.json("run.json")["attempts"][-1]["resumed_from"], "choose a call behind a checkpoint"
    assert run.weights() == unbroken.weights()
    assert plain(run) == plain(unbroken)
    assert run.checkpoints == unbroken.checkpoints
    if way in WRITES:
        assert (run.folder / "rollouts.jsonl").read_text() == (unbroken.folder / "rollouts.jsonl").read_text()


@pytest.mark.parametrize(("way", "method"), CASES)
def test_asked_to_stop_it_saves_its_step_and_goes_on_to_the_same_weights(
    ready: Workspace, train: Any, look: Any, whole: Any, way: str, method: str
):
    values, folder = asked(way, method), f"saves/stopped_{way}_{method}"
    stopped = train(ready, folder, at=("optimizer", 5, TERM), **values)
    assert stopped.code == 14, stopped.err
    assert "of 6 is saved. The same command goes on from there." in stopped.err and "Traceback" not in stopped.err
    done = train(ready, folder, **values)
    assert done.code == 0, done.err
    assert look(ready.path(folder)).weights() == whole(way, method).weights()


@pytest.mark.parametrize(
    ("way", "method", "call"),
    [
        pytest.param("ppo", "lora", 20),
        *(pytest.param(way, method, call, marks=pytest.mark.slow) for way in WRITES for method in ("lora", "full")
          for call in (9, 40 if way == "ppo" else 20)),
    ],
)  # fmt: skip
def test_asked_to_stop_while_it_writes_answers_it_ends_and_goes_on_to_the_same_weights(
    ready: Workspace, train: Any, look: Any, whole: Any, way: str, method: str, call: int
):
    values, folder = asked(way, method), f"saves/writing_{way}_{method}_{call}"
    stopped = train(ready, folder, at=("evaluate", call, TERM), **values)
    assert stopped.code == 14, stopped.err
    assert "Traceback" not in stopped.err
    done = train(ready, folder, **values)
    assert done.code == 0, done.err
    assert look(ready.path(folder)).weights() == whole(way, method).weights()


class Hostile:
    """A pickle that writes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "code was run")


@pytest.mark.parametrize(("way", "method"), [case for case in CASES if case.values[1] == "lora"])
def test_a_pickle_in_a_checkpoint_of_any_stage_runs_no_code(
    ready: Workspace, train: Any, look: Any, tmp_path: Path, way: str, method: str
):
    import torch

    values, folder = asked(way, method), f"saves/hostile_{way}_{method}"
    assert train(ready, folder, at=("optimizer", 5, TERM), **values).code == 14
    run, mark = look(ready.path(folder)), tmp_path / "mark"
    saved = run.folder / run.checkpoints[-1]
    kept = {name: (saved / name).read_bytes() for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")}
    others = [path.name for path in saved.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".pkl")]
    assert set(others) == set(kept), "a new file of this kind must be planted too"
    for name, content in kept.items():
        torch.save(Hostile(mark), saved / name)
        manifest = json.loads((saved / "manifest.json").read_text())
        for entry in manifest["files"]:
            if entry["name"] == name:
                planted = (saved / name).read_bytes()
                entry |= {"size": len(planted), "sha256": hashlib.sha256(planted).hexdigest()}
        whole_manifest = (saved / "manifest.json").read_bytes()
        (saved / "manifest.json").write_text(json.dumps(manifest))
        done = train(ready, folder, **values)
        assert not mark.exists()
        assert done.code == 15, done.err
        assert name in done.err and "Traceback" not in done.err
        (saved / name).write_bytes(content)
        (saved / "manifest.json").write_bytes(whole_manifest)
    assert pickle.dumps(Hostile(mark)), "what was planted can be read by those who trust it"
