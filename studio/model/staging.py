"""A folder that appears under its name only when it is complete.

Files are written into a temporary folder beside the target, synced, listed with size and
SHA-256 in `manifest.json`, and only then renamed. The temporary folder is locked by the kernel
for as long as its process lives, so that what a killed process left can be told and removed.

A job notes which folder it puts in place. Where it is killed before it can say what came of it, its next
attempt knows the folder as its own and makes it again, instead of refusing a name that it took itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.workspace import sync_folder, write_json

MANIFEST = "manifest.json"
PREFIX = ".tmp-export-"
# In the folder of a job: which folders it put in place.
PLACED = "placed.json"


@contextlib.contextmanager
def staged(target: Path, *, replace: bool = False, lists: bool = True) -> Iterator[Path]:
    """Give a temporary folder beside `target`; it becomes `target` when the block ends well.

    Without `lists` no manifest is written: the block writes a list of its own, and syncs its files.
    With `replace` a folder that stands there is first moved aside to `<name>.old-<time>`.
    When the block raises, the temporary folder is removed and nothing else has changed.
    Raises StudioError when `target` exists and `replace` is off.
    """
    refuse_existing(target, replace=replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target.parent)
    folder, handle = _locked_folder(target)
    try:
        yield folder
        if lists:
            seal(folder)
        refuse_existing(target, replace=replace)
        own, old = made_before(target), aside(target)
        _note_place(target, folder)
        if target.exists():
            target.rename(old)
        folder.rename(target)
        sync_folder(target.parent)
        if own:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def refuse_existing(target: Path, *, replace: bool, allowed_by: str = "overwrite_output_dir") -> None:
    """Raise StudioError when something stands at `target` that may not be moved aside unless `allowed_by` says so."""
    if in_the_way(target, replace=replace):
        raise StudioError(
            f"the target must be a new folder; {target} exists already. Choose another name, "
            f"or set {allowed_by} to move the old one aside."
        )


def in_the_way(target: Path, *, replace: bool) -> bool:
    """Whether something stands at `target` that may not be moved aside."""
    return target.exists() and not replace and not made_before(target)


def made_before(target: Path) -> bool:
    """Whether an earlier attempt of this job put `target` in place and could not say so any more."""
    return target.exists() and _placed().get(str(target.resolve())) == _identity(target)


def _placed() -> dict[str, list[int]]:
    """Folders that this job put in place, with what tells them from others of their name; {} without a job."""
    try:
        found: dict[str, list[int]] = json.loads((Path(os.environ["STUDIO_JOB_FOLDER"]) / PLACED).read_text("utf-8"))
    except (KeyError, OSError, ValueError):
        return {}
    return found


def _note_place(target: Path, folder: Path) -> None:
    """Written before the rename, which keeps what the folder is told by."""
    if job := os.environ.get("STUDIO_JOB_FOLDER", ""):
        write_json(Path(job) / PLACED, {**_placed(), str(target.resolve()): _identity(folder)})


def _identity(folder: Path) -> list[int]:
    """What a rename keeps, and what changes as soon as somebody puts something into the folder or makes another one."""
    found = folder.stat()
    return [found.st_dev, found.st_ino, found.st_mtime_ns]


def refuse_nested(target: Path, sources: Sequence[Path]) -> None:
    """Raise StudioError when `target` and what it is made of lie within each other."""
    real = target.resolve()
    for source in sources:
        inner = source.resolve()
        if real == inner or inner in real.parents or real in inner.parents:
            raise StudioError(
                f"the target must lie apart from what it is made of; {target} and {source} lie within each "
                "other. Choose another folder to write."
            )


def aside(target: Path) -> Path:
    """A free name beside `target` for the folder that stood there: `<name>.old-<time>`."""
    stem = f"{target.name}.old-{time.strftime('%Y%m%d-%H%M%S')}"
    names = [stem, *(f"{stem}-{n}" for n in range(2, 100))]
    return next(path for name in names if not (path := target.with_name(name)).exists())


def seal(folder: Path) -> None:
    """Sync every file below `folder` and write its manifest, the manifest last."""
    entries = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            entries.append(_entry(path, path.relative_to(folder).as_posix()))
    write_json(folder / MANIFEST, {"files": entries})


def _entry(path: Path, name: str) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return {"name": name, "size": path.stat().st_size, "sha256": digest}


def _locked_folder(target: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{target.name}-", dir=target.parent))
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have taken the folder for a stale one before it was locked.
        if folder.exists():
            folder.chmod(0o755)
            return folder, handle
        os.close(handle)


def remove_stale(parent: Path) -> None:
    """Remove temporary folders in `parent` whose process is gone."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(handle)
