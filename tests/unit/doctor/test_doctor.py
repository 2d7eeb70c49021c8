"""Each check says what is wrong and what to do, and none ends in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from studio.doctor import machine, place
from studio.doctor.facts import environment, gpus, masked
from studio.doctor.finding import Finding, look, ok
from studio.errors import ModelError
from studio.workspace import Workspace

Command = Callable[..., "subprocess.CompletedProcess[str]"]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


@pytest.fixture(scope="module")
def answered() -> Iterator[str]:
    """An address where something answers, with a clock of the year 2001."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(404)
            self.send_header("Date", "Mon, 01 Jan 2001 00:00:00 GMT")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    return monkeypatch


def test_a_check_that_fails_is_a_finding_and_the_others_are_heard() -> None:
    def breaks() -> list[Finding]:
        raise ZeroDivisionError("by zero")

    def refuses() -> list[Finding]:
        raise ModelError("a sentence.")

    found = look({"a": breaks, "b": refuses, "c": lambda: ok("c", "well")})
    assert states(found) == ["broken", "broken", "ok"]
    assert found[0].text == "the check could not be made: ZeroDivisionError: by zero"
    assert found[1].text == "a sentence."


def test_a_healthy_workspace_has_nothing_broken(workspace: Workspace) -> None:
    for check in (place.workspace, place.disk, place.registry, place.models, place.pointers):
        assert "broken" not in states(check(workspace)), check
    assert not [path.name for path in workspace.root.iterdir() if path.name.startswith(".doctor")]


def test_a_place_that_cannot_be_written_is_told() -> None:
    (found,) = place.workspace(Workspace(Path("/proc")))
    assert found.state == "broken"
    assert "--workspace" in found.remedy


def test_a_registry_that_does_not_parse_is_told_with_its_line(workspace: Workspace) -> None:
    workspace.dataset_info.write_text('{"a": {"file_name": "a.json"},}')
    (found,) = place.registry(workspace)
    assert found.state == "broken"
    assert "line 1" in found.text


def test_an_entry_without_its_file_is_told_by_name(workspace: Workspace) -> None:
    (workspace.data / "tiny_sft.json").unlink()
    (found,) = place.registry(workspace)
    assert found.state == "warning"
    assert "tiny_sft: " in found.text


def test_a_model_that_is_cut_short_or_pickled_is_told(workspace: Workspace) -> None:
    file = workspace.models / "tiny" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    (workspace.models / "old").mkdir()
    (workspace.models / "old" / "pytorch_model.bin").write_bytes(b"x")
    (found,) = place.models(workspace)
    assert "of 3 2 cannot be loaded" in found.text
    assert "models/tiny: " in found.text
    assert "--convert_pickle True" in found.text


def test_pointers_of_git_lfs_are_told_by_name(workspace: Workspace) -> None:
    (workspace.data / "rows.jsonl").write_text(POINTER)
    (found,) = place.pointers(workspace)
    assert found.state == "broken"
    assert "data/rows.jsonl" in found.text
    assert "git lfs pull" in found.remedy


def test_offline_by_choice_is_no_fault(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert states(place.hub(workspace)) == ["ok"]


def test_a_hub_that_answers_says_the_time(workspace: Workspace, online: pytest.MonkeyPatch, answered: str) -> None:
    online.setenv("MODELSCOPE_ENDPOINT", answered)
    hub, clock = place.hub(workspace)
    assert hub.text == f"{answered} answers"
    assert "minutes ahead" in clock.text


def test_a_hub_that_is_not_there_is_a_warning(workspace: Workspace, online: pytest.MonkeyPatch) -> None:
    online.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    (found,) = place.hub(workspace)
    assert found.state == "warning"
    assert "HF_HUB_OFFLINE=1" in found.remedy


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OMP_NUM_THREADS", "0", "a number from 1 to"),
        ("OMP_NUM_THREADS", "many", "a number from 1 to"),
        ("OMP_WAIT_POLICY", "ACTIVE", "waiting threads must sleep"),
    ],
)
def test_threads_that_slow_a_run_are_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    (found,) = machine.threads()
    assert found.state == "warning"
    assert said in found.remedy


SMI = """#!/bin/sh
if [ $# -gt 0 ]; then echo "NVIDIA H100, 81559, 80000, 580.95.05, 9.0"; exit 0; fi
echo "| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05   CUDA Version: 13.0 |"
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that answers as NVIDIA's driver does."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("driver")
def test_the_driver_says_what_gpus_there_are() -> None:
    found, newest = gpus()
    assert [(gpu.name, gpu.memory_total_mib, gpu.capability) for gpu in found] == [("NVIDIA H100", 81559, "9.0")]
    assert newest == "13.0"


@pytest.mark.parametrize(
    ("built", "usable", "state", "said"),
    [
        ("", 0, "broken", "torch is built for the CPU"),
        ("CUDA 14.1", 0, "broken", "torch is built for CUDA 14.1"),
        ("CUDA 12.8", 0, "warning", "torch sees none. CUDA_VISIBLE_DEVICES is ''"),
        (
            "CUDA 12.8",
            1,
            "ok",
            "80,000 of 81,559 MiB free; driver 580.95.05, which serves CUDA up to 13.0",
        ),
    ],
)
@pytest.mark.usefixtures("driver")
def test_a_torch_that_does_not_fit_the_driver_is_told(
    monkeypatch: pytest.MonkeyPatch, built: str, usable: int, state: str, said: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = machine.driver(usable, built)
    assert found.state == state
    assert said in found.text


def test_a_torch_that_cannot_be_imported_is_told_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {finding.name: finding for finding in machine.devices()}
    assert found["torch"].state == "broken"
    assert "cannot be imported: OSError: libcudart.so.13: cannot open" in found["torch"].text


def test_a_library_that_ends_its_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bitsandbytes.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = {finding.name: finding for finding in machine.devices()}
    assert found["bf16 on cpu"].state == "ok"
    assert found["bitsandbytes"].state == "broken"
    assert "exit code -6" in found["bitsandbytes"].text


def test_secrets_are_never_shown() -> None:
    given = {
        "HF_TOKEN": "hf_abcdefghijkl", "STUDIO_API_KEY": "sk-1234567890", "https_proxy": "http://me:pw@proxy:80",
        "HF_ENDPOINT": "https://u:p@mirror/hf", "WANDB_NOTES": "see hf_abcdefghijkl", "TOKENIZERS_PARALLELISM": "false",
        "HOME": "/root", "MY_PASSWORD": "x", "HTTP_PROXY": "me:pw@proxy:80", "API_KEYS": "1234567890",
    }  # fmt: skip
    told = environment(given)
    assert set(told) == set(given) - {"HOME", "MY_PASSWORD"}
    text = json.dumps(told)
    assert not any(secret in text for secret in ("abcdefghijkl", "1234567890", "pw@", "u:p"))
    assert told["TOKENIZERS_PARALLELISM"] == "false"
    assert told["HF_ENDPOINT"] == "https://mirror/hf"
    assert masked("HF_TOKEN", "") == ""


def test_env_tells_versions_and_hardware_as_text_and_as_json(studio: Command) -> None:
    done = studio("env", HF_TOKEN="hf_abcdefghijkl")
    assert done.returncode == 0
    assert "  transformers: " in done.stdout
    assert "hf_abcdefghijkl" not in done.stdout
    facts = json.loads(studio("env", "--json").stdout)
    assert {"studio", "python", "packages", "gpus", "memory_gib", "workspace", "environment"} <= set(facts)
    assert studio("env", "--all").returncode == 2


def test_env_loads_nothing_heavy(studio: Command) -> None:
    loaded = studio("env", PYTHONPROFILEIMPORTTIME="1").stderr
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in loaded.splitlines()}
    assert "studio" in names
    assert not names & {"torch", "transformers", "huggingface_hub", "numpy", "pandas"}


@pytest.mark.slow
def test_doctor_looks_at_everything_and_says_so_by_its_exit_code(studio: Command, workspace: Workspace) -> None:
    done = studio("doctor", "--json")
    told = json.loads(done.stdout)
    by_name = {finding["name"]: finding["state"] for finding in told["findings"]}
    assert (done.returncode, told["ok"]) == (0, True), done.stdout
    assert by_name["bf16 on cpu"] == by_name["bitsandbytes"] == "ok"
    (workspace.data / "rows.jsonl").write_text(POINTER)
    sick = studio("doctor")
    assert sick.returncode == 1
    assert "broken   git-LFS: only pointers" in sick.stdout
    assert "Traceback" not in sick.stdout + sick.stderr
