"""`studio webui` as a person starts it: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
Studio = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start it and wait for its address; gives the process and the line that it printed."""
    running: list[subprocess.Popen[str]] = []
    root = tmp_path / "place"
    root.mkdir()

    def begin(*flags: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "GRADIO_"))}
        kept |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment}
        words = [sys.executable, "-m", "studio", "--workspace", str(root), "webui", *flags]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=kept)
        running.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield begin
    worker = root / ".studio" / "worker.pid"
    for process in running:
        process.kill()
        process.communicate()
    if worker.exists():
        os.kill(int(worker.read_text().split()[0]), signal.SIGKILL)


def test_it_prints_one_address_that_works_keeps_its_token_and_ends_when_it_is_told(
    start: Callable[..., tuple[subprocess.Popen[str], str]], tmp_path: Path
) -> None:
    process, first = start("--port", "0")
    found = re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=([\w-]{32})", first)
    assert found, process.communicate()
    with urllib.request.urlopen(first.partition("/?")[0] + "/health", timeout=30) as answer:
        assert answer.read() == b'{"status":"ok"}'
    kept = tmp_path / "place" / ".studio" / "token"
    assert kept.read_text().strip() == found[1]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    other, line = start("--port", "0")
    said = other.communicate(timeout=60)[1]
    assert (line, other.returncode) == ("", 3)
    assert f"pid {process.pid}" in said
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert said.startswith("studio: starting in ")
    assert found[1] not in said
    assert "Traceback" not in said
    assert "Jobs and the worker go on" in said
    again, second = start("--port", "0", "--root_path", "/proxy/7860/", "--public_host", "nb.example.org")
    assert second == f"https://nb.example.org/proxy/7860/?token={found[1]}"
    again.send_signal(signal.SIGINT)
    assert again.wait(60) == 0


def test_gradios_variables_are_read_and_flags_win(start: Callable[..., tuple[subprocess.Popen[str], str]]) -> None:
    told = {"GRADIO_SERVER_PORT": "1", "GRADIO_SERVER_NAME": "127.0.0.2", "GRADIO_ROOT_PATH": "/deep/"}
    _, line = start("--port", "0", STUDIO_TOKEN="0123456789abcdefghij", **told)
    assert re.fullmatch(r"http://127\.0\.0\.2:\d+/deep/\?token=0123456789abcdefghij", line)


def test_a_port_that_is_taken_is_told_at_once(studio: Studio) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = studio("webui", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 3
    assert "is in use by another program" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--root_path", "//evil.example"], "must be a path such as /proxy/7860"),
        (["--root_path", "/a b"], "must be a path such as"),
        (["--root", "/no/such/folder"], "must be a folder that exists"),
        (["--port", "70000"], "at most 65"),
        (["--host", "no.such.host.invalid"], "is no address of this machine"),
        (["--public_host", "a/b"], "must be a host name"),
        (["--share"], "share"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(studio: Studio, words: list[str], told: str) -> None:
    done = studio("webui", "--port", "0", *words) if "--port" not in words else studio("webui", *words)
    assert done.returncode in (2, 10), done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_weak_token_starts_nothing(studio: Studio, workspace: Workspace) -> None:
    done = studio("webui", "--port", "0", STUDIO_TOKEN="secret")
    assert done.returncode == 2
    assert "STUDIO_TOKEN must be" in done.stderr


def test_the_help_page_tells_every_argument(studio: Studio) -> None:
    done = studio("webui", "--help")
    for name in (
        "host",
        "port",
        "root",
        "root_path",
        "public_host",
        "frame_ancestor",
        "new_token",
        "trust_remote_code",
    ):
        assert f"--{name}" in done.stdout
