"""The list of jobs at its edges: numbers that no job has, a folder that cannot be written, many jobs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from studio.errors import DiskFullError, StudioError, WorkspaceError
from studio.jobs import store as store_module
from studio.jobs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / ".studio" / "studio.db")
    yield made
    made.close()


def test_who_writes_a_folder_is_told_without_the_jobs(store: Store) -> None:
    first = store.submit("train", ["train"], output="saves/a")
    store.wish(first.id, "stop")
    second = store.submit("train", ["train"], output="saves/a")
    store.submit("export", ["export"], output="models/b")
    store.submit("train", ["train"])
    assert store.outputs("train") == {second.output: second.id}


def test_a_number_that_no_job_can_have_is_told_in_a_sentence(store: Store) -> None:
    store.submit("train", ["train"])
    for id in (10**30, -(10**30), 0):
        with pytest.raises(StudioError, match="there is no job"):
            store.get(id)
    assert len(store.jobs(before=10**30)) == 1 and store.jobs(before=-(10**30)) == []


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, WorkspaceError)])
def test_a_job_whose_folder_cannot_be_written_is_not_listed(
    number: int, kind: type[StudioError], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.submit("train", ["train"])
    monkeypatch.setattr(store_module, "write_json", Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(kind):
        store.submit("train", ["train"])
    with pytest.raises(kind):
        store.wish(first.id, "stop")
    assert [(job.id, job.state) for job in store.jobs()] == [(first.id, "queued")]
