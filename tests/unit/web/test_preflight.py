"""A check before the start is one command at a time, bounded, and can be ended."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.jobs import job
from studio.jobs.store import Store
from studio.web.api.preflight import Checks, _environment
from studio.web.child import LINE_CHARACTERS, SAID_LINES, Child
from studio.web.site import Site
from studio.workspace import Workspace

PLAN = {"ok": True, "complaints": [], "data": {"rows": 3}}


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    """Checks whose command is a small program: `print` answers, `sleep` takes long, `die` says why it ends."""
    program = tmp_path / "program"
    program.write_text(
        "import json, sys, time\n"
        "what = sys.argv[3]\n"
        "sys.stderr.write('reading rows\\n')\n"
        f"print(json.dumps({PLAN!r})) if what == 'print' else None\n"
        "sys.stderr.flush()\n"
        "time.sleep(60) if what == 'sleep' else None\n"
        "sys.exit('error: the model must be a folder') if what == 'die' else None\n"
    )
    start = tmp_path / "python"
    start.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    start.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(start))
    made = Checks(Site(Workspace(tmp_path), Store(tmp_path / "studio.db"), "token"), limit_s=30)
    yield made
    if made._child is not None:
        made._child.cancel()


def ended(checks: Checks, number: int) -> dict[str, object]:
    until = time.monotonic() + 20
    while (told := checks.look(number))["state"] == "running" and time.monotonic() < until:
        time.sleep(0.02)
    return told


def test_the_answer_is_what_the_command_printed_with_its_exit_code(checks: Checks) -> None:
    told = ended(checks, checks.begin(["print"], notes=["a note"])["id"])
    assert (told["state"], told["exit_code"], told["result"]) == ("done", 0, PLAN)
    assert told["said"] == ["reading rows"]
    assert told["notes"] == ["a note"]


def test_complaints_of_the_form_are_the_answer_without_a_command(checks: Checks) -> None:
    told = checks.begin(["sleep"], complaints=["--dataset: must name one."])
    assert told["state"] == "done"
    assert told["result"] == {"ok": False, "complaints": ["--dataset: must name one."]}


def test_a_command_that_answers_nothing_is_told_by_its_last_line(checks: Checks) -> None:
    told = ended(checks, checks.begin(["die"])["id"])
    assert told["result"] == {"ok": False, "complaints": ["the model must be a folder"]}


def test_a_newer_check_ends_the_older_one(checks: Checks) -> None:
    old = checks.begin(["sleep"])["id"]
    child = checks._child
    new = checks.begin(["print"], notes=["a note"])["id"]
    assert child is not None
    assert child.exit_code == -9
    assert checks.look(old)["state"] == "replaced"
    assert ended(checks, new)["state"] == "done"


def test_a_check_that_is_cancelled_has_ended(checks: Checks) -> None:
    number = checks.begin(["sleep"])["id"]
    assert checks.cancel(number)["state"] == "cancelled"


def test_a_check_that_takes_too_long_is_ended_and_says_so(checks: Checks) -> None:
    checks.limit_s = 0.3
    told = ended(checks, checks.begin(["sleep"])["id"])
    assert "ended after 0 s" in told["result"]["complaints"][0]  # type: ignore[index]


def test_a_check_that_never_was_is_refused(checks: Checks) -> None:
    with pytest.raises(StudioError):
        checks.look(7)


def test_a_child_that_floods_is_read_to_its_end_and_only_a_part_is_kept(tmp_path: Path) -> None:
    text = "import sys; sys.stdout.write('x' * (9 << 20)); [sys.stderr.write('y' * 5000 + '\\n') for _ in range(300)]"
    child = Child([sys.executable, "-c", text], tmp_path, {})
    assert child.wait(60)
    assert child.exit_code == 0
    assert len(child.answer) == 4 << 20
    assert len(child.said) == SAID_LINES
    assert max(map(len, child.said)) <= LINE_CHARACTERS


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    text = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    child = Child([sys.executable, "-c", text], tmp_path, {"PATH": "/bin:/usr/bin"})
    until = time.monotonic() + 20
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    child.cancel()
    status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_a_check_sees_the_devices_that_the_run_will_see(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(job, "_has_gpus", lambda: True)
    assert _environment(checks.site, [])["CUDA_VISIBLE_DEVICES"] == ""
    assert _environment(checks.site, ["1"])["CUDA_VISIBLE_DEVICES"] == "1"
