"""Runs of the command that share the loading of the libraries, and small ways to look at a run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

ZYGOTE = Path(__file__).parent / "zygote.py"
REPOSITORY = ZYGOTE.parent.parent.parent
# Every flow test trains a model of two layers for a few steps, on the processor and in float32.
SMALL = {
    "stage": "sft",
    "model_name_or_path": "models/tiny-chat",
    "dataset": "tiny_sft",
    "use_cpu": "True",
    "bf16": "False",
    "learning_rate": "1e-3",
    "per_device_train_batch_size": "4",
    "max_steps": "6",
    "logging_steps": "2",
    "save_steps": "2",
}


KINDS: dict[str, dict[str, Any]] = {
    "full": {"finetuning_type": "full"},
    "lora": {"lora_dropout": 0.2, "neftune_noise_alpha": 5},
    "packed": {"finetuning_type": "full", "packing": "True", "cutoff_len": 96, "per_device_train_batch_size": 2},
    "accumulated": {"lora_dropout": 0.1, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 2},
    # 4 steps an epoch: checkpoints at the end of an epoch and within one, a curve between the saves
    "epochs": {
        "finetuning_type": "full", "max_samples": 15, "max_steps": -1, "num_train_epochs": 2, "save_steps": 3,
        "logging_steps": 4, "val_size": 1, "eval_strategy": "steps", "eval_steps": 3, "save_total_limit": 2,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Look:
    """A run folder, read."""

    folder: Path

    def json(self, name: str) -> Any:
        """A JSON file of the run."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def points(self) -> list[dict[str, Any]]:
        """The lines of progress.jsonl."""
        return [json.loads(line) for line in (self.folder / "progress.jsonl").read_text().splitlines()]

    @property
    def curve(self) -> list[tuple[int, float]]:
        """Steps and losses, exactly as written."""
        return [(point["step"], point["loss"]) for point in self.points if point["loss"] is not None]

    @property
    def checkpoints(self) -> list[str]:
        """Names of the complete checkpoints, by step."""
        names = [path.name for path in self.folder.glob("checkpoint-*")]
        return sorted(names, key=lambda name: int(name.rpartition("-")[2]))

    @property
    def log(self) -> str:
        """log.txt."""
        return (self.folder / "log.txt").read_text(encoding="utf-8")

    @property
    def measured(self) -> list[dict[str, Any]]:
        """The points without what the clock and the machine say."""
        clock = {"elapsed_s", "tokens_per_s", "memory_gib", "eta_s", "eval_runtime"}
        return [{name: value for name, value in point.items() if name not in clock} for point in self.points]

    def must_end_as(self, whole: Look) -> None:
        """Fail unless this run ended as another did, with nothing half written left."""
        assert self.weights() == whole.weights(), "the final weights must be the same bytes"
        assert self.measured == whole.measured, "and so must be every step and number of the curve"
        assert self.checkpoints == whole.checkpoints
        assert not [path.name for path in self.folder.iterdir() if path.name.startswith((".tmp", ".trash", ".run"))]
        assert self.json("run.json")["finished"]

    def weights(self) -> str:
        """SHA-256 of the final weights at the root."""
        (file,) = [*self.folder.glob("model.safetensors"), *self.folder.glob("adapter_model.safetensors")]
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def everything(self) -> dict[str, tuple[int, str]]:
        """Time of change and content of every file."""
        return {
            str(path.relative_to(self.folder)): (
                path.stat().st_mtime_ns,
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            )
            for path in sorted(self.folder.rglob("*"))
        }


Command = Callable[..., Done]


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """`command(place, "train", ...)`: a process of its own, forked from one that has loaded everything."""
    folder = tmp_path_factory.mktemp("commands")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
    environment = {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_WAIT_POLICY": "passive", "NO_COLOR": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(
        [sys.executable, str(ZYGOTE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as zygote:
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        assert zygote.stdout.readline() == "ready\n"

        def run(place: Workspace | Path, *words: str, **more: Any) -> Done:
            out, err = folder / "out", folder / "err"
            root = place.root if isinstance(place, Workspace) else place
            request = {"words": words, "cwd": str(root), "out": str(out), "err": str(err)}
            at = more.pop("at", ())
            request |= {"at": [at] if at and isinstance(at[0], str) else at}
            request |= {"environment": more.pop("environment", {}), **more}
            zygote.stdin.write(json.dumps(request) + "\n")
            zygote.stdin.flush()
            code = json.loads(zygote.stdout.readline())["code"]
            return Done(code, out.read_text(errors="replace"), err.read_text(errors="replace"))

        yield run
        zygote.stdin.close()


@pytest.fixture(scope="session")
def train(command: Command) -> Command:
    """`train(place, output_dir, name=value, ..., at=(event, call, signal))`: a small run."""

    def run(place: Workspace, output_dir: str, *flags: str, **values: Any) -> Done:
        asked = {
            name: values.pop(name) for name in ("at", "disk", "environment", "confined", "poison") if name in values
        }
        words = [f"--{name}={value}" for name, value in {**SMALL, "output_dir": output_dir, **values}.items()]
        return command(place, "train", *words, *flags, **asked)

    return run


@pytest.fixture(scope="session")
def look() -> Callable[[Path], Look]:
    """Read a run folder."""
    return Look


@pytest.fixture(scope="module")
def place(make_workspace: Callable[[Path], Workspace], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that the tests of a file share; each has output folders of its own."""
    return make_workspace(tmp_path_factory.mktemp("flow") / "workspace")


@pytest.fixture(scope="session")
def small() -> dict[str, str]:
    """What every run of these tests says unless it says otherwise."""
    return SMALL


@pytest.fixture(scope="session")
def kinds() -> dict[str, dict[str, Any]]:
    """Runs that differ in what a checkpoint must hold, by name."""
    return KINDS


@pytest.fixture(scope="module")
def unbroken(place: Workspace, train: Command) -> Callable[[str], Look]:
    """The same run without any accident, once for each kind."""
    done: dict[str, Look] = {}

    def run(kind: str) -> Look:
        if kind not in done:
            ended = train(place, f"saves/unbroken_{kind}", **KINDS[kind])
            assert ended.code == 0, ended.err
            done[kind] = Look(place.path(f"saves/unbroken_{kind}"))
        return done[kind]

    return run
