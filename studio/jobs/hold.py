"""One of each in a workspace: one page, one worker. The lock is the kernel's, so it ends with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from studio.errors import WorkspaceError
from studio.workspace import Workspace


def _path(place: Workspace, name: str) -> Path:
    return place.root / ".studio" / f"{name}.lock"


@contextlib.contextmanager
def hold(place: Workspace, name: str, *, wait_s: float = 0.0) -> Iterator[int]:
    """Be the only `name` ("webui", "worker") of the workspace while the block runs; gives the lock's inode.

    Raises WorkspaceError that says who is it, with its process and since when.
    """
    path = _path(place, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() < until:
                    time.sleep(0.05)
                    continue
                holder = os.pread(handle, 300, 0).decode("utf-8", "replace").strip()
                raise WorkspaceError(
                    f"the workspace {place.root} is in use by {holder or 'another process'}. "
                    "Use that one, end it, or name another folder with --workspace."
                ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{name}, pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode(), 0)
        yield os.fstat(handle).st_ino
    finally:
        os.close(handle)


def is_held(place: Workspace, name: str) -> bool:
    """Whether somebody holds it now. Whoever wants to hold it at this very moment should wait a little for it."""
    try:
        handle = os.open(_path(place, name), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def still_held(place: Workspace, name: str, inode: int) -> bool:
    """Whether the lock that is held is still the workspace's: not when its folder was removed meanwhile."""
    try:
        return _path(place, name).stat().st_ino == inode
    except OSError:
        return False
