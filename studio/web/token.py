"""The token that opens the page: made once, kept in the workspace for its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from studio.errors import UsageError, WorkspaceError
from studio.workspace import Workspace

VARIABLE = "STUDIO_TOKEN"
# 24 bytes are 192 bits, 32 characters in base64.
BYTES = 24
SHORTEST = 20
LONGEST = 200


def find_token(place: Workspace, environment: Mapping[str, str], *, new: bool = False) -> str:
    """The token: that of the environment, else the one kept in the workspace, made when there is none.

    Raises UsageError for one in the environment that somebody could guess.
    """
    if VARIABLE in environment:
        return _checked(environment[VARIABLE], new)
    return kept_secret(place.root / ".studio" / "token", new=new)


def kept_secret(path: Path, *, new: bool = False) -> str:
    """A random text that stays the same over restarts; only the owner of the file can read it."""
    if not new and (found := _read(path)):
        return found
    made = secrets.token_urlsafe(BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    # Exclusive, and never readable by others, not even for a moment.
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(made + "\n")
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return made


def _read(path: Path) -> str:
    """What is kept, or "" where it must be made anew: none there, cut short, or open to others for a while."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise WorkspaceError(
            f"{path} must be a file that only you can read; it cannot be opened ({error.strerror}). Remove it: "
            "another is made."
        ) from None
    with os.fdopen(handle, encoding="ascii", errors="replace") as file:
        facts = os.fstat(file.fileno())
        text = file.read(LONGEST + 1).strip()
    if facts.st_mode & 0o077 or facts.st_uid != os.getuid():
        return ""
    return text if SHORTEST <= len(text) <= LONGEST and _is_plain(text) else ""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _checked(text: str, new: bool) -> str:
    if new:
        raise UsageError(f"--new_token: {VARIABLE} is set and wins over it. Unset one of them.")
    if not (SHORTEST <= len(text) <= LONGEST and _is_plain(text)) or len(set(text)) < 6:
        raise UsageError(
            f"{VARIABLE} must be {SHORTEST} to {LONGEST} printable ASCII signs without blanks that nobody guesses: "
            f"it has {len(text)}{'' if len(text) < SHORTEST else ', and is none'}. Make one with "
            f"`openssl rand -hex 24`, or unset {VARIABLE}: one is made and kept."
        )
    return text
