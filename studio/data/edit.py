"""`dataset_info.json` edited as a text: checked, saved whole, never over what somebody else wrote meanwhile.

Whoever edits got a version with the text and gives it back when saving. What stood there before is
kept in .studio/backups. The last text that could be read is kept too: while a registry on the disk
is broken, the datasets of that text stay in view.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from studio.data.catalog import Catalog, Unreadable, catalog_in, read_catalog, text_of
from studio.errors import DatasetError, DiskFullError, WorkspaceError
from studio.workspace import Workspace, lock, resolve, write_text

BACKUPS = 20
BOM = "\ufeff"
_WAIT_S = 5.0
# A larger text is no registry that a person edits.
_MOST_CHARACTERS = 64_000_000


@dataclass(frozen=True)
class Complaint:
    """What is wrong with one entry, and the line on which it begins."""

    name: str
    line: int
    sentence: str


class BrokenEntries(DatasetError):
    """The text can be read, and some of its entries cannot be used. Saving them must be asked for."""

    def __init__(self, complaints: list[Complaint]) -> None:
        self.entries = complaints
        self.complaints = [f"line {each.line}: {each.sentence}" for each in complaints]
        super().__init__("\n".join(self.complaints))

    def __reduce__(self) -> tuple[type[BrokenEntries], tuple[list[Complaint]]]:
        return type(self), (self.entries,)


class Changed(WorkspaceError):
    """The registry was changed meanwhile: its text and version as they are now."""

    def __init__(self, shown: str, text: str, version: str) -> None:
        self.shown, self.text, self.version = shown, text, version
        super().__init__(
            f"{shown} was changed meanwhile. Compare both texts, then save yours over it or take that one."
        )

    def __reduce__(self) -> tuple[type[Changed], tuple[str, str, str]]:
        return type(self), (self.shown, self.text, self.version)


def read(path: Path) -> tuple[str, str]:
    """The text of a registry and its version; both "" where there is none yet.

    Bytes that are no text stand as the mark for that: such a file can be looked at and replaced.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "", ""
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}. Correct its rights.") from None
    return data.decode("utf-8-sig", "replace"), _version(data)


def check(text: str, path: Path, base: Path) -> list[Complaint]:
    """What is wrong with single entries, none when all are right. Raises Unreadable when the text is no registry."""
    catalog = catalog_in(text.removeprefix(BOM), path, base)
    found = []
    for name in catalog.names:
        try:
            catalog[name]
        except DatasetError as error:
            # Here the registry is the one on the screen.
            sentence = str(error).replace(f" ({path})", "", 1)
            found.append(Complaint(name, catalog.line(name), sentence))
    return found


def save(path: Path, base: Path, text: str, version: str, place: Workspace, *, broken: bool = False) -> str:
    """Write a registry that was read at `version`; gives its new version.

    Raises Unreadable (with line and column) for a text that is no registry, BrokenEntries where
    entries are not right and `broken` does not allow it, Changed when the file is another by now.
    """
    if len(text) > _MOST_CHARACTERS:
        raise DatasetError(
            f"a registry must have at most {_MOST_CHARACTERS:,} characters; this one has {len(text):,}. "
            "Name folders or patterns of files in place of single ones."
        )
    if not text.isascii():
        _must_encode(text, path)
    complaints = check(text, path, base)
    if complaints and not broken:
        raise BrokenEntries(complaints)
    with writing(place):
        now, found = read(path)
        if found != version:
            raise Changed(place.shown(path), now, found)
        return replace(path, _as_before(text, path), place)


def replace(path: Path, text: str, place: Workspace) -> str:
    """Exchange the registry for another text, the old one into the backups; gives the new version.

    The caller holds `writing`.
    """
    # A link to the registry stays a link.
    real = Path(os.path.realpath(path))
    try:
        if real.exists():
            _back_up(real, path, place)
        write_text(real, text)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"{path} could not be saved: the disk is full. It is as before; free some space."
            ) from None
        raise WorkspaceError(
            f"{path} must be writable, but writing failed: {error.strerror}. It is as it was; correct its rights."
        ) from None
    return _version(text.encode())


@contextlib.contextmanager
def writing(place: Workspace) -> Iterator[None]:
    """Hold the right to write registries; who comes meanwhile waits a moment. Raises WorkspaceError."""
    until = time.monotonic() + _WAIT_S
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(lock(place.cache / "registry", "writing dataset_info.json"))
                break
            except WorkspaceError:
                if time.monotonic() > until:
                    raise WorkspaceError(
                        "dataset_info.json is being written by another command for too long. Try again when it ended."
                    ) from None
                time.sleep(0.05)
        yield


def backups(path: Path, place: Workspace) -> list[Path]:
    """The kept texts of a registry, the newest first."""
    return sorted(_backup_folder(place).glob(f"{_stem(path, place)}-????????-*.json"), reverse=True)


def backup(path: Path, name: str, place: Workspace) -> str:
    """The text of one of them. Raises DatasetError when there is none of that name."""
    for each in backups(path, place):
        if each.name == name:
            return read(each)[0]
    raise DatasetError(f"no backup is named {name[:80]!r}; the list of them has changed. Load it again.")


def usable_catalog(place: Workspace, dataset_dir: str = "data") -> tuple[Catalog, list[Unreadable]]:
    """The catalog, and what is wrong with a registry as a whole: then its last good text stands in for it.

    Raises DatasetError when `dataset_dir` is no folder.
    """
    instead: dict[Path, str] = {}
    broken: list[Unreadable] = []
    while True:
        try:
            catalog = read_catalog(place, dataset_dir, instead)
            break
        except Unreadable as error:
            broken.append(error)
            instead[error.origin] = last_good(error.origin, place)
    for origin in catalog.looked:
        if origin not in instead and origin.exists():
            _keep_good(origin, place)
    return catalog, broken


def last_good(path: Path, place: Workspace) -> str:
    """The last text of a registry that could be read, "{}" where none was."""
    kept = _good_file(path, place)
    with contextlib.suppress(OSError, DatasetError):
        text = read(kept)[0]
        catalog_in(text, path, path.parent)
        return text
    return "{}"


def _keep_good(path: Path, place: Workspace) -> None:
    """Remember a text that was read a moment ago without complaint."""
    kept = _good_file(path, place)
    # A full disk or a read-only one must not keep anybody from looking.
    with contextlib.suppress(OSError, DatasetError):
        facts = path.stat()
        if kept.exists() and kept.stat().st_mtime_ns == facts.st_mtime_ns:
            return
        text = text_of(path)
        catalog_in(text, path, path.parent)
        write_text(kept, text)
        os.utime(kept, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def registry_path(place: Workspace, path: Path) -> Path:
    """The same path, held against the folders that may be reached. Raises StudioError."""
    return resolve(place.root, str(path))


def _must_encode(text: str, path: Path) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        column = error.start - text.rfind("\n", 0, error.start)
        raise Unreadable(
            f"{path}: line {line}, column {column}: half of a character (a lone surrogate) stands here; "
            "write the whole character, or take it away.",
            path, line, column,
        ) from None  # fmt: skip


def _as_before(text: str, path: Path) -> str:
    """The text with the line ends and the byte order mark of the file it replaces; a page knows neither."""
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if b"\r\n" in data and "\r" not in text:
            text = text.replace("\n", "\r\n")
        if data.startswith(BOM.encode()) and not text.startswith(BOM):
            text = BOM + text
    return text


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _back_up(real: Path, path: Path, place: Workspace) -> None:
    data = real.read_bytes()
    folder = _backup_folder(place)
    folder.mkdir(parents=True, exist_ok=True)
    stem, now_ns = _stem(path, place), time.time_ns()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_ns // 10**9))
    beside = folder / f".{os.getpid()}.part"
    beside.write_bytes(data)
    # Of two within one second the later one must sort behind; two within a millisecond are two.
    beside.replace(folder / f"{stem}-{stamp}-{now_ns % 10**9:09}.json")
    for old in backups(path, place)[BACKUPS:]:
        old.unlink(missing_ok=True)


def _backup_folder(place: Workspace) -> Path:
    return place.root / ".studio" / "backups"


def _good_file(path: Path, place: Workspace) -> Path:
    return _backup_folder(place) / f"{_stem(path, place)}.good.json"


def _stem(path: Path, place: Workspace) -> str:
    """A file name for the path of a registry: `dataset_info`, or `data+dataset_info`."""
    return re.sub(r"[^\w.+-]", "_", place.shown(path).removesuffix(".json").replace("/", "+"))[-100:]
