"""A question to a hub: what is wanted, its answer within seconds, or why there is none."""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from studio.errors import DiskFullError

T = TypeVar("T")
# Behind a firewall nobody ever answers.
ANSWER_S = 10
GIGABYTE = 10**9


class Unreachable(Exception):
    """Nobody answered, or nothing that a hub would say; the text is the reason."""


class Refused(Exception):
    """The hub answered and gives nothing; the text is a sentence with what to do."""


@dataclass(frozen=True)
class Wanted:
    """Files of one repository. `allow` and `ignore` are patterns as fnmatch reads them; `*` crosses folders.

    `cache` is None for the hub's usual folder.
    """

    kind: Literal["model", "dataset"]
    repo: str
    revision: str
    allow: tuple[str, ...]
    ignore: tuple[str, ...]
    cache: Path | None

    def select(self, names: Iterable[str]) -> list[str]:
        """Those of the repository's files that are fetched."""
        return [name for name in names if _any(name, self.allow) and not _any(name, self.ignore)]


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def refuse_outside(path: str) -> None:
    """Raise Refused for the path of a file in a listing that would lead out of the repository's folder."""
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or "\0" in path or not parts:
        raise Refused(f"it lists a file {path!r}, which would lie outside its folder. Do not use it.")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` returns or raises; Unreachable when it takes longer than that.

    Time limits of a connection do not bound a slow look-up of the name, or an answer that comes drop by drop.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001  raised again in the thread that asked
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise Unreachable(f"no answer within {seconds:g} s") from None


def offline_by_choice(hub: str = "") -> str:
    """Why nobody is asked at all, or ''; `hub` is its name where the switches are another hub's."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON"):
            return f"{name} is set" + (f" (which counts for {hub} too)" if hub else "")
    return ""


def shown(url: str) -> str:
    """An address without user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def brief(error: BaseException) -> str:
    """What an error says, on one line and not longer than that, as a part of a sentence."""
    return " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__


def tell(sentence: str) -> None:
    """A note for the person, from one process of a run."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(sentence + "\n")


def refuse_full_disk(folder: Path, nbytes: int, what: str) -> None:
    """Raise DiskFullError when `nbytes` do not fit on the disk of `folder`."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if nbytes > free:
        raise DiskFullError(
            f"{what} takes {nbytes / GIGABYTE:.2f} GB, and the disk of {there} has {free / GIGABYTE:.2f} GB free. "
            "Free some space, or choose a folder on another disk."
        )
