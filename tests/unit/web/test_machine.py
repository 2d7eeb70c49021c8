"""What the page is told of the machine, with and without a GPU."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from studio.web.machine import Machine, read_gpus, share
from studio.workspace import Workspace

GPUS = """0, GPU-aa, NVIDIA H100 80GB HBM3, 81559, 1024, 37, 45, 120.50
1, GPU-bb, "Odd, name", 24576, 0, [N/A], [N/A], [Not Supported]
"""
APPS = """GPU-aa, 4242, 1000, /usr/bin/python3 train.py
GPU-aa, 77, [N/A], [Not Found]
No devices were found
"""


def test_the_answers_of_nvidia_smi_become_gpus_with_their_processes() -> None:
    first, second = read_gpus(GPUS, APPS)
    assert first["index"] == "0"
    assert first["memory_total"] == 81559 << 20
    assert first["utilisation"] == 37.0
    assert [(each["pid"], each["memory"], each["name"]) for each in first["processes"]] == [
        (4242, 1000 << 20, "python3"),
        (77, None, "?"),
    ]
    assert second["name"] == "Odd, name"
    assert (second["utilisation"], second["power"], second["processes"]) == (None, None, [])


def test_a_machine_without_nvidia_smi_has_no_gpu_and_still_tells_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = Machine(Workspace(tmp_path)).look()
    assert (told["gpus"], told["gpu_note"]) == ([], "")
    assert 0 < told["memory"]["used"] < told["memory"]["total"]
    assert told["disk"]["free"] > 0
    assert told["cpu"]["cores"] >= 1


def test_the_share_of_the_processor_is_what_worked_between_two_looks() -> None:
    assert share((10.0, 100.0), (13.0, 104.0)) == 0.75
    assert share((10.0, 100.0), (10.0, 100.0)) == 0.0


def program(folder: Path, text: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_process_of_a_job_is_ours_and_any_other_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getpid()
    # Waits for its input to end, in a session of its own.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as other:
        answers = 'case "$1" in *gpu=*) echo "0, u, Card, 100, 10, 5, 40, 9";; *) '
        program(tmp_path, f'{answers} echo "u, {mine}, 10, /bin/python"; echo "u, {other.pid}, 3, /bin/cat";; esac')
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
        told = Machine(Workspace(tmp_path)).look({os.getsid(mine)})
    assert [each["ours"] for each in told["gpus"][0]["processes"]] == [True, False]


def test_a_driver_that_fails_is_told_and_not_asked_at_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, f'echo x >> {tmp_path}/asked; echo "Failed to initialize NVML: driver mismatch"; exit 18')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    machine = Machine(Workspace(tmp_path))
    told = machine.look()
    machine._looked_s = float("-inf")
    machine.look()
    assert told["gpus"] == []
    assert "driver mismatch" in told["gpu_note"]
    assert (tmp_path / "asked").read_text() == "x\n"
