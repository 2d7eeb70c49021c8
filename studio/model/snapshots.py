"""A cache of fetched files, for a hub whose client keeps none of its own.

A file is kept once, under its checksum, and a snapshot is a folder of links to files, as in the
cache of huggingface_hub. What a broken download got of a file is kept, and the next one goes on there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from studio.model.asking import Refused, Unreachable
from studio.workspace import write_text

TRIES = 4
AT_ONCE = 4


@dataclass(frozen=True)
class File:
    """One file of a repository; `sha256` is '' where the hub names none, and then `commit` tells its versions apart."""

    path: str
    size: int
    sha256: str
    commit: str = ""

    @property
    def blob(self) -> str:
        """The name its content is kept under."""
        facts = f"{self.path}\n{self.size}\n{self.commit}"
        return self.sha256 or "unchecked-" + hashlib.sha256(facts.encode()).hexdigest()


# (file, bytes that are there) → whether the answer goes on there, and its bytes. Raises Unreachable or Refused.
Open = Callable[[File, int], AbstractContextManager[tuple[bool, Iterable[bytes]]]]


@dataclass(frozen=True)
class Store:
    """The cache of one repository: `blobs`, `snapshots` of links to them, and `refs` that name snapshots."""

    home: Path

    def find(self, ref: str) -> Path | None:
        """The snapshot of that name; it stands only when all of it is there."""
        try:
            named = (self.home / "refs" / ref).read_text(encoding="utf-8").strip()
        except OSError:
            return None
        folder = self.home / "snapshots" / named
        return folder if folder.is_dir() else None

    def missing_bytes(self, files: Iterable[File]) -> int:
        """How much of these is not here yet."""
        return sum(file.size for file in files if not self._blob(file).exists())

    def fetch(self, files: Sequence[File], ref: str, open_: Open, what: str) -> Path:
        """Get what is missing and give the folder of the snapshot. Raises Unreachable or Refused."""
        with self._alone():
            bar = _Bar(what, self.missing_bytes(files))
            halt = threading.Event()

            def one(file: File) -> None:
                self._get(file, open_, bar, halt)

            with ThreadPoolExecutor(AT_ONCE) as pool:
                try:
                    for _ in pool.map(one, files):
                        pass
                finally:
                    # The pool waits for its threads; after an error they must not finish their files first.
                    halt.set()
            bar.end()
            return self._link(files, ref)

    def _blob(self, file: File) -> Path:
        return self.home / "blobs" / file.blob

    def _get(self, file: File, open_: Open, bar: _Bar, halt: threading.Event) -> None:
        blob = self._blob(file)
        if blob.exists():
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(blob.name + ".part")
        bar.add(part.stat().st_size if part.exists() else 0)
        for attempt in range(TRIES):
            try:
                _receive(file, part, open_, bar, halt)
                break
            except Unreachable as why:
                if attempt + 1 == TRIES:
                    raise Unreachable(f"the download of {file.path} broke off: {why}") from None
                halt.wait(attempt)
        if not halt.is_set():
            _check(file, part)
            part.replace(blob)

    def _link(self, files: Sequence[File], ref: str) -> Path:
        """The snapshot of these files, made beside its place and renamed into it."""
        facts = "\n".join(f"{file.path} {file.blob}" for file in sorted(files, key=lambda file: file.path))
        name = hashlib.sha256(facts.encode()).hexdigest()[:40]
        target = self.home / "snapshots" / name
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
            try:
                for file in files:
                    place = beside / file.path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    up = [".."] * len(PurePosixPath(file.path).parent.parts)
                    place.symlink_to(Path(*up, "..", "..", "blobs", file.blob))
                beside.chmod(0o755)
                beside.rename(target)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        write_text(self.home / "refs" / ref, name)
        return target

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Processes that want the same repository take turns; the second finds it there."""
        self.home.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.home / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _receive(file: File, part: Path, open_: Open, bar: _Bar, halt: threading.Event) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size and have:
        return
    with open_(file, have) as (goes_on, blocks):
        bar.add(0 if goes_on else -have)
        with part.open("ab" if goes_on else "wb") as out:
            for block in blocks:
                out.write(block)
                bar.add(len(block))
                # What never ends would fill the disk; the check tells it.
                if halt.is_set() or out.tell() > file.size:
                    return
            out.flush()
            os.fsync(out.fileno())


def _check(file: File, part: Path) -> None:
    with part.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest() if file.sha256 else ""
    size = part.stat().st_size
    if digest == file.sha256 and size == file.size:
        return
    part.unlink()
    found = f"{size:,} bytes" if size != file.size else f"the SHA-256 {digest[:16]}…"
    due = f"{file.size:,}" if size != file.size else f"{file.sha256[:16]}…"
    raise Refused(f"{file.path} came with {found} in place of {due}. Give the command again; it is fetched anew.")


class _Bar:
    """Progress of all files together on a terminal; silent elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done, self.shown = what, total, 0, -1
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count more bytes, or fewer where a file begins anew."""
        with self.lock:
            self.done += count
            percent = 100 * self.done // max(self.total, 1)
            if percent != self.shown and self.total and sys.stderr.isatty():
                self.shown = percent
                sys.stderr.write(f"\r\033[Kfetching {self.what} {percent:3d} %")
                sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self.shown >= 0:
            sys.stderr.write("\n")
