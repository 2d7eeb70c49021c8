"""Several processes end: which of them is the reason, and how the user hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from studio.errors import DatasetError, LostError, StoppedError, StudioError
from studio.jobs import launch


def ended(codes: dict[int, int]) -> ChildFailedError:
    """What torchrun says of processes that ended so, by rank."""
    return ChildFailedError("studio", {rank: ProcessFailure(rank, 1, code, "") for rank, code in codes.items()})


def word(monkeypatch: pytest.MonkeyPatch, folder: Path, rank: int, error: StudioError) -> None:
    """A process of this rank ends with this error."""
    names = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "3", "STUDIO_LAST_WORDS": str(folder)}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    launch.leave_word(error)


def test_what_another_process_complains_of_is_told_and_what_it_did_to_the_rest_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    word(monkeypatch, tmp_path, 0, LostError("gone"))
    word(monkeypatch, tmp_path, 1, StoppedError("stopped on request"))
    word(monkeypatch, tmp_path, 2, DatasetError("row 67 is bad."))
    assert launch._why(ended({0: LostError.exit_code}), tmp_path, 3) == DatasetError.exit_code
    assert capsys.readouterr().err == "process 3 of 3: row 67 is bad.\n"


def test_what_all_complain_of_the_main_process_has_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for rank in (2, 0, 1):
        word(monkeypatch, tmp_path, rank, StudioError("row 67 is bad."))
    assert launch._why(ended({2: 10}), tmp_path, 3) == 10
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("codes", "code", "told"),
    [
        ({1: -9}, 137, "process 2 of 2 was killed by signal 9 (SIGKILL), so the run ended; where memory is short"),
        ({0: LostError.exit_code, 1: -11}, 139, "process 2 of 2 was killed by signal 11 (SIGSEGV), so the run ended."),
        ({0: -15, 1: -9}, 137, "process 2 of 2 was killed by signal 9 (SIGKILL)"),
        ({0: -15, 1: 1}, 1, ""),
        ({0: LostError.exit_code, 1: 1}, 1, ""),
        ({0: LostError.exit_code}, LostError.exit_code, ""),
    ],
)
def test_a_process_that_could_say_nothing_is_the_reason_not_those_that_lost_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], codes: dict[int, int], code: int, told: str
):
    assert launch._why(ended(codes), tmp_path, 2) == code
    err = capsys.readouterr().err
    assert err.startswith(told) and bool(err) == bool(told)


def test_only_several_processes_lose_each_other(monkeypatch: pytest.MonkeyPatch):
    error = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1. Check the logs\nx")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert not launch.is_lost(error)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launch.is_lost(error) and not launch.is_lost(RuntimeError("shapes do not fit"))
    assert "(Connection closed" not in str(launch.lost(error)) and "peer [127.0.0.1]:1)." in str(launch.lost(error))
