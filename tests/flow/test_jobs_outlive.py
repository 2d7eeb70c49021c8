"""Jobs outlive the page that started them, and the real trainer goes on after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio.jobs.identity import alive, identity_of
from studio.jobs.store import folder_of
from studio.workspace import Workspace
from tests.flow.jobbing import REPOSITORY, Bench, until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "workspace")
    yield made
    made.close()


PAGE = """
import sys, time
from studio.jobs.worker import ensure
from studio.workspace import Workspace
while True:
    ensure(Workspace.find(sys.argv[1]))
    time.sleep(0.1)
"""


def test_the_worker_that_a_page_started_outlives_it_and_a_killed_one_is_started_again(bench: Bench) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    page = subprocess.Popen([sys.executable, "-c", PAGE, str(bench.place.root)], env=environment)
    try:
        job = bench.train("saves/run", "--steps", "80")
        bench.at_step(job.id, 2)
        noted = bench.place.root / ".studio" / "worker.pid"
        first = noted.read_text()
        os.kill(int(first), signal.SIGKILL)
        until(lambda: noted.read_text() != first, lambda: "no new worker")
    finally:
        page.kill()
        page.wait()
    bench.wait(job.id, "succeeded")
    assert bench.steps(job.id) == list(range(1, 81)) and bench.starts(job.id) == 1
    worker = identity_of(int(noted.read_text()))
    assert alive(worker) and worker
    os.kill(worker.pid, signal.SIGTERM)
    until(lambda: not alive(worker), lambda: "the worker does not end")


def start_page(bench: Bench) -> subprocess.Popen[str]:
    """`studio webui`, as soon as it has said its address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "GRADIO_"))}
    words = [sys.executable, "-m", "studio", "--workspace", str(bench.place.root), "webui", "--port", "0"]
    with (bench.place.root / "webui.err").open("ab") as err:
        page = subprocess.Popen(
            words, env=kept | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, stderr=err, text=True,
            start_new_session=True,
        )  # fmt: skip
    assert page.stdout and "token=" in page.stdout.readline(), (bench.place.root / "webui.err").read_text()
    return page


def test_the_page_and_then_everything_is_killed_and_the_next_page_brings_the_jobs_back(bench: Bench) -> None:
    page = start_page(bench)
    noted = bench.place.root / ".studio" / "worker.pid"
    try:
        first, second = bench.train("saves/a", "--steps", "1000"), bench.train("saves/b", "--steps", "2")
        bench.at_step(first.id, 2)
        page.kill()
        page.communicate()
        bench.at_step(first.id, bench.steps(first.id)[-1] + 20)
        for path in (noted, folder_of(bench.place, first.id) / "supervisor.pid"):
            os.killpg(int(path.read_text()), signal.SIGKILL)
        page = start_page(bench)
        assert "Resume" in bench.wait(first.id, "lost").sentence
        bench.wait(second.id, "succeeded")
        assert bench.starts(first.id) == bench.starts(second.id) == 1
    finally:
        page.kill()
        page.communicate()
        os.kill(int(noted.read_text()), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("trainer",), ("supervisor", "worker"), ("worker", "trainer", "supervisor")])
def test_the_real_trainer_goes_on_after_a_kill(
    order: tuple[str, ...], tmp_path: Path, make_workspace: Callable[[Path], Workspace], small: dict[str, str]
) -> None:
    bench = Bench(make_workspace(tmp_path / "workspace").root)
    try:
        asked = small | {"max_steps": "200", "save_steps": "20", "logging_steps": "1", "output_dir": "saves/run"}
        argv = ["train", *(f"--{name}={value}" for name, value in asked.items())]
        job = bench.store.submit("train", argv, output="saves/run", environment={"PYTHONPATH": str(REPOSITORY)})
        bench.work()
        bench.at_step(job.id, 25)
        for whom in order:
            bench.kill(whom, job.id)
        if "worker" in order:
            bench.work()
        bench.wait(job.id, "failed", "lost")
        until(lambda: not bench.processes(job.id), lambda: f"left behind: {bench.processes(job.id)}")
        bench.store.again(job.id)
        bench.wait(job.id, "succeeded")
        assert sorted(set(bench.steps(job.id))) == list(range(1, 201))
        assert len(bench.steps(job.id)) == 200
    finally:
        bench.close()
