"""Real failures of real commands, each landing in the right card: kind, the line that proves it, what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.jobs.failure import Failure, classify
from studio.jobs.runs import read_run
from studio.workspace import Workspace, lock

ROW = {"instruction": "Say hello.", "input": "", "output": "Hello."}
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.6 GiB"


def card(done: Any, wish: str = "") -> Failure:
    """What the page would say of an ended command."""
    if done.code == 77:
        pytest.skip("no disk of its own can be made here")
    assert done.code != 0, "the failure did not happen"
    return classify(max(done.code, 0), -min(done.code, 0), done.err, wish)


def must_be(found: Failure, kind: str, *told: str) -> None:
    """Fail unless it is of this kind and its evidence holds these words."""
    assert found.kind == kind, found
    for word in told:
        assert word in found.evidence, found
    assert found.cause and found.remedy
    assert "\n" not in found.evidence or kind == "unknown"


def registered(place: Workspace, name: str, text: str, **entry: Any) -> dict[str, str]:
    """A dataset of its own in a folder of its own."""
    folder = place.root / "bad" / name
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text(text)
    (folder / "dataset_info.json").write_text(json.dumps({"bad": {"file_name": "rows.jsonl", **entry}}))
    return {"dataset_dir": str(folder), "dataset": "bad"}


def altered_model(place: Workspace, name: str, change: Callable[[Path], object]) -> str:
    """A copy of the tiny model with something wrong in it."""
    folder = shutil.copytree(place.models / "tiny-chat", place.models / name)
    change(folder)
    return f"models/{name}"


# -- the data


def test_a_bad_row(place: Workspace, train: Any):
    rows = "".join(json.dumps(row) + "\n" for row in (ROW, {**ROW, "output": ""}, ROW))
    must_be(card(train(place, "saves/row", **registered(place, "row", rows))), "bad_row", "row 2", "output", "empty")


def test_a_broken_line(place: Workspace, train: Any):
    rows = json.dumps(ROW) + '\n{"instruction": \n'
    must_be(card(train(place, "saves/line", **registered(place, "line", rows))), "bad_row", "rows.jsonl", "line 2")


def test_a_missing_data_file(place: Workspace, train: Any):
    asked = registered(place, "gone", "", file_name="nowhere.json")
    must_be(card(train(place, "saves/gone", **asked)), "missing_file", "nowhere.json")


def test_a_registry_that_is_no_json(place: Workspace, train: Any):
    asked = registered(place, "comma", "")
    Path(asked["dataset_dir"], "dataset_info.json").write_text('{"bad": {"file_name": "rows.jsonl"},}')
    must_be(card(train(place, "saves/comma", **asked)), "dataset", "dataset_info.json", "line 1")


# -- the command


def test_an_argument_that_does_not_exist(place: Workspace, train: Any):
    must_be(card(train(place, "saves/argument", learning_rat="1")), "bad_argument", "learning_rat")


def test_a_value_that_is_none(place: Workspace, train: Any):
    must_be(card(train(place, "saves/value", learning_rate="fast")), "bad_argument", "--learning_rate", "fast")


def test_a_package_that_is_not_installed(place: Workspace, train: Any):
    must_be(card(train(place, "saves/package", report_to="comet_ml")), "package", "comet_ml", "not installed")


# -- the model


def test_a_model_that_is_not_there(place: Workspace, train: Any):
    must_be(card(train(place, "saves/nomodel", model_name_or_path="models/tinny")), "missing_file", "tinny")


def test_weights_that_are_pickled(place: Workspace, train: Any):
    def pickle_only(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    model = altered_model(place, "pickled", pickle_only)
    must_be(card(train(place, "saves/pickled", model_name_or_path=model)), "model", "pytorch_model.bin")


def test_weights_that_are_cut_short(place: Workspace, train: Any):
    def cut(folder: Path) -> None:
        os.truncate(folder / "model.safetensors", 5000)

    model = altered_model(place, "cut", cut)
    must_be(card(train(place, "saves/cut", model_name_or_path=model)), "model", "model.safetensors", "missing")


def test_a_template_without_a_place_for_what_is_asked(place: Workspace, train: Any):
    path = place.root / "deaf.jinja"
    path.write_text("{% for message in messages if message.role != 'system' %}{{ message.content }}{% endfor %}")
    done = train(place, "saves/deaf", template=str(path), default_system="Be brief.")
    must_be(card(done), "template", "default_system")


def test_a_template_that_is_no_jinja(place: Workspace, train: Any):
    path = place.root / "broken.jinja"
    path.write_text("{% for message in %}")
    must_be(card(train(place, "saves/broken", template=str(path))), "template", "Jinja")


def test_a_hub_that_does_not_answer(place: Workspace, train: Any):
    free = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{free.getsockname()[1]}"
    free.close()
    environment = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
    done = train(place, "saves/hub", model_name_or_path="nobody/nothing", environment=environment)
    must_be(card(done), "hub_unreachable", "nobody/nothing")


# -- the machine


def test_a_disk_that_fills_up(place: Workspace, train: Any, tmp_path: Path):
    disk = {"folder": str(place.path("small")), "bytes": 16 << 20, "copy": str(tmp_path / "small")}
    done = train(place, "small/run", finetuning_type="full", disk=disk, at=("backward", 3, {"leave": 100_000}))
    must_be(card(done), "disk_full", "disk is full")


def test_memory_of_the_machine_that_runs_out(place: Workspace, train: Any):
    full = {"raises": "RuntimeError", "text": "DefaultCPUAllocator: can't allocate memory: 9 bytes were asked"}
    done = train(place, "saves/memory", at=[("backward", call, full) for call in (2, 3, 4)])
    must_be(card(done), "out_of_memory_host", "memory")


def test_memory_of_the_device_that_runs_out(place: Workspace, train: Any):
    # A micro-batch of 4, then of 2, then of 1.
    full = {"raises": "OutOfMemoryError", "text": CUDA}
    done = train(place, "saves/device", at=[("backward", call, full) for call in (2, 3, 4)])
    must_be(card(done), "out_of_memory_device", "CUDA out of memory")


def test_a_process_that_the_kernel_ends_for_want_of_memory(place: Workspace, train: Any):
    done = train(place, "saves/killed", at=("backward", 2, signal.SIGKILL))
    must_be(card(done), "killed", "SIGKILL")
    assert classify(0, signal.SIGKILL, done.err, oom_kills=1).kind == "out_of_memory_host"
    assert classify(0, signal.SIGKILL, done.err, "kill").kind == "killed_on_request"
    row = read_run(place.path("saves/killed"))
    assert row is not None and row.state == "lost" and row.process is not None, "nobody was there to see the signal"


def test_a_program_that_breaks_off(place: Workspace, train: Any):
    must_be(card(train(place, "saves/crash", at=("backward", 2, signal.SIGSEGV))), "crashed", "SIGSEGV")


def test_an_error_that_nobody_knows(place: Workspace, train: Any):
    done = train(place, "saves/odd", at=("backward", 2, {"raises": "", "text": "the moon is full"}))
    must_be(card(done), "unknown", "RuntimeError: the moon is full")
    row = read_run(place.path("saves/odd"))
    assert row is not None and row.state == "failed" and "the moon is full" in row.sentence


# -- the run


def test_a_training_that_diverges(place: Workspace, train: Any):
    from safetensors.numpy import load_file, save_file

    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][0] = float("nan")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    done = train(place, "saves/nan", model_name_or_path=altered_model(place, "spoiled", spoil))
    must_be(card(done), "diverged", "training diverged")
    row = read_run(place.path("saves/nan"))
    assert row is not None and (row.state, row.reason) == ("failed", "diverged")


def test_a_stop_is_no_failure(place: Workspace, train: Any):
    done = train(place, "saves/stop", at=("backward", 2, signal.SIGTERM))
    assert (done.code, card(done, "stop").kind) == (14, "stopped")
    row = read_run(place.path("saves/stop"))
    assert row is not None and (row.state, row.reason) == ("stopped", "")


def test_a_folder_that_another_process_holds(place: Workspace, train: Any):
    with lock(place.path("saves/held"), "a run"):
        must_be(card(train(place, "saves/held")), "folder_in_use", "saves/held", f"pid {os.getpid()}")


@pytest.fixture(scope="module")
def stopped(place: Workspace, train: Any) -> Callable[[str], Path]:
    """A copy of a run that was stopped after two steps."""
    assert train(place, "saves/stopped", at=("backward", 3, signal.SIGTERM)).code == 14

    def copy(name: str) -> Path:
        return Path(shutil.copytree(place.path("saves/stopped"), place.path(f"saves/{name}")))

    return copy


def test_a_record_of_a_newer_studio(place: Workspace, train: Any, stopped: Any):
    path = stopped("newer") / "run.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
    must_be(card(train(place, "saves/newer")), "version", "newer studio")


def test_data_that_changed_before_a_resume(place: Workspace, train: Any):
    rows = (json.dumps(ROW) + "\n") * 40
    asked = registered(place, "changing", rows)
    assert train(place, "saves/changing", at=("backward", 3, signal.SIGTERM), **asked).code == 14
    Path(asked["dataset_dir"], "rows.jsonl").write_text(rows.replace("Hello", "Good day"))
    must_be(card(train(place, "saves/changing", **asked)), "resume", "rows.jsonl", "changed")


def test_a_checkpoint_that_is_damaged(place: Workspace, train: Any, stopped: Any):
    for path in stopped("damaged").glob("checkpoint-*/trainer_state.json"):
        path.unlink()
    must_be(card(train(place, "saves/damaged")), "resume", "no checkpoint to go on from")


def test_a_folder_that_holds_another_recipe(place: Workspace, train: Any, stopped: Any):
    stopped("other")
    must_be(card(train(place, "saves/other", lora_rank=4)), "folder_taken", "lora_rank")


# -- serving and exporting


def test_a_port_that_another_program_uses(place: Workspace, command: Any):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command(place, "api", "--model_name_or_path", "models/tiny-chat", "--port", str(port))
    must_be(card(done), "port_in_use", str(port))


def test_an_export_onto_a_folder_that_is_there(place: Workspace, command: Any):
    words = ("--model_name_or_path", "models/tiny-chat", "--export_dir", "models/tiny")
    must_be(card(command(place, "export", *words)), "folder_taken", "exists already")


def test_no_card_holds_a_colour_or_a_traceback(place: Workspace, train: Any):
    done = train(place, "saves/odd2", at=("backward", 1, {"raises": "", "text": "\x1b[31mred\x1b[0m"}))
    found = card(done)
    assert not re.search(r"[\x00-\x08\x1b]", found.evidence) and 'File "' not in found.evidence
