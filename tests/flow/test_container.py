"""The first program of the container: a stop saves what is running, and the next start goes on with it."""

import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from studio.jobs.store import Store, store_of
from studio.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
ENTRY = REPOSITORY / "docker" / "entry.py"


@pytest.fixture
def entry() -> ModuleType:
    spec = importlib.util.spec_from_file_location("studio_container_entry", ENTRY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def container(workspace: Workspace) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the entry as the container does, on a free port; all of it is gone afterwards."""
    started: list[subprocess.Popen[str]] = []
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "GRADIO_"))}
    environment = kept | {
        "PYTHONPATH": str(REPOSITORY), "STUDIO_WORKSPACE": str(workspace.root),
        "STUDIO_TOKEN": secrets.token_urlsafe(24),
        "STUDIO_DEMO_MODEL": "0", "OMP_NUM_THREADS": "1", "GRADIO_SERVER_PORT": "0",
    }  # fmt: skip

    def start() -> subprocess.Popen[str]:
        words = [sys.executable, str(ENTRY), "webui"]
        # Nobody reads a pipe here, so what it says goes to a file.
        with (workspace.root / "container.log").open("a") as log:
            one = subprocess.Popen(
                words, env=environment, stdout=log, stderr=log, text=True, start_new_session=True, cwd=workspace.root
            )
        started.append(one)
        return one

    yield start
    for path in (workspace.root / ".studio").glob("jobs/*/supervisor.pid"):
        _kill(path)
    _kill(workspace.root / ".studio" / "worker.pid")
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def _kill(path: Path) -> None:
    try:
        os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)
    except (OSError, ValueError, IndexError):
        return


def wait(until: Callable[[], Any], what: str, within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def told(log: Path) -> str:
    return log.read_text() if log.exists() else ""


@pytest.mark.slow
def test_a_stop_of_the_container_saves_a_checkpoint_and_the_next_start_goes_on(
    workspace: Workspace, container: Callable[[], subprocess.Popen[str]]
) -> None:
    output = workspace.saves / "tiny" / "full" / "long"
    words = {"stage": "sft", "model_name_or_path": "models/tiny-chat", "dataset": "tiny_sft", "max_steps": "100000",
             "finetuning_type": "full", "save_steps": "100000", "logging_steps": "1", "cutoff_len": "64",
             "output_dir": str(output)}  # fmt: skip
    argv = ["train", *(part for name, value in words.items() for part in (f"--{name}", value))]
    first = container()
    store = store_of(workspace)
    job = store.submit("train", argv, title="long", output=str(output))
    wait(lambda: '"step"' in told(output / "progress.jsonl") or first.poll() is not None, "no step was made")
    assert first.poll() is None, told(workspace.root / "container.log")
    first.send_signal(signal.SIGTERM)
    assert first.wait(120) == 0, told(workspace.root / "container.log")
    assert store.get(job.id).state == "paused"
    assert list(output.glob("checkpoint-*")), "nothing was saved"
    second = container()
    wait(lambda: store.get(job.id).state == "running", "it did not go on")
    assert store.get(job.id).attempt == 2
    second.send_signal(signal.SIGTERM)
    assert second.wait(120) == 0


def test_only_what_the_stop_paused_goes_on(workspace: Workspace, entry: ModuleType) -> None:
    class Known:
        """A store that knows two paused jobs and a finished one."""

        states = {1: "paused", 2: "paused", 3: "succeeded"}  # noqa: RUF012
        again_: list[int] = []  # noqa: RUF012

        def get(self, id: int) -> Any:
            return type("Row", (), {"state": self.states[id]})

        def again(self, id: int) -> None:
            self.again_.append(id)

    folder = workspace.root / ".studio"
    folder.mkdir(exist_ok=True)
    (folder / entry.PAUSED).write_text(json.dumps([1, 3]))
    store = Known()
    entry.go_on(store, workspace)
    entry.go_on(store, workspace)
    assert store.again_ == [1]


def test_a_stop_without_jobs_is_at_once(workspace: Workspace, entry: ModuleType) -> None:
    began = time.monotonic()
    store = Store(workspace.root / ".studio" / "studio.db")
    queued = store.submit("train", ["train"], output=str(workspace.saves / "x"))
    entry.rest(store, workspace)
    assert time.monotonic() - began < 5
    assert store.get(queued.id).state == "queued", "what waits may wait for the next start"


def test_health_is_told_by_the_exit_code(workspace: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, str(ENTRY), "--healthy"],
        env={"PATH": os.environ["PATH"], "GRADIO_SERVER_PORT": "9", "PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
