"""What `studio data clean` refuses, how it is stopped, and what it takes of the machine."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard

from studio.errors import ArgumentError, DatasetError, StoppedError, StudioError
from studio.workspace import Workspace
from tests.flow.cleaning import DIRTY, LONG, REPOSITORY, Silent, Studio, clean, write


def test_a_stop_leaves_nothing_behind(workspace: Workspace):
    class Stops(Silent):
        def tell(self, done: float, *_: Any) -> None:
            if done > 60:
                raise StoppedError("stopped on request.")

    path = write(workspace, "dirty.jsonl", DIRTY)
    before = sorted(workspace.data.iterdir())
    with pytest.raises(StoppedError):
        clean(workspace, "--train_file", path, ear=Stops())
    assert sorted(workspace.data.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--columns", "txt"], r"--columns txt: the rows of dirty.jsonl have no such column; they have id, text"),
        (["--languages", "zh,cn"], r"--languages cn: must be among the \d+ languages"),
        (["--min_length", "1000"], r"all 11 rows were removed, most by min_length 10"),
        (["--held_out", "data/dirty.jsonl"], r"all 11 rows were removed"),
        (["--held_out", "nobody"], r"--held_out nobody: must be a dataset of the registry \(tiny_sft.*or a file"),
        (["--name", "tiny_sft"], r"--name tiny_sft: a dataset of this name is registered"),
        (["--train_file", "data/none.jsonl"], r"none.jsonl"),
        (["--dataset", "tiny_sft", "--name", "two"], r"--name two: one entry describes rows of one form"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_and_nothing_is_written(workspace: Workspace, words: list[str], said: str):
    path = write(workspace, "dirty.jsonl", DIRTY)
    given = words if "--train_file" in words else ["--train_file", path, *words]
    with pytest.raises(StudioError, match=said):
        clean(workspace, *given)
    assert not (workspace.data / "clean").exists()


def test_an_output_that_is_there_is_refused_or_moved_aside(workspace: Workspace):
    path = write(workspace, "dirty.jsonl", DIRTY)
    clean(workspace, "--train_file", path)
    with pytest.raises(ArgumentError, match="--output_dir data/clean: it is there already"):
        clean(workspace, "--train_file", path)
    clean(workspace, "--train_file", path, "--overwrite_output_dir", "True")
    assert len(list(workspace.data.glob("clean.old-*"))) == 1


def test_rows_that_cannot_be_read_are_told_with_file_and_line(workspace: Workspace):
    good = json.dumps({"text": LONG})
    (workspace.data / "bad.jsonl").write_text(f'{good}\n{{"text": 5}}\n{{"text": "cut\n', encoding="utf-8")
    bad = {"bad": {"file_name": "bad.jsonl", "columns": {"prompt": "text"}}}
    workspace.dataset_info.write_text(json.dumps(bad), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"(?s)every row must be usable.*bad.jsonl, row 2.*bad.jsonl, row 3: line 3"):
        clean(workspace, "--dataset", "bad")
    found = clean(workspace, "--dataset", "bad", "--skip_bad_rows", "True", "--max_bad_rows", "2")
    assert (found["kept"], found["refused"], found["removed"]) == (1, 2, 0)
    assert [bad["row"] for bad in found["bad_rows"]] == [2, 3]
    with pytest.raises(DatasetError, match=r"max_bad_rows 0.5 allows 1 of 3 rows, but 2 cannot be used"):
        clean(
            workspace, "--dataset", "bad", "--skip_bad_rows", "True", "--max_bad_rows", "0.5",
            "--overwrite_output_dir", "True",
        )  # fmt: skip


def test_a_cut_archive_and_an_empty_file_have_their_sentences(workspace: Workspace):
    whole = zstandard.compress(
        "".join(json.dumps({"text": f"{LONG} {n} {n * n}"}) + "\n" for n in range(5_000)).encode()
    )
    (workspace.data / "cut.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"cut.jsonl.zst"):
        clean(workspace, "--train_file", "data/cut.jsonl.zst")
    (workspace.data / "empty.jsonl").write_text("")
    with pytest.raises(DatasetError, match=r"empty.jsonl"):
        clean(workspace, "--train_file", "data/empty.jsonl")
    assert not (workspace.data / "clean").exists()


def test_a_dataset_of_a_hub_is_refused_when_nobody_can_be_asked(workspace: Workspace, studio: Studio):
    registry = json.loads(workspace.dataset_info.read_text())
    registry["far"] = {"hf_hub_url": "somebody/rows"}
    workspace.dataset_info.write_text(json.dumps(registry))
    done = studio("data", "clean", "--dataset", "far", "--output_dir", "data/clean")
    assert done.returncode == 10
    assert "somebody/rows" in done.stderr and "Traceback" not in done.stderr


def _children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_stops_it_with_nothing_half_written(workspace: Workspace, sent: signal.Signals):
    rows = [{"text": f"{LONG} {number} {number * number} {number**3}"} for number in range(60_000)]
    path = write(workspace, "many.jsonl", rows)
    before = sorted(workspace.data.iterdir())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "studio", "data", "clean", "--train_file", path, "--output_dir", "data/clean",
               "--preprocessing_num_workers", "2"]  # fmt: skip
    with subprocess.Popen(command, cwd=workspace.root, env=environment, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and len(_children(process.pid)) < 2:
            time.sleep(0.05)
        assert len(_children(process.pid)) == 2
        time.sleep(1)
        process.send_signal(sent)
        # Workers hold the pipe: when they stay, this does not end.
        _, said = process.communicate(timeout=60)
    if sent == signal.SIGTERM:
        assert process.returncode == 14, said
        assert b"stopped on request" in said
    else:
        # What a killed command leaves goes with the next one.
        assert not (workspace.data / "clean").exists()
        clean(workspace, "--train_file", write(workspace, "dirty.jsonl", DIRTY))
        before = sorted([*before, workspace.data / "clean", workspace.data / "dirty.jsonl"])
    assert sorted(workspace.data.iterdir()) == before


def test_a_source_that_changes_while_it_is_read_is_refused(workspace: Workspace):
    path = write(workspace, "dirty.jsonl", DIRTY)

    class Touches(Silent):
        def tell(self, *_: Any) -> None:
            os.utime(workspace.root / path, ns=(0, 0))

    with pytest.raises(DatasetError, match=r"dirty.jsonl must not change while it is read"):
        clean(workspace, "--train_file", path, ear=Touches())
    assert not (workspace.data / "clean").exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(workspace: Workspace):
    peaks = []
    # A little above 32 MiB of text and four times that: one part of keys, and four of the same size.
    for count in (72_000, 288_000):
        draw, path = random.Random(count), f"data/rows{count}.jsonl"
        with (workspace.root / path).open("w", encoding="utf-8") as out:
            out.writelines(
                json.dumps({"text": " ".join(f"w{draw.randrange(5_000)}" for _ in range(80))}) + "\n"
                for _ in range(count)
            )
        size = (workspace.root / path).stat().st_size
        # What getrusage tells begins with the size of the process that started this one.
        code = (
            "import sys; from studio.__main__ import main; code = main(sys.argv[1:]); "
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), "
            "file=sys.stderr); sys.exit(code)"
        )
        command = [sys.executable, "-c", code, "data", "clean", "--train_file", path, "--output_dir", f"data/c{count}",
                   "--preprocessing_num_workers", "2"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=workspace.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append((size, int(done.stderr.split()[-1]) * 1024))
    (small, first), (large, second) = peaks
    assert large > 3.9 * small > 3.9 * 2**25
    # 216,000 rows more are 102 MB of text, and their keys 36.
    assert second - first < 0.15 * (large - small)
