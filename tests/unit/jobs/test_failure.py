"""Exit code and log → the kind of failure and the line that proves it."""

from __future__ import annotations

import signal

import pytest

from studio import errors
from studio.jobs.failure import KINDS, classify, of_kind, oom_kills, readable

TRACE = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\n    ^^^\n'
# Exit code, signal, the end of the log, the kind, a word of the evidence.
CASES = [
    (12, 0, "memory ran out while training (CUDA out of memory. Tried)", "out_of_memory_device", "CUDA"),
    (12, 0, "memory ran out while training (DefaultCPUAllocator: not enough memory)", "out_of_memory_host", "Default"),
    (12, 0, "", "out_of_memory_host", ""),
    (1, 0, TRACE + "torch.OutOfMemoryError: CUDA out of memory.", "out_of_memory_device", "CUDA"),
    (1, 0, TRACE + "MemoryError", "out_of_memory_host", "MemoryError"),
    (
        1,
        0,
        TRACE + "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.",
        "out_of_memory_host",
        "pid 7",
    ),
    (0, 9, "step 3/9\n", "killed", "SIGKILL"),
    (137, 0, "step 3/9\n", "killed", "SIGKILL"),
    (0, 15, "loading\n", "killed", "SIGTERM"),
    (0, 11, "step 3/9\n", "crashed", "SIGSEGV"),
    (11, 0, "the disk is full: weights could not be written", "disk_full", "weights"),
    (1, 0, TRACE + "OSError: [Errno 28] No space left on device", "disk_full", "Errno 28"),
    (13, 0, "training diverged after step 4: the loss is nan", "diverged", "step 4"),
    (15, 0, "the data must be what the run began with, but a changed since.", "resume", "changed"),
    (3, 0, "/x is in use by a run, pid 7, since today. Wait.", "folder_in_use", "pid 7"),
    (3, 0, "port 80 of 127.0.0.1 is in use by another program.", "port_in_use", "80"),
    (4, 0, "run.json was written by a newer studio (schema 9).", "version", "schema 9"),
    (2, 0, "--nope: there is no such argument. Did you mean --no?", "bad_argument", "--nope"),
    (10, 0, "--learning_rate x: must be a number", "bad_argument", "--learning_rate"),
    (10, 0, "refused: 1 of 3.\n  d: d.json, row 2: it is empty\nMend these rows in the data file.", "bad_row", "row 2"),
    (10, 0, "dataset 'd' (x): file_name: /x/d.json: no such file or directory.", "missing_file", "d.json"),
    (10, 0, "no model folder 'm' in /x.", "missing_file", "'m'"),
    (10, 0, "'a/b' is no folder here and could not be fetched: http://h: refused.", "hub_unreachable", "a/b"),
    (10, 0, "--report_to wandb: its package is not installed. Install it.", "package", "wandb"),
    (1, 0, TRACE + "ModuleNotFoundError: No module named 'flash_attn'", "package", "flash_attn"),
    (10, 0, "/m/pytorch_model.bin is a pickle and is not read; convert it.", "model", "pickle"),
    (10, 0, "a chat template must be valid Jinja; x is not, at line 3", "template", "Jinja"),
    (1, 0, "noise\n" + TRACE + "KeyError: 'model'", "unknown", "KeyError"),
    (77, 0, "", "unknown", ""),
]


@pytest.mark.parametrize(("code", "number", "log", "kind", "word"), CASES)
def test_each_end_lands_in_its_card(code: int, number: int, log: str, kind: str, word: str) -> None:
    found = classify(code, number, log)
    assert found.kind == kind and word in found.evidence, found
    assert (found.cause, found.remedy) == KINDS[kind]


def test_every_exit_code_of_ours_has_a_kind_of_its_own() -> None:
    codes = {each.exit_code for each in vars(errors).values() if isinstance(each, type)}
    for code in codes - {errors.StudioError.exit_code}:
        assert classify(code, 0, "").kind != "unknown", code


def test_the_exit_code_says_it_before_the_log() -> None:
    log = "CUDA out of memory\nNo space left on device\n"
    assert classify(13, 0, log).kind == "diverged"
    assert classify(15, 0, log).kind == "resume"


def test_the_last_line_that_proves_something_is_the_evidence() -> None:
    log = "a.json: row 1: empty\nb.json: row 2: empty\nBye.\n"
    assert classify(10, 0, log).evidence == "b.json: row 2: empty"


def test_a_warning_before_the_traceback_proves_nothing() -> None:
    log = "Failed to load kernels: No module named 'kernels'\n" * 3 + TRACE + "RuntimeError: the moon is full\n"
    assert classify(1, 0, log).kind == "unknown"


def test_the_command_itself_proves_nothing() -> None:
    found = classify(10, 0, "studio 0.1.0: studio train --dataset d --template t\nsomething odd")
    assert (found.kind, found.evidence) == ("refused", "something odd")
    assert classify(10, 0, "studio 0.1.0: studio train --dataset d --template t\n").kind == "unknown"


def test_what_was_wished_is_no_failure() -> None:
    assert classify(0, signal.SIGKILL, "", "kill").kind == "killed_on_request"
    assert classify(14, 0, "stopped on request", "stop").kind == "stopped"
    assert classify(0, signal.SIGTERM, "", "stop").kind == "stopped"


def test_the_kernels_own_count_tells_want_of_memory() -> None:
    assert classify(0, signal.SIGKILL, "step 3/9", oom_kills=1).kind == "out_of_memory_host"
    assert classify(0, signal.SIGTERM, "step 3/9", oom_kills=1).kind == "killed"
    assert oom_kills() >= 0


def test_the_unknown_shows_its_last_lines() -> None:
    found = classify(1, 0, "\n".join(f"line {number}" for number in range(50)))
    assert found.kind == "unknown" and found.evidence.splitlines() == [f"line {number}" for number in range(44, 50)]


def test_evidence_is_one_readable_line() -> None:
    found = classify(10, 0, "2026-11-22 10:00:00 error: \x1b[31mdata/\x07d.json: row 2: " + "x" * 9000 + "\x1b[0m\r\n")
    assert found.kind == "bad_row" and found.evidence.startswith("data/d.json: row 2: xxx")
    assert len(found.evidence) < 1000 and "\n" not in found.evidence


def test_a_log_is_read_without_colours_and_overwritten_bars() -> None:
    assert readable("a\x1b[1;32mb\x1b[0m\n 1%\r 2%\r 3%\nc\r\nd\x00\x08") == "ab\n 3%\nc\nd"


def test_an_unknown_kind_counts_as_unknown() -> None:
    assert of_kind("nonsense").kind == "unknown"


@pytest.mark.parametrize("text", ["CUDA out of memory", "No space left on device", "ModuleNotFoundError"])
def test_what_a_row_says_proves_nothing(text: str) -> None:
    complaint = f"error: data/x.jsonl, row 3: the answer must be text; got 'My \\'log\\' says {text}'\n"
    assert classify(10, 0, complaint).kind == "bad_row"
    assert classify(1, 0, TRACE + f"ValueError: bad value 'what is: {text}'\n").kind == "unknown"


def test_a_question_about_memory_among_the_last_lines_proves_nothing() -> None:
    log = "example: How do I fix CUDA out of memory?\nexample: Thanks.\n"
    assert classify(1, 0, log).kind == "unknown"
    assert classify(0, signal.SIGKILL, log).kind == "killed"
    for said in ("RuntimeError: CUDA error: out of memory", "[rank0]: MPS backend out of memory (allocated: 1 GB)"):
        assert classify(1, 0, said).kind == "out_of_memory_device"


def test_a_death_while_stopping_is_no_stop() -> None:
    assert classify(0, signal.SIGKILL, "saving", "stop", oom_kills=1).kind == "out_of_memory_host"
    assert classify(0, signal.SIGSEGV, "saving", "pause").kind == "crashed"
    assert classify(0, signal.SIGINT, "saving", "stop").kind == "stopped"


def test_keys_of_accounts_are_not_shown() -> None:
    told = readable(
        "https://me:hf_AbCdEfGhIjKlMnOpQrStUvWx@huggingface.co sk-0123456789abcdef0123 ms-marco-MiniLM-L6-v2"
    )
    assert told == "https://me:hf_…@huggingface.co sk-… ms-marco-MiniLM-L6-v2"
