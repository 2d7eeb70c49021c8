"""The fixed top level of a workspace, the one place that joins paths, and atomic writing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError, WorkspaceError

LONGEST_NAME, LONGEST_PATH = 255, 4095


@dataclass(frozen=True)
class Workspace:
    """Where models, data and runs of one person lie. Relative paths are relative to `root`."""

    root: Path

    @classmethod
    def find(cls, asked: str = "") -> Workspace:
        """The folder asked for, else `STUDIO_WORKSPACE`, else the current folder."""
        root = Path(asked or os.environ.get("STUDIO_WORKSPACE") or ".").expanduser()
        if not root.is_dir():
            raise WorkspaceError(
                f"the workspace must be an existing folder; {str(root)!r} is not. "
                "Create it, or name another with --workspace."
            )
        return cls(root.resolve())

    @property
    def data(self) -> Path:
        """Data files, one folder; `dataset_info.json` beside it registers them."""
        return self.root / "data"

    @property
    def dataset_info(self) -> Path:
        """The registry of datasets at the top level."""
        return self.root / "dataset_info.json"

    @property
    def models(self) -> Path:
        """Base models and exports."""
        return self.root / "models"

    @property
    def saves(self) -> Path:
        """Run folders: saves/<model>/<method>/<run>."""
        return self.root / "saves"

    @property
    def cache(self) -> Path:
        """Things that can be made again: rendered rows, indexes, hashes, converted tokenizers."""
        return self.root / ".studio" / "cache"

    def path(self, asked: str) -> Path:
        """An absolute path for what a person typed: relative ones lie in the workspace."""
        return resolve(self.root, asked)

    def target(self, asked: str) -> Path:
        """The same for a folder that is to be written: never where the studio keeps its own things."""
        path = self.path(asked)
        own, real = Path(os.path.realpath(self.root / ".studio")), Path(os.path.realpath(path))
        if own == real or own in real.parents:
            raise StudioError(f"{asked[:200]!r} lies where the studio keeps its own things. Choose another folder.")
        return path

    def shown(self, path: Path) -> str:
        """The path as a person would type it: relative where it lies in the workspace."""
        with contextlib.suppress(ValueError):
            return str(path.relative_to(self.root))
        return str(path)


def roots() -> list[Path]:
    """The folders every path must stay inside, from `STUDIO_ROOTS`; empty means any path.

    Whoever may write there may also lay a link: models/, data/ and saves/ themselves and what lies directly in
    models/ and data/ may lead elsewhere, and where it leads counts as a root. Links further down do not.
    """
    listed = os.environ.get("STUDIO_ROOTS", "")
    found: list[Path] = []
    for part in filter(None, listed.split(os.pathsep)):
        found.append(Path(os.path.realpath(part)))
        found += [Path(os.path.realpath(link)) for link in _links(Path(part))]
    return found


def _links(root: Path) -> Iterator[Path]:
    for name in ("models", "data", "saves"):
        folder = root / name
        if folder.is_symlink():
            yield folder
        if name != "saves":
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_symlink())


def resolve(root: Path, asked: str) -> Path:
    """Join `asked` to `root`: the only place that joins a path which came from outside.

    A person in a terminal may name any path. When `STUDIO_ROOTS` is set (the page, and a job that it
    started), the path with all links followed must stay inside one of these folders.

    Raises StudioError for an empty path, one with a NUL or line break, one that no file can have, or one
    outside the roots.
    """
    if not asked or any(mark in asked for mark in "\0\n\r"):
        raise StudioError(f"a path must be one non-empty line; got {asked[:200]!r}. Write it anew.")
    try:
        path = Path(os.path.abspath(root / Path(asked).expanduser()))
        fits = all(len(os.fsencode(part)) <= LONGEST_NAME for part in path.parts)
        fits = fits and len(os.fsencode(path)) <= LONGEST_PATH
    except (RuntimeError, UnicodeError) as error:
        # Nobody has that home; or half a character.
        raise StudioError(f"{asked[:200]!r} is no path of this machine ({error}). Write it anew.") from None
    if not fits:
        raise StudioError(
            f"a path must have at most {LONGEST_PATH:,} bytes, and {LONGEST_NAME} between two slashes; "
            f"{asked[:40] + '…'!r} has more. Write a shorter one."
        )
    allowed = roots()
    if allowed:
        real = Path(os.path.realpath(path))
        if not any(real == base or base in real.parents for base in allowed):
            raise StudioError(
                f"{asked!r} leads outside the folders this studio may use "
                f"({', '.join(map(str, allowed[:8]))}). Choose a path inside them, or start the studio with --root DIR."
            )
    return path


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: beside it, synced, then renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its own for each thread: two requests of the page may write one file at the same moment.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.part")
    try:
        with beside.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def lock(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder` for this process; a second holder is refused with the name of the first.

    The lock is the kernel's (flock), so it ends with the process, however that ends.
    Raises WorkspaceError when somebody else holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".studio.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 300).decode("utf-8", "replace").strip()
            raise WorkspaceError(
                f"{folder} is in use by {holder or 'another process'}. "
                "Wait for it to end, stop it, or choose another output folder."
            ) from None
        os.ftruncate(handle, 0)
        text = f"{what}, pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        os.write(handle, text.encode())
        yield
    finally:
        os.close(handle)
