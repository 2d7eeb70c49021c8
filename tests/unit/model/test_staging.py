import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.model.staging import MANIFEST, PREFIX, remove_stale, staged


def test_a_folder_appears_complete_with_a_manifest_of_its_files(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text("one")
        assert not target.exists()
    listed = json.loads((target / MANIFEST).read_text())["files"]
    assert listed == [{"name": "inner/a.txt", "size": 3, "sha256": hashlib.sha256(b"one").hexdigest()}]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="exists already"), staged(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("mine")
        (tmp_path / "out").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, time\n"
        "from studio.model.staging import staged\n"
        "with staged(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "ready\n"
        remove_stale(tmp_path)
        assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert not (tmp_path / "out").exists()
    with staged(tmp_path / "out") as folder:
        (folder / "whole").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_attempt_killed_after_its_folder_appeared_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, target = tmp_path / "job", tmp_path / "out"
    job.mkdir()
    monkeypatch.setenv("STUDIO_JOB_FOLDER", str(job))
    for text in ("first", "second"):
        with staged(target) as folder:
            (folder / "a.txt").write_text(text)
    assert (target / "a.txt").read_text() == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "out"]


@pytest.mark.parametrize("whose", ["another job", "nobody", "put there since"])
def test_a_folder_that_this_job_did_not_make_stays(whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("STUDIO_JOB_FOLDER", str(tmp_path / "one"))
    if whose != "nobody":
        with staged(target):
            pass
    if whose == "another job":
        monkeypatch.setenv("STUDIO_JOB_FOLDER", str(tmp_path / "two"))
    else:
        if whose == "put there since":
            target.rename(tmp_path / "elsewhere")
        target.mkdir()
    with pytest.raises(StudioError, match="exists already"), staged(target):
        pass
